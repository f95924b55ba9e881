"""A mixture of correlated distributions, fitted to the pixels looked at."""

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors.mixture import Mixture


class MixturePrior(FamilyPrior):
    """The family ``mixture``, unconditional."""

    of = Mixture


PRIOR = MixturePrior
