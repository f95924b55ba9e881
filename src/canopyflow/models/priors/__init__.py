"""Learned priors on the base box, for objectives with a prior term (empirical Bayes). One file each.

The physical prior stays what the campaign says: simulations are drawn from it, the reference posterior, the
importance weights and the refinement use it. A learned prior replaces it *inside* ``elbo``, ``beta_elbo`` and
``iwae`` only, where it is fitted to the pixels looked at. ``npe`` has no prior term (its prior is the
distribution of the simulations) and leaves a learned prior as it is.
"""
