"""Denoisers of trajectories: the mean of a season prior given a trajectory of it under noise.

Trajectories are in normal scores, as in :mod:`canopyflow.models.priors.seasons.contract`. A denoiser is made
ready for days once (factors, windows) and then called at every level of noise.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.priors.seasons.contract import SeasonPrior

Mean = Callable[[Tensor, float], Tensor]
"""x (*sample, n, T, D) and a level of noise → E[w | w + level × standard normal = x], of the same shape."""


class Denoiser(abc.ABC):
    """``least``: dates that a trajectory must have at least; who has fewer asks about further ones."""

    least: int = 1

    @abc.abstractmethod
    def on(self, day: Tensor) -> Mean:
        """The denoiser of trajectories on ``day`` (n, T), in any order."""


class Gaussian(Denoiser):
    """The exact denoiser of a season prior that is normal, over all dates at once. Raises ConfigError for
    another prior."""

    def __init__(self, dynamics: SeasonPrior) -> None:
        if dynamics.root(torch.zeros(1, 1)) is None:
            raise ConfigError(
                f"the season prior {type(dynamics).__name__} is not normal: its denoiser must be learned",
                "train one with canopyflow.training.denoiser",
            )
        self.dynamics = dynamics

    def on(self, day: Tensor) -> Mean:
        smoother = Smoother(self.dynamics, day)
        return lambda x, sigma: smoother.mean(x, torch.as_tensor(sigma))


class Smoother:
    """What a normal season prior makes of noisy trajectories on ``day`` (n, T)."""

    def __init__(self, dynamics: SeasonPrior, day: Tensor) -> None:
        root = dynamics.root(day)
        assert root is not None
        # (n, D, T) and (n, D, T, T), float64.
        self.values, self.axes = torch.linalg.eigh(root @ root.mT)

    def mean(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[w | ``x``] (*sample, n, T, D); ``sigma``: one level of noise, or (n,)."""
        gain = self._gain(sigma)
        matrix = ((self.axes * gain[..., None, :]) @ self.axes.mT).to(x)
        return torch.einsum("nkts,...nsk->...ntk", matrix, x)

    def deviation(self, sigma: Tensor) -> Tensor:
        """Standard deviation (n, T, D) of w given its noisy trajectory."""
        variance = (self.axes.square() * self._gain(sigma)[..., None, :]).sum(-1)
        return (variance.mT.sqrt() * sigma.double().reshape(-1, 1, 1)).to(torch.get_default_dtype())

    def _gain(self, sigma: Tensor) -> Tensor:
        values = self.values.clamp_min(0.0)
        return values / (values + sigma.to(values).square().reshape(-1, 1, 1))


class Composed(Denoiser):
    """A long trajectory denoised in segments of 2 ``reach`` + 1 dates that follow each other (Rozet & Louppe
    2023, arXiv:2306.10574).

    Each date is read from the segment that it is the middle of, the first and last ``reach`` from the first
    and the last segment. So dates further away say nothing of it, and what a pixel keeps all season (soil,
    leaves) is lost: means are wrong by half a posterior deviation and more, and the derivative is not the
    covariance of anything. With ``whole``, a normal season prior, segments only say in what they differ from
    it, and it is taken over the whole window: exact for that prior, whatever the segments, and for any prior
    where a segment is the whole window.
    """

    def __init__(self, segment: Denoiser, reach: int, whole: SeasonPrior | None = None) -> None:
        if reach < 0 or segment.least > 2 * reach + 1:
            raise ConfigError(
                f"segments of {2 * reach + 1} dates for a denoiser of at least {segment.least}",
                f"reach must be at least {segment.least // 2}",
            )
        self.segment, self.reach, self.whole, self.least = segment, reach, whole, segment.least

    def on(self, day: Tensor) -> Mean:
        if day.shape[-1] <= 2 * self.reach + 1:
            return self._ordered(day, self.segment.on)
        return self._ordered(day, self._long)

    def _ordered(self, day: Tensor, made: Callable[[Tensor], Mean]) -> Mean:
        """The denoiser that ``made`` gives for days in order, for ``day`` in any order."""
        order = day.argsort(dim=-1, stable=True)
        place, inner = order.argsort(-1), made(day.gather(-1, order))

        def mean(x: Tensor, sigma: float) -> Tensor:
            found = inner(x.gather(-2, order[..., None].expand(x.shape)), sigma)
            return found.gather(-2, place[..., None].expand(x.shape))

        return mean

    def _long(self, day: Tensor) -> Mean:
        """For ``day`` (n, T) in order, of more dates than a segment has."""
        n, dates = day.shape
        length = 2 * self.reach + 1
        window = torch.arange(dates - length + 1)[:, None] + torch.arange(length)
        which = (torch.arange(dates) - self.reach).clamp(0, dates - length)
        within = torch.arange(dates) - which
        days = day[:, window].flatten(0, 1)
        segment = self.segment.on(days)
        normal = None if self.whole is None else (Smoother(self.whole, day), Smoother(self.whole, days))

        def mean(x: Tensor, sigma: float) -> Tensor:
            pieces = x[..., window, :].flatten(-4, -3)
            found = segment(pieces, sigma)
            if normal is not None:
                found = found - normal[1].mean(pieces, torch.as_tensor(sigma))
            own = found.unflatten(-3, (n, len(window)))[..., which, within, :]
            return own if normal is None else own + normal[0].mean(x, torch.as_tensor(sigma))

        return mean
