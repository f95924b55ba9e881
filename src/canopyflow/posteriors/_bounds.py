"""How unbounded outputs of a network become parameters within bounds, and where a network starts."""

import math

import torch
from torch import Tensor, nn

FARTHEST_SHIFT = 3.0
"""Bound of a location in probits: Φ(3) = 0.9987 of the width, farther out would say nothing more."""
LOG_SCALE_RANGE = (-5.0, 0.5)
"""Of a log-scale in probits. Together they keep draws of an untrained family away from the bounds."""


def softly(raw: Tensor, limit: float) -> Tensor:
    """``raw`` bent into (−limit, limit); near the identity about zero."""
    return limit * torch.tanh(raw / limit)


def within(raw: Tensor, low: float, high: float, start: float) -> Tensor:
    """``raw`` bent into (low, high), increasing, with zero going to ``start``."""
    # An interval that is not symmetric about `start` needs the offset.
    offset = math.log((start - low) / (high - start))
    return low + (high - low) * torch.sigmoid(raw + offset)


def in_probits(
    raw: Tensor, start: float = 0.0, log_scale_range: tuple[float, float] = LOG_SCALE_RANGE
) -> tuple[Tensor, Tensor]:
    """Raw numbers (..., 2n) to locations and log-scales (..., n); zeros give 0 and ``start``."""
    loc, log_scale = raw.chunk(2, dim=-1)
    return softly(loc, FARTHEST_SHIFT), within(log_scale, *log_scale_range, start=start)


def shrunk(last: nn.Linear) -> nn.Linear:
    """``last`` with small weights, so that its outputs start near zero.

    The weights are not zero: every parameter of the network before it must already receive a gradient.
    """
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return last
