"""All passes over a tile within a year: the stores of several months as one series, read block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canopyflow.cubes.scene_blocks import SceneBlocks, complete
from canopyflow.errors import DataError


@dataclass(frozen=True)
class Pass:
    """One satellite over a tile on one day: ``day`` since 1 January of the year, 0 for that day itself.

    ``members``: number of the store and of the acquisition in it; a datatake that is in the tile twice is one
    pass, of which each pixel takes the first acquisition that sees it: it must not count as two observations.
    """

    day: int
    platform: str
    members: tuple[tuple[int, int], ...]


class Seen(NamedTuple):
    """A block of one pass: ``known`` (y, x) bool, ``numbers`` (band, y, x) uint16 as stored, ``angles`` (3,
    y, x) degrees, ``quality`` (y, x) bits of the mask; only what is ``known`` means anything."""

    known: NDArray[np.bool_]
    numbers: NDArray[np.uint16]
    angles: NDArray[np.float32]
    quality: NDArray[np.uint16]


class TilePasses:
    """The passes of ``year`` over one tile.

    ``stores``: scene and mask store of each month, in any order; ``bands``: those that are read, in order.
    ``passes`` are in order of day, then satellite; ``shape``: (rows, columns).

    Raises:
        DataError: no stores, of several tiles or grids, or one that lacks a band.
    """

    def __init__(self, stores: Sequence[tuple[Path, Path]], bands: Sequence[str], year: int) -> None:
        if not stores:
            raise DataError("there is no scene store of the season", "fetch the months of its window")
        self.months = sorted(
            (SceneBlocks(Path(scenes), Path(masks), bands) for scenes, masks in stores),
            key=lambda month: str(month.attrs["month"]),
        )
        self.tile, self.shape = str(self.months[0].attrs["tile"]), self.months[0].shape
        self.attrs = self.months[0].attrs
        for month in self.months:
            if (str(month.attrs["tile"]), month.grid) != (self.tile, self.months[0].grid):
                raise DataError(
                    f"scenes of {month.attrs['tile']} {month.attrs['month']} do not lie on the grid of "
                    f"{self.tile} {self.attrs['month']}",
                    "give the months of one tile, fetched by one campaign",
                )
        self.passes = _passes(self.months, year)
        self.bands, self.year = tuple(bands), year

    @property
    def items(self) -> list[tuple[str, ...]]:
        """Ids of the items of each pass."""
        return [tuple(self.months[m].items[t] for m, t in each.members) for each in self.passes]

    def days(self) -> NDArray[np.int64]:
        """Day of each pass, counted from 1 January."""
        return np.array([each.day for each in self.passes], dtype=np.int64)

    def valid(self, number: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Where the masks believe a pass, (y, x)."""
        found = [self.months[m].valid(t, rows, columns) for m, t in self.passes[number].members]
        return np.logical_or.reduce(found)

    def seen(self, number: int, rows: slice, columns: slice) -> Seen | None:
        """What a pass saw of a block; None if no pixel is clear. Clouded blocks are read no further than
        their mask."""
        out: Seen | None = None
        for m, t in self.passes[number].members:
            month = self.months[m]
            valid = month.valid(t, rows, columns)
            if out is not None:
                valid = valid & ~out.known
            if not valid.any():
                continue
            numbers, angles = month.numbers(t, rows, columns), month.angles(t, rows, columns)
            known = complete(valid, numbers, angles)
            quality = month.quality(t, rows, columns).astype(np.uint16, copy=False)
            if out is None:
                out = Seen(known, numbers, angles, quality)
                continue
            out = Seen(
                out.known | known,
                np.where(known, numbers, out.numbers),
                np.where(known, angles, out.angles),
                np.where(known, quality, out.quality),
            )
        return out if out is not None and out.known.any() else None


def _passes(months: Sequence[SceneBlocks], year: int) -> list[Pass]:
    """Passes in order of day and satellite; acquisitions of a satellite on one day belong together."""
    start = np.datetime64(f"{year:04d}-01-01", "D")
    members: dict[tuple[int, str], list[tuple[str, tuple[int, int]]]] = {}
    for m, month in enumerate(months):
        for t, (time, platform) in enumerate(zip(month.times, month.platforms, strict=True)):
            day = int((time.astype("datetime64[D]") - start).astype(int))
            members.setdefault((day, platform), []).append((month.items[t], (m, t)))
    return [
        Pass(day, platform, tuple(place for _, place in sorted(found)))
        for (day, platform), found in sorted(members.items())
    ]
