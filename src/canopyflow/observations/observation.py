"""What was seen: one carrier for spectra of pixels, and later of seasons, patches and seasons of patches.

An observation never holds NaN: ``valid`` says which of its entries were measured, and whatever stands under
an invalid entry must not matter to anybody. Platforms are counted as :data:`canopyflow.vocabulary.PLATFORMS`
counts them, in every store and every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.vocabulary import PLATFORMS, platform_named


class View(Enum):
    """What one element of a batch covers, and with it the axes behind the batch."""

    PIXEL = "pixel"
    """(*batch, band)"""
    SEASON = "season"
    """(*batch, date, band)"""
    PATCH = "patch"
    """(*batch, band, y, x)"""
    PATCH_SEASON = "patch_season"
    """(*batch, date, band, y, x)"""


@dataclass(frozen=True, kw_only=True)
class Given:
    """The circumstances of an observation, which no model predicts.

    ``geometry`` (*batch, [date], 3): degrees, as :data:`canopyflow.vocabulary.ANGLES` orders them;
    ``platform`` (*batch, [date]): integers, index into :data:`canopyflow.vocabulary.PLATFORMS`; ``bands``:
    names and order of the band axis; ``day`` (*batch, date): days since 1 January of the season's year;
    ``proxies`` (*batch, [date], proxy): weather, elevation.
    """

    geometry: Tensor
    platform: Tensor
    bands: tuple[str, ...]
    view: View = View.PIXEL
    day: Tensor | None = None
    proxies: Tensor | None = None

    def __len__(self) -> int:
        return len(self.geometry)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch, (*batch)."""
        behind = 2 if self.view in (View.SEASON, View.PATCH_SEASON) else 1
        return self.geometry.shape[:-behind]

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with ``change`` applied to every tensor."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in held.items() if isinstance(v, Tensor)}
        return replace(self, **changed)

    def rows(self, index: Tensor | slice) -> Self:
        """The elements at ``index`` of the first axis of the batch."""
        return self.each(lambda tensor: tensor[index])

    def split(self, size: int) -> list[Self]:
        """Pieces of at most ``size`` elements along the first axis of the batch."""
        return [self.rows(slice(start, start + size)) for start in range(0, len(self), size)]

    def to(self, device: torch.device) -> Self:
        """The same on ``device``."""
        return self.each(lambda tensor: tensor.to(device))


@dataclass(frozen=True, kw_only=True)
class Observation(Given):
    """``reflectance`` (*batch, [date], band, [y, x]), unit 1, finite; ``valid``: bool, of the same shape."""

    reflectance: Tensor
    valid: Tensor

    @cached_property
    def complete(self) -> bool:
        """Whether every entry is valid."""
        return bool(self.valid.all())

    @property
    def partly(self) -> Tensor | None:
        """Which entries count; None where all do, which is the cheaper case."""
        return None if self.complete else self.valid

    def in_bands(self, bands: Sequence[str]) -> Self:
        """The same with exactly these ``bands``, in this order. Raises DataError if one is not there."""
        wanted = tuple(bands)
        if wanted == self.bands:
            return self
        missing = [band for band in wanted if band not in self.bands]
        if missing:
            raise DataError(f"band {missing[0]} was not observed", f"there are {', '.join(self.bands)}")
        axis = -3 if self.view in (View.PATCH, View.PATCH_SEASON) else -1
        columns = torch.tensor([self.bands.index(band) for band in wanted], device=self.reflectance.device)
        return replace(
            self,
            bands=wanted,
            reflectance=self.reflectance.index_select(axis, columns),
            valid=self.valid.index_select(axis, columns),
        )


def pixels(
    reflectance: Tensor, geometry: Tensor, platform: Tensor | str, bands: Sequence[str]
) -> Observation:
    """Pixels (*batch, band) as an observation; where ``reflectance`` is not finite it is not valid.

    ``platform``: a name of :data:`canopyflow.vocabulary.PLATFORMS`, or indices (*batch) into it.
    """
    valid = reflectance.isfinite()
    if isinstance(platform, str):
        platform = torch.tensor(platform_index(platform), device=reflectance.device)
    return Observation(
        reflectance=reflectance if bool(valid.all()) else reflectance.where(valid, 0.0),
        valid=valid,
        geometry=geometry,
        platform=platform.to(device=reflectance.device, dtype=torch.long).expand(reflectance.shape[:-1]),
        bands=tuple(bands),
    )


def complete_pixels(
    reflectance: Tensor, geometry: Tensor, platform: Tensor, bands: Sequence[str]
) -> Observation:
    """Pixels (*batch, band) of which every entry counts as valid; ``platform``: indices (*batch)."""
    valid = torch.ones_like(reflectance, dtype=torch.bool)
    return Observation(
        reflectance=reflectance, valid=valid, geometry=geometry, platform=platform, bands=tuple(bands)
    )


def platform_index(name: str) -> int:
    """Place of platform ``name`` in the numbering. Raises DataError for an unknown one."""
    known = platform_named(name)
    if known is None:
        raise DataError(f"platform {name!r} is unknown", f"known are {', '.join(PLATFORMS)}")
    return PLATFORMS.index(known)


@dataclass(frozen=True)
class Sample:
    """Observations to learn from, along one axis of length n.

    ``truth`` (n, variables): the state behind each where it is known; ``noise_free`` (n,) bool: simulated
    without noise, which is then drawn anew at each use; real observations carry their own.
    """

    seen: Observation
    truth: Tensor | None
    noise_free: Tensor

    def __len__(self) -> int:
        return len(self.seen)

    def rows(self, index: Tensor | slice) -> Sample:
        """The elements at ``index``."""
        truth = None if self.truth is None else self.truth[index]
        return Sample(self.seen.rows(index), truth, self.noise_free[index])

    def to(self, device: torch.device) -> Sample:
        """The same on ``device``."""
        truth = None if self.truth is None else self.truth.to(device)
        return Sample(self.seen.to(device), truth, self.noise_free.to(device))


def each_date(sample: Sample) -> Sample:
    """Seasons (n, date) as pixels (n * date), those of a season one after the other; pixels as they are."""
    if sample.seen.view is not View.SEASON:
        return sample
    dates = sample.seen.geometry.shape[-2]
    flat = replace(sample.seen, view=View.PIXEL, day=None).each(lambda tensor: tensor.flatten(0, 1))
    truth = None if sample.truth is None else sample.truth.flatten(0, 1)
    return Sample(flat, truth, sample.noise_free.repeat_interleave(dates))


def by_themselves(sample: Sample, count: int) -> Sample:
    """Of each season (n, date) so many of its dates, each as a season of one date: (n * count, 1), those of a
    season one after the other. Which is drawn, observed dates before all others."""
    observed = sample.seen.valid.any(-1)
    order = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, -1.0)
    chosen = order.topk(min(count, order.shape[-1]), dim=-1).indices

    def few(value: Tensor) -> Tensor:
        index = chosen.reshape(*chosen.shape, *(1 for _ in value.shape[2:]))
        return value.gather(1, index.expand(*chosen.shape, *value.shape[2:])).flatten(0, 1).unsqueeze(1)

    truth = None if sample.truth is None else few(sample.truth)
    return Sample(sample.seen.each(few), truth, sample.noise_free.repeat_interleave(chosen.shape[-1]))


APART = 5.0
"""Days between dates that only fill up a season."""


def padded(seen: Observation, dates: int) -> Observation:
    """Seasons (n, date) with so many dates in all: those that are added lie after all others, with nothing
    seen at them."""
    more = dates - seen.valid.shape[-2]
    if more <= 0:
        return seen
    assert seen.day is not None, "a season has days"
    after = seen.day.amax(-1, keepdim=True) + APART * torch.arange(1, more + 1, device=seen.day.device)

    def longer(value: Tensor) -> Tensor:
        return torch.cat([value, value.new_zeros(()).expand(len(value), more, *value.shape[2:])], dim=1)

    day = torch.cat([seen.day, after.to(seen.day.dtype)], dim=-1)
    return replace(replace(seen, day=None).each(longer), day=day)


def concatenate(parts: Sequence[Sample]) -> Sample:
    """Samples of one view and the same bands, one after the other; the truth stays only if all parts have
    one. Of seasons with unequal numbers of dates the shorter ones are :func:`padded`."""
    if parts[0].seen.view is View.SEASON:
        dates = max(part.seen.valid.shape[-2] for part in parts)
        if any(part.truth is not None and part.seen.valid.shape[-2] < dates for part in parts):
            parts = [replace(part, truth=None) for part in parts]
        parts = [replace(part, seen=padded(part.seen, dates)) for part in parts]
    first, truths = parts[0].seen, [part.truth for part in parts if part.truth is not None]
    seen: dict[str, Any] = {
        f.name: torch.cat([getattr(part.seen, f.name) for part in parts])
        for f in fields(first)
        if isinstance(getattr(first, f.name), Tensor)
    }
    return Sample(
        replace(first, **seen),
        torch.cat(truths) if len(truths) == len(parts) else None,
        torch.cat([part.noise_free for part in parts]),
    )
