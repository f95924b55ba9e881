"""Radiative transfer, priors over its variables, and the observation noise.

Knows no files but its own table of constants; everything is differentiable torch.
"""

from .priors import prior
from .prosail import Prosail
from .variables import VARIABLES

__all__ = ["VARIABLES", "Prosail", "prior"]
