"""Denoisers of trajectories: the mean of a season prior given a trajectory of it under noise.

Trajectories are in normal scores, as in :mod:`canopyflow.models.priors.seasons.contract`. A denoiser is made
ready for days once (factors, windows) and then called at every level of noise.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from canopyflow.errors import ConfigError
from canopyflow.models.priors.seasons.contract import SeasonPrior


@dataclass(frozen=True)
class Denoised:
    """``mean``: E[w | x], (*sample, n, T, D), of w + noise = x; ``scale``, of the same shape: how many times
    as wide as the denoiser's ``normal`` prior says w is then; None where the derivative of the mean is the
    covariance."""

    mean: Tensor
    scale: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Denoised:
        """``change`` done to both."""
        return Denoised(change(self.mean), None if self.scale is None else change(self.scale))


Denoise = Callable[[Tensor, float], Denoised]
"""x (*sample, n, T, D), the sum of a trajectory w and of noise with this standard deviation → what is known
of w."""


class Denoiser(abc.ABC):
    """``least``: dates that a trajectory must have at least; who has fewer asks about further ones.
    ``normal``: the prior whose covariance the scales are of, None for a denoiser without scales."""

    least: int = 1
    normal: SeasonPrior | None

    @abc.abstractmethod
    def on(self, day: Tensor) -> Denoise:
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
        self.dynamics, self.normal = dynamics, None

    def on(self, day: Tensor) -> Denoise:
        smoother = Smoother(self.dynamics, day)
        return lambda x, sigma: Denoised(smoother.mean(x, torch.as_tensor(sigma)))


class Smoother:
    """What a normal season prior makes of noisy trajectories on ``day`` (n, T)."""

    def __init__(self, dynamics: SeasonPrior, day: Tensor) -> None:
        root = dynamics.root(day)
        assert root is not None
        # (n, D, T) and (n, D, T, T), float64.
        self.values, self.axes = torch.linalg.eigh(root @ root.mT)

    def mean(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[w | ``x``] (*sample, n, T, D); ``sigma``: one level of noise, or (n,). By σ² this is also the
        covariance of w given x times x."""
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
        self.normal = segment.normal

    def on(self, day: Tensor) -> Denoise:
        if day.shape[-1] <= 2 * self.reach + 1:
            return self._ordered(day, self.segment.on)
        return self._ordered(day, self._long)

    def _ordered(self, day: Tensor, made: Callable[[Tensor], Denoise]) -> Denoise:
        """The denoiser that ``made`` gives for days in order, for ``day`` in any order."""
        order = day.argsort(dim=-1, stable=True)
        place, inner = order.argsort(-1), made(day.gather(-1, order))

        def denoise(x: Tensor, sigma: float) -> Denoised:
            found = inner(x.gather(-2, order[..., None].expand(x.shape)), sigma)
            return found.each(lambda part: part.gather(-2, place[..., None].expand(x.shape)))

        return denoise

    def _long(self, day: Tensor) -> Denoise:
        """For ``day`` (n, T) in order, of more dates than a segment has."""
        n, dates = day.shape
        length = 2 * self.reach + 1
        window = torch.arange(dates - length + 1)[:, None] + torch.arange(length)
        which = (torch.arange(dates) - self.reach).clamp(0, dates - length)
        within = torch.arange(dates) - which
        days = day[:, window].flatten(0, 1)
        segment = self.segment.on(days)
        normal = None if self.whole is None else (Smoother(self.whole, day), Smoother(self.whole, days))

        def denoise(x: Tensor, sigma: float) -> Denoised:
            pieces, level = x[..., window, :].flatten(-4, -3), torch.as_tensor(sigma)
            found = segment(pieces, sigma)
            if normal is not None:
                found = replace(found, mean=found.mean - normal[1].mean(pieces, level))
            own = found.each(lambda part: part.unflatten(-3, (n, len(window)))[..., which, within, :])
            return own if normal is None else replace(own, mean=own.mean + normal[0].mean(x, level))

        return denoise
