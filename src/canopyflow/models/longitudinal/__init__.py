"""Longitudinal autoencoders: one latent path for all acquisitions of a pixel's season.

A *law* says how latent paths run through the year (:mod:`.flow`: normalising flows between dates;
:mod:`.mapping`: emergence and speed of the season), a *decoder* what a spectrum they give, a *reader* and a
*guide* together are the posterior, and :mod:`.model` joins them. All follow Chadebec, Allassonnière et al.
(variational inference for longitudinal data with normalising flows, arXiv:2303.14220) and Sauty & Durrleman
(progression models with longitudinal variational autoencoders, MICCAI 2022), with two changes: paths have
innovations, and the likelihood counts what was observed, undivided.
"""
