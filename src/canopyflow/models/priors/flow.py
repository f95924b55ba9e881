"""A normalising flow, fitted to the pixels looked at."""

from canopyflow.models.priors.contract import FamilyPrior
from canopyflow.posteriors.nsf import NeuralSpline


class FlowPrior(FamilyPrior):
    """The family ``nsf`` without conditions."""

    of = NeuralSpline


PRIOR = FlowPrior
