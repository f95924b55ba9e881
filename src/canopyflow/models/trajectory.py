"""Trajectories: any posterior family as the law of one date given the dates before it.

The joint density of a season is the product over its dates, in the order of their days, of the density of a
date given the features of that date and the trajectory so far. It is exact, and evaluated for all dates at
once; draws are made date by date.

Neighbouring dates of a season are nearly equal, and a network that must say so in the states themselves
learns little else for thousands of steps: the density of a date given the one before is steep, and so are the
gradients. With ``innovations`` the family says how far a date is from what a normal process would expect of
it after the dates before, in units of that process. It is a change of coordinates and no assumption: whatever
the process, every law of trajectories can be said in them, and a season of one date is as without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.models.generative._season import Season
from canopyflow.posteriors.contract import Box, Family, Posterior

_GAPS = (3.0, 15.0, 60.0, 365.0)
"""Days over which the past is told to fade: a gap is given as how much of it is left, for each of them."""

_BEFORE = 2
"""Dates before one that are told by themselves; of all of them the mean is told."""

TELLS_GAP = len(_GAPS) + 1
"""Numbers that tell a date of the days since another."""

_FARTHEST = 4.8
"""Innovations beyond are told as this one: in float32 their place in a box is nearly its face."""


class Innovations:
    """Coordinates of trajectories: the scores that a normal process with root (n, D, T, T) of its covariance
    takes for them. ``season`` maps between the base box and normal scores, ``roots`` are in order of the
    days."""

    def __init__(self, season: Season, roots: Tensor) -> None:
        self.season, self.roots, self._law = season, roots, season.base.prior()

    @property
    def log_det(self) -> Tensor:
        """Of the roots of all variables, (n,)."""
        return self.roots.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))

    def of(self, w: Tensor) -> Tensor:
        """Innovations (..., n, T, D) of normal scores ``w``."""
        columns = w.to(self.roots.dtype).transpose(-1, -2).unsqueeze(-1)
        found = torch.linalg.solve_triangular(self.roots, columns, upper=False).squeeze(-1)
        return found.transpose(-1, -2).clamp(-_FARTHEST, _FARTHEST).to(w.dtype)

    def step(self, before: Sequence[Tensor], own: Tensor) -> Tensor:
        """Normal scores (..., n, D) of the date after those with innovations ``before``, by its ``own``."""
        row = self.roots[..., len(before), :].to(own.dtype)
        w = row[..., len(before)] * own
        for date, earlier in enumerate(before):
            w = w + row[..., date] * earlier
        return w

    def scores(self, u: Tensor) -> Tensor:
        """Normal scores of base coordinates."""
        return self.season.to_scores(u)

    def box(self, w: Tensor) -> Tensor:
        """Base coordinates of normal scores."""
        return self.season.from_scores(w)

    def log_scale(self, u: Tensor, w: Tensor) -> Tensor:
        """log of the scores' volume per base volume (...), at base ``u`` (..., D) with scores ``w``."""
        return self._law.log_prob_base(u) + (0.5 * w.square() + 0.5 * math.log(2.0 * math.pi)).sum(-1)


class Chain(nn.Module):
    """``head``, a family over the D variables of one date, autoregressive over the dates of a season.

    The features of a date are those that the encoder gives it, plus what a network of ``width`` makes of them
    and of the trajectory so far: the state at the two dates before with the days that lie between, and the
    mean over all earlier dates, for what never changes through a season. States are told in probits of their
    bounds. ``season``: the model whose prior says which :class:`Innovations` the family tells; without one it
    tells the states themselves.
    """

    def __init__(self, head: Family, width: int = 128, season: Season | None = None) -> None:
        super().__init__()
        self.head = head
        # In a tuple: the season is the model's part, not this one's.
        self._season = (season,)
        self.from_features = nn.Linear(head.features, width)
        self.from_past = nn.Linear((_BEFORE + 1) * head.dim + _BEFORE * TELLS_GAP, width, bias=False)
        self.out = nn.Linear(width, head.features)
        # At first a date hardly depends on the past, and yet every weight receives a gradient.
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    @property
    def has_density(self) -> bool:
        """Whether the family of a date has an exact density; then a trajectory has one too."""
        return self.head.has_density

    def forward(self, h: Tensor, day: Tensor) -> ChainPosterior:
        """The law of trajectories given features ``h`` (*batch, date, features) and ``day`` (*batch, date).

        A family that follows its target does not here: one date of a trajectory has no target of its own.
        """
        return ChainPosterior(self, h, day.to(h.dtype))

    def innovations(self, day: Tensor) -> Innovations | None:
        """The coordinates of trajectories on ``day`` (*batch, date), in order."""
        (season,) = self._season
        if season is None:
            return None
        roots = season.dynamics.expected(day.reshape(-1, day.shape[-1]))
        if roots is None:
            return None
        return Innovations(season, roots.reshape(*day.shape[:-1], *roots.shape[1:]))

    def told(self, w: Tensor, day: Tensor) -> Tensor:
        """What each date is told of the trajectory before it, (*sample, *batch, date, numbers).

        ``w`` (*sample, *batch, date, D) probits of the states, ``day`` (*batch, date), both in order of the
        days.
        """
        place = torch.arange(w.shape[-2], device=w.device)
        before = [_later(w, lag) for lag in range(1, _BEFORE + 1)]
        gaps = [day - _later(day.unsqueeze(-1), lag).squeeze(-1) for lag in range(1, _BEFORE + 1)]
        mean = _later(w.cumsum(-2), 1) / place.clamp_min(1).unsqueeze(-1)
        return _numbers(mean, before, gaps, place)

    def next_told(self, past: Sequence[Tensor], total: Tensor, day: Tensor) -> Tensor:
        """:meth:`told` of the date after ``past``, (*sample, *batch, numbers), without all others.

        ``past``: probits (*sample, *batch, D) of each date so far, ``total`` their sum, ``day`` (*batch,
        date) in order.
        """
        date, nothing = len(past), torch.zeros_like(total)
        lags = range(1, _BEFORE + 1)
        before = [past[date - lag] if date >= lag else nothing for lag in lags]
        gaps = [day[..., date] - day[..., max(0, date - lag)] for lag in lags]
        return _numbers(total / max(1, date), before, gaps, torch.tensor(date, device=day.device))

    def given(self, h: Tensor, hidden: Tensor, told: Tensor) -> Posterior:
        """The law of dates with features ``h``, their ``hidden`` share of the network, and the past
        ``told``."""
        return self.head(h + self.out(nn.functional.silu(hidden + self.from_past(told))))


class ChainPosterior(Posterior):
    """A law of trajectories (*sample, *batch, date, D) on the base box of the pixel model.

    Made of features ``h`` (*batch, date, features) and ``day`` (*batch, date), in any order of the dates.
    """

    def __init__(self, chain: Chain, h: Tensor, day: Tensor) -> None:
        super().__init__(h)
        self.chain, self.box = chain, Box(chain.head.lower, chain.head.upper)
        self.has_density = chain.has_density
        order = day.argsort(dim=-1, stable=True)
        self._order, self._back = order, order.argsort(dim=-1)
        self._day = day.gather(-1, order)
        self._h = _taken(h, order)
        self._hidden = chain.from_features(self._h)
        self._steps = chain.innovations(self._day)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the features without dates and features."""
        return self._like.shape[:-2]

    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws (*shape, *batch, date, D) and their log density (*shape, *batch)."""
        lead = (*shape, *self.batch_shape)
        drawn: list[Tensor] = []
        past: list[Tensor] = []
        steps: list[Tensor] = []
        total, log_q = self._h.new_zeros((*lead, self.chain.head.dim)), self._h.new_zeros(lead)
        for date in range(self._day.shape[-1]):
            told = self.chain.next_told(past, total, self._day)
            law = self.chain.given(self._h[..., date, :], self._hidden[..., date, :], told)
            u, log_prob = law.rsample_and_log_prob((), generator)
            if self._steps is not None:
                x = self._probits(u)
                w = self._steps.step(steps, x)
                log_prob = log_prob + self._log_width(x)
                steps.append(x)
                u = self._steps.box(w)
                log_prob = log_prob + self._steps.log_scale(u, w)
            drawn.append(u)
            past.append(self._probits(u))
            total, log_q = total + past[-1], log_q + log_prob
        if self._steps is not None:
            log_q = log_q - self._steps.log_det.to(log_q.dtype)
        return _taken(torch.stack(drawn, dim=-2), self._back), log_q

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (...) at ``z`` (..., date, D); −inf outside the bounds."""
        u, told, scale = self._told(z)
        return self._given(u).log_prob(told).sum(-1) + scale

    def log_prob_bound(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        u, told, scale = self._told(z)
        return self._given(u).log_prob_bound(told, generator).sum(-1) + scale

    def _told(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``z`` (..., date, D) in order of the days, what the family tells of it, in its box, and the log
        volume (...) of that per volume of ``z``: −inf for a trajectory that leaves the bounds."""
        u = _taken(z, self._order)
        if self._steps is None:
            return u, u, u.new_zeros(u.shape[:-2])
        unit, within = self.box.inward(u)
        inner = self.box.lower + unit * self.box.width
        w = self._steps.scores(inner)
        x = self._steps.of(w)
        told = self.box.lower + self.box.width * torch.special.ndtr(x)
        scale = (self._steps.log_scale(inner, w) + self._log_width(x)).sum(-1)
        scale = scale - self._steps.log_det.to(scale.dtype)
        return inner, told, scale.masked_fill(~within.all(-1), -math.inf)

    def _given(self, u: Tensor) -> Posterior:
        """The laws of all dates given the trajectory ``u`` (..., date, D) before each."""
        return self.chain.given(self._h, self._hidden, self.chain.told(self._probits(u), self._day))

    def _log_width(self, x: Tensor) -> Tensor:
        """log of the box's volume per volume of innovations (...), at ``x`` (..., D)."""
        density = -0.5 * x.square() - 0.5 * math.log(2.0 * math.pi)
        return (density + self.box.width.log()).sum(-1)

    def _probits(self, u: Tensor) -> Tensor:
        """Base variables (..., D) as probits of their bounds."""
        unit, _ = self.box.inward(u)
        return torch.special.ndtri(unit)


def _numbers(mean: Tensor, before: Sequence[Tensor], gaps: Sequence[Tensor], place: Tensor) -> Tensor:
    """What dates are told: the ``mean`` (*sample, *batch, [date], D) over all earlier dates; of each of the
    nearest of them the state ``before`` and how long ago it was; and whether there was one at all.

    ``gaps`` (*batch, [date]) in days; ``place`` ([date]): how many dates were earlier.
    """
    parts = [mean]
    for lag, (state, gap) in enumerate(zip(before, gaps, strict=True), start=1):
        left = fading(gap, place >= lag)
        parts += [state, left.expand(*state.shape[:-1], left.shape[-1])]
    return torch.cat(parts, dim=-1)


def fading(gap: Tensor, there: Tensor) -> Tensor:
    """How much is left of a state after ``gap`` (*batch, [date]) days, and that it was ``there`` ([date]), in
    :data:`TELLS_GAP` numbers; zeros where it was not."""
    there = there.unsqueeze(-1)
    # Before the first date lies no gap: the one to day 0 may be hundreds of days the wrong way.
    gap = torch.where(there, gap.unsqueeze(-1), 0.0)
    left = torch.exp(-gap / gap.new_tensor(_GAPS))
    return torch.cat([left, torch.ones_like(left[..., :1])], dim=-1) * there


def _later(values: Tensor, lag: int) -> Tensor:
    """``values`` (..., date, n) moved to ``lag`` dates later; zeros where there was none before."""
    return nn.functional.pad(values, (0, 0, lag, 0))[..., : values.shape[-2], :]


def _taken(values: Tensor, order: Tensor) -> Tensor:
    """``values`` (*sample, *batch, date, n) with its dates in ``order`` (*batch, date)."""
    return values.gather(-2, order.unsqueeze(-1).expand(values.shape))
