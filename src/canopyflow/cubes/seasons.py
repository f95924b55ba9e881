"""Season cubes: what was seen of single pixels through a year, for training, split by place.

A season has one entry for every pass over its tile, clear or not: clouded ones are invalid, and all that a
model can be asked about them is what stood there. Seasons with fewer passes than the cube has dates are
padded with invalid ones.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from canopyflow.atomic import atomic_store
from canopyflow.cubes import layout
from canopyflow.cubes.blocks import allowed_pixels, block_draw
from canopyflow.cubes.layout import CHUNK
from canopyflow.cubes.passes import TilePasses
from canopyflow.cubes.stores import open_scenes
from canopyflow.errors import DataError
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import ANGLES, PLATFORMS

log = logging.getLogger("canopyflow")

SEASONS_PER_CHUNK = 1024


@dataclass(frozen=True)
class SeasonRule:
    """Which seasons a split may hold.

    ``split``: "train", "validation" or "test", dealt out to blocks of ``block_metres`` by ``fractions`` as
    patches are; ``months``: first and last of the year that are looked at; ``min_dates``: least number of
    clear passes of a pixel; ``max_seasons``: of more, so many are chosen at random; ``seed``: of that choice,
    and of which block is in which split.
    """

    split: str
    block_metres: float
    fractions: tuple[float, float, float]
    months: tuple[int, int]
    min_dates: int
    max_seasons: int
    seed: int


class _Chosen(NamedTuple):
    """Pixels (n,): a random rank each, number of their tile-year, row and column."""

    rank: NDArray[np.float64]
    unit: NDArray[np.int32]
    row: NDArray[np.int32]
    column: NDArray[np.int32]

    def first(self, most: int) -> "_Chosen":
        """Those of the lowest ranks, in order of rank; of equal ones by place."""
        order = np.lexsort((self.column, self.row, self.unit, self.rank))[:most]
        return _Chosen(self.rank[order], self.unit[order], self.row[order], self.column[order])

    def joined(self, other: "_Chosen") -> "_Chosen":
        """Both, one after the other."""
        return _Chosen(
            np.concatenate([self.rank, other.rank]),
            np.concatenate([self.unit, other.unit]),
            np.concatenate([self.row, other.row]),
            np.concatenate([self.column, other.column]),
        )


_NO_PLACE = np.zeros(0, np.int32)
_NOBODY = _Chosen(np.zeros(0), _NO_PLACE, _NO_PLACE, _NO_PLACE)

Unit = tuple[str, int]
"""Tile and year."""


def cut_seasons(scenes: Sequence[Path], masks: Sequence[Path], out: Path, rule: SeasonRule) -> None:
    """Write the season cube of one split to the store ``out``, which is replaced as a whole.

    Scene and mask stores are of the same tile-months, pairwise; a tile with several years gives seasons of
    each. Tiles are read block by block, so memory does not grow with them; the seasons are held in memory:
    ``max_seasons * passes * bands * 2`` bytes. Raises DataError for no stores, stores that do not belong
    together, or an unknown split.
    """
    units = _units(scenes, masks, rule.months)
    with open_scenes(Path(scenes[0])) as first:
        bands = [str(band) for band in first.band.values]
    chosen = _NOBODY
    total = 0
    for number, ((_, year), stores) in enumerate(units.items()):
        found, count = _candidates(number, TilePasses(stores, bands, year), rule)
        total += count
        chosen = chosen.joined(found).first(rule.max_seasons)
    cube = _filled(units, chosen, bands, rule)
    with atomic_store(out) as scratch:
        write_seasons(scratch, cube)
    log.info(
        "seasons %s: %d of %d possible, in %d tile-years", rule.split, len(chosen.rank), total, len(units)
    )


def _units(
    scenes: Sequence[Path], masks: Sequence[Path], months: tuple[int, int]
) -> dict[Unit, list[tuple[Path, Path]]]:
    """Stores of each tile and year, in a fixed order; months out of the window are left out."""
    if not scenes or len(scenes) != len(masks):
        raise DataError(
            f"{len(scenes)} scene stores and {len(masks)} mask stores", "give one mask per scene store"
        )
    units: dict[Unit, list[tuple[Path, Path]]] = {}
    for scene, mask in sorted(zip(map(Path, scenes), map(Path, masks), strict=True)):
        with open_scenes(scene) as store:
            tile, month = str(store.attrs["tile"]), str(store.attrs["month"])
        year, number = (int(part) for part in month.split("-"))
        if months[0] <= number <= months[1]:
            units.setdefault((tile, year), []).append((scene, mask))
    return dict(sorted(units.items()))


def _blocks(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Blocks of a tile, of the size of a scene store's chunks."""
    return [
        (slice(y, min(y + CHUNK, shape[0])), slice(x, min(x + CHUNK, shape[1])))
        for y in range(0, shape[0], CHUNK)
        for x in range(0, shape[1], CHUNK)
    ]


def _candidates(number: int, tile: TilePasses, rule: SeasonRule) -> tuple[_Chosen, int]:
    """Pixels of a tile-year with enough clear passes, the best ranks of them; and how many there were."""
    grid = layout.grid_of_store(xr.Dataset(attrs=tile.attrs))
    allowed = allowed_pixels(
        grid, rule.split, block_metres=rule.block_metres, fractions=rule.fractions, seed=rule.seed
    )
    draws = seed_of("season", rule.seed, tile.tile, tile.year)
    best, total = _NOBODY, 0
    for rows, columns in _blocks(tile.shape):
        free = allowed[rows, columns]
        if not free.any():
            continue
        count = np.zeros(free.shape, np.int32)
        for each in range(len(tile.passes)):
            count += tile.valid(each, rows, columns)
        row, column = np.nonzero(free & (count >= rule.min_dates))
        row, column = (row + rows.start).astype(np.int32), (column + columns.start).astype(np.int32)
        total += len(row)
        found = _Chosen(block_draw(draws, column, row), np.full(len(row), number, np.int32), row, column)
        best = best.joined(found).first(rule.max_seasons)
    return best, total


def _filled(
    units: Mapping[Unit, list[tuple[Path, Path]]], chosen: _Chosen, bands: Sequence[str], rule: SeasonRule
) -> dict[str, NDArray[Any]]:
    """All variables of the cube in memory; tiles are read in their own order, block by block."""
    tiles = {
        number: TilePasses(units[unit], bands, unit[1])
        for number, unit in enumerate(units)
        if (chosen.unit == number).any()
    }
    n, dates = len(chosen.rank), max((len(tile.passes) for tile in tiles.values()), default=0)
    cube: dict[str, NDArray[Any]] = {
        "reflectance": np.zeros((n, dates, len(bands)), np.uint16),
        "valid": np.zeros((n, dates), bool),
        "angles": np.zeros((n, dates, 3), np.float32),
        "platform": np.zeros((n, dates), np.uint8),
        "day": np.zeros((n, dates), np.int16),
        "row": chosen.row,
        "column": chosen.column,
        "tile": np.array([list(units)[unit][0] for unit in chosen.unit], dtype=object),
        "year": np.array([list(units)[unit][1] for unit in chosen.unit], dtype=np.int16),
        "split": np.full(n, rule.split, dtype=object),
        "band": np.array(bands, dtype=object),
    }
    for number, tile in tiles.items():
        (of_tile,) = np.nonzero(chosen.unit == number)
        days = tile.days()
        cube["day"][of_tile, : len(days)] = days
        cube["platform"][of_tile, : len(days)] = [PLATFORMS.index(each.platform) for each in tile.passes]
        for rows, columns in _blocks(tile.shape):
            row, column = chosen.row[of_tile], chosen.column[of_tile]
            here = (row >= rows.start) & (row < rows.stop)
            here &= (column >= columns.start) & (column < columns.stop)
            if here.any():
                _fill(cube, tile, of_tile[here], rows, columns)
    return cube


def _fill(
    cube: Mapping[str, NDArray[Any]], tile: TilePasses, places: NDArray[np.intp], rows: slice, columns: slice
) -> None:
    """Fill in the seasons at ``places``, all in one block of a tile; one pass is in memory at a time."""
    y, x = cube["row"][places] - rows.start, cube["column"][places] - columns.start
    for date in range(len(tile.passes)):
        seen = tile.seen(date, rows, columns)
        if seen is None:
            continue
        known = seen.known[y, x]
        cube["valid"][places, date] = known
        there, at = places[known], (y[known], x[known])
        cube["reflectance"][there, date] = seen.numbers[:, *at].T
        cube["angles"][there, date] = seen.angles[:, *at].T


def write_seasons(path: Path, cube: Mapping[str, NDArray[Any]]) -> None:
    """Write a cube of n seasons.

    ``cube``: ``reflectance`` (n, date, band) uint16, as :func:`canopyflow.cubes.layout.decoded` reads it;
    ``valid`` (n, date) bool; ``angles`` (n, date, 3) degrees; ``platform`` (n, date) index into
    :data:`canopyflow.vocabulary.PLATFORMS`; ``day`` (n, date) since 1 January of the season's year; ``band``
    (band,); and of each season ``tile``, ``year``, ``row``, ``column``, ``split``.
    """
    n, dates, bands = cube["reflectance"].shape
    told = {
        "day": {"long_name": "days since 1 January of the season's year"},
        "platform": {"meanings": " ".join(PLATFORMS)},
    }
    lazy = {
        "reflectance": (("season", "date", "band"), layout.empty((n, dates, bands), np.float32)),
        "valid": (("season", "date"), layout.empty((n, dates), bool)),
        "angles": (("season", "date", "angle"), layout.empty((n, dates, 3), np.float32), {"units": "degree"}),
        "platform": (("season", "date"), layout.empty((n, dates), np.uint8), told["platform"]),
        "day": (("season", "date"), layout.empty((n, dates), np.int16), told["day"]),
    }
    coords = {name: ("season", cube[name]) for name in ("tile", "year", "row", "column", "split")}
    coords |= {"band": ("band", cube["band"]), "angle": ("angle", np.array(ANGLES, dtype=object))}
    ds = xr.Dataset(lazy, coords, {"Conventions": "CF-1.11"})
    ds["reflectance"].attrs = {
        k: v for k, v in layout.reflectance_attributes().items() if k != "grid_mapping"
    }
    rows, width = max(1, min(n, SEASONS_PER_CHUNK)), max(1, dates)
    behind = {"reflectance": (bands,), "angles": (3,)}
    encoding: dict[str, dict[str, Any]] = {
        str(name): {"chunks": (rows, width, *behind.get(str(name), ())), "_FillValue": None}
        for name in ds.data_vars
    }
    encoding["reflectance"] |= {"dtype": "uint16", "scale_factor": layout.SCALE, "_FillValue": layout.NODATA}
    store = layout.write_template(path, ds, encoding)
    for name in ds.data_vars:
        if n and dates:
            layout.array_of(store, str(name))[:] = cube[str(name)]


def open_seasons(path: Path) -> xr.Dataset:
    """The season cube in memory; ``reflectance`` (season, date, band) float32, NaN where there is no data.

    Raises:
        DataError: there is none, or it counts platforms differently.
    """
    store = layout.with_reflectance(layout.open_store(path, "season cube", raw=["reflectance"]), path)
    known = store["platform"].attrs.get("meanings", "").split()
    if known != list(PLATFORMS):
        raise DataError(f"season cube {path} counts platforms differently", "run the cut_seasons stage again")
    return store
