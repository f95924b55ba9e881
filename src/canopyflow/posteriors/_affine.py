"""The affine map of one variable that affine coupling and affine autoregressive flows use."""

from torch import Tensor
from torch.distributions import Transform
from zuko.transforms import MonotonicAffineTransform

from ._bounds import softly

PARAMETERS = 2
FARTHEST_SHIFT = 6.0
LEAST_SLOPE = 1e-2
"""Bounds of each layer, in units of the noise: a stack of layers cannot overflow whatever its weights."""


def affine(raw: Tensor) -> Transform:
    """Raw shift and log-scale (..., d, 2) → x · scale + shift, with scale in [1e-2, 1e2]."""
    shift, log_scale = raw.unbind(-1)
    return MonotonicAffineTransform(softly(shift, FARTHEST_SHIFT), log_scale, slope=LEAST_SLOPE)
