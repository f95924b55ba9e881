"""The timing of a season, and how much leaf there was for how long: numbers of a trajectory of leaf area.

They are computed of joint draws, so their intervals know that the errors of neighbouring dates belong
together: no function of the maps of single dates has such intervals.
"""

import torch
from torch import Tensor

from canopyflow.vocabulary import SEASONAL

NAMES: tuple[str, ...] = tuple(variable.name for variable in SEASONAL)
"""What :func:`phenology` gives, in its order."""

CLOSE = 1e-6
"""Leaf area, m2 m-2, by which the peak must exceed what is around it to have risen or fallen at all."""


USUAL = 120.0
"""Days from start to end of a season whose speed is 1."""

SHORTEST = 12.0
"""Days from start to end below which a season is told no faster: dates that are mapped lie days apart."""


def phenology(lai: Tensor, day: Tensor) -> Tensor:
    """Start, peak, end, leaf area duration and speed (*sample, n, 5) of trajectories, as :data:`NAMES`.

    Args:
        lai: leaf area index (*sample, n, T), m2 m-2; between dates it counts as linear.
        day: of its dates, (n, T) or (T,), increasing, counted from 1 January as day 0.

    The peak is the day of the largest value. The season starts where leaf area, looking back from the peak,
    was last at the middle between the peak and the lowest value before it, and ends where it first is at the
    middle between the peak and the lowest value after it (half of the amplitude: White et al. 1997,
    doi:10.1029/97GB00330). A trajectory that falls from its first date starts there, one that rises to its
    last date ends there. These are days of the year, 1 on 1 January. The duration is the integral of leaf
    area over all dates, m2 m-2 day (Watson 1947, doi:10.1093/oxfordjournals.aob.a083148). The speed is
    :data:`USUAL` over the days from start to end, of which :data:`SHORTEST` count at least: a season that
    runs through the same course e^eta times as fast has e^eta times the speed.
    """
    days = day.to(lai.dtype).expand(lai.shape)
    peak = lai.argmax(-1, keepdim=True)
    start = _half(lai, days, peak)
    end = -_half(lai.flip(-1), -days.flip(-1), lai.shape[-1] - 1 - peak)
    steps = days.diff(dim=-1)
    duration = (0.5 * (lai[..., 1:] + lai[..., :-1]) * steps).sum(-1)
    at_peak = days.gather(-1, peak).squeeze(-1)
    speed = USUAL / (end - start).clamp_min(SHORTEST)
    return torch.stack([start + 1.0, at_peak + 1.0, end + 1.0, duration, speed], dim=-1)


def _half(lai: Tensor, days: Tensor, peak: Tensor) -> Tensor:
    """Day (...) when ``lai`` (..., T) last passed half of its rise to the date ``peak`` (..., 1)."""
    place = torch.arange(lai.shape[-1], device=lai.device)
    before = place <= peak
    top = lai.gather(-1, peak)
    low = lai.masked_fill(~before, torch.inf).amin(-1, keepdim=True)
    middle = 0.5 * (low + top)
    # The last date before the peak that is below the middle; -1 where there is none.
    below = torch.where(before & (lai < middle), place, -1).amax(-1, keepdim=True)
    rises = (below >= 0) & (top - low > CLOSE)
    first = below.clamp_min(0)
    following = (first + 1).clamp_max(lai.shape[-1] - 1)
    here, there = lai.gather(-1, first), lai.gather(-1, following)
    share = ((middle - here) / (there - here).clamp_min(CLOSE)).clamp(0.0, 1.0)
    crossed = days.gather(-1, first) + share * (days.gather(-1, following) - days.gather(-1, first))
    return torch.where(rises, crossed, days[..., :1]).squeeze(-1)
