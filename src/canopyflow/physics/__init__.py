"""Radiative transfer, priors over its variables, and the observation noise.

Knows no files but its own table of constants; everything is differentiable torch.
"""

from canopyflow.vocabulary import VARIABLES

from .priors import prior
from .prosail import Prosail

__all__ = ["VARIABLES", "Prosail", "prior"]
