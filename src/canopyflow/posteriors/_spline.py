"""Monotone rational-quadratic splines on [−5, 5], the identity outside (Durkan et al. 2019).

zuko's spline with its knots normalised without ``softmax``: the raw widths and heights are soft-clipped
to ±½·log(1/slope) first, so plain exponentials are safe; torch's softmax over eight numbers took half the
time of a sample.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform
from zuko.transforms import MonotonicRQSTransform

BOUND = 5.0
LOG_SLOPE = math.log(1e3)
"""Least slope of a spline 1e-3, greatest 1e3."""


def spline_parameters(bins: int) -> int:
    """How many raw parameters a spline with ``bins`` takes: widths, heights, slopes at the inner knots."""
    return 3 * bins - 1


class Spline(MonotonicRQSTransform):
    """Elementwise transform of (...), from raw parameters (..., :func:`spline_parameters`).

    Raw zeros give the identity.
    """

    def __init__(self, raw: Tensor) -> None:
        Transform.__init__(self)
        bins = (raw.shape[-1] + 1) // 3
        widths, heights, slopes = raw.split([bins, bins, bins - 1], dim=-1)
        self.horizontal = _knots(widths)
        self.vertical = _knots(heights)
        self.derivatives = F.pad(torch.exp(slopes / (1.0 + slopes.abs() / LOG_SLOPE)), (1, 1), value=1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        """As zuko's, but with a root that rounding cannot make imaginary: knots may lie close in float32."""
        k = self.searchsorted(self.vertical, y) - 1
        mask, x0, x1, y0, y1, d0, d1, s = self.bin(k)
        above, bent = mask * (y - y0), d0 + d1 - 2.0 * s
        a = (y1 - y0) * (s - d0) + above * bent
        b = (y1 - y0) * d0 - above * bent
        root = (b.square() + 4.0 * a * s * above).clamp(min=torch.finfo(y.dtype).tiny).sqrt()
        share = (2.0 * s * above / (b + root)).clamp(0.0, 1.0)
        return torch.where(mask, x0 + share * (x1 - x0), y)


def _knots(raw: Tensor) -> Tensor:
    """Raw bin sizes (..., K) to knots (..., K + 1) from −5 to 5."""
    ends = torch.exp(raw / (1.0 + raw.abs() * (2.0 / LOG_SLOPE))).cumsum(-1)
    return F.pad(ends * (2.0 * BOUND / ends[..., -1:]) - BOUND, (1, 0), value=-BOUND)
