"""A normalising flow, fitted to the pixels looked at."""

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors.nsf import NeuralSpline


class FlowPrior(FamilyPrior):
    """The family ``nsf``, unconditional."""

    of = NeuralSpline


PRIOR = FlowPrior
