"""Patch cubes: small squares of clear pixels for training, split by place, read by whole chunks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from canopyflow.archive.directions import relative_azimuth
from canopyflow.archive.grid import Grid, node_weights
from canopyflow.atomic import atomic_store
from canopyflow.cubes import layout
from canopyflow.cubes.blocks import allowed_pixels
from canopyflow.cubes.stores import ANGLES, open_masks, open_scenes
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

Integers = npt.NDArray[np.int32]

PATCHES_PER_CHUNK, PATCHES_PER_SHARD = 64, 1024
ANGLE_NAMES = ("sun_zenith", "view_zenith", "relative_azimuth")
TEXTS = ("tile", "item", "platform", "split")


class Candidates(NamedTuple):
    """Patches that could be cut, n: store and time index, first row and column; each (n,) int32.

    Arrays, not objects: a whole tile has half a million patches a scene.
    """

    store: Integers
    time: Integers
    row: Integers
    column: Integers

    def __len__(self) -> int:
        return len(self.store)

    def at(self, index: npt.NDArray[np.integer]) -> "Candidates":
        """Those at ``index``, in its order."""
        return Candidates(*(column[index] for column in self))


@dataclass(frozen=True)
class SplitRule:
    """Which pixels a split may use and how patches are cut from them.

    ``split``: "train", "validation" or "test"; ``size``: pixels along a patch; ``block_metres``: side of the
    blocks that are dealt out to the splits; ``fractions``: shares of train, validation and test;
    ``max_patches``: of more, so many are chosen at random; ``min_valid``: least share of a patch's pixels
    that are clear and of this split; ``seed``: of the thinning, and of which block is in which split.
    """

    split: str
    size: int
    block_metres: float
    fractions: tuple[float, float, float]
    max_patches: int
    min_valid: float
    seed: int


def cut_patches(scenes: Sequence[Path], masks: Sequence[Path], out: Path, rule: SplitRule) -> None:
    """Write the patch cube of one split to the store ``out``, which is replaced as a whole.

    Scene and mask stores are of the same tile-months, pairwise. The patches are held in memory:
    ``max_patches * bands * size**2 * 2`` bytes. Their order is random, so that neighbouring chunks are not of
    one scene. Raises DataError for no stores, stores that do not belong together, or an unknown split.
    """
    pairs = _pairs(scenes, masks)
    bands = [str(b) for b in open_scenes(pairs[0][0]).band.values]
    found = [_candidates(index, open_masks(mask), rule) for index, (_, mask) in enumerate(pairs)]
    candidates = Candidates(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    order = np.random.default_rng(rule.seed).permutation(len(candidates))[: rule.max_patches]
    chosen = candidates.at(order)
    cube = _filled_cube(pairs, chosen, bands, rule)
    with atomic_store(out) as scratch:
        write_cube(scratch, cube)
    log.info("patches %s: %d of %d possible", rule.split, len(chosen), len(candidates))


def _pairs(scenes: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Stores in a fixed order, whatever order they were given in."""
    if not scenes or len(scenes) != len(masks):
        raise DataError(
            f"{len(scenes)} scene stores and {len(masks)} mask stores", "give one mask per scene store"
        )
    keyed = []
    for scene, mask in zip(scenes, masks, strict=True):
        names = [(ds.attrs["tile"], ds.attrs["month"]) for ds in (open_scenes(scene), open_masks(mask))]
        if names[0] != names[1]:
            raise DataError(f"{mask} is the mask of {names[1]} and not of {scene}, {names[0]}")
        keyed.append((names[0], Path(scene), Path(mask)))
    return [(scene, mask) for _, scene, mask in sorted(keyed)]


def _candidates(store: int, masks: xr.Dataset, rule: SplitRule) -> Candidates:
    """Patches of a store with enough clear pixels of the split, on a lattice from its upper left corner."""
    allowed = _allowed(masks, rule)
    size, (rows, columns) = rule.size, allowed.shape
    found = []
    for time in range(masks.sizes["time"]):
        # Whole rows of patches, about a row of chunks at a time.
        for first in range(0, rows, _height(size)):
            strip = slice(first, first + _height(size))
            valid = masks.valid[time, strip].values & allowed[strip]
            # Patches at the lower and right edge may reach beyond the store; what is missing is not valid.
            padded = np.pad(valid, ((0, -len(valid) % size), (0, -columns % size)))
            share = padded.reshape(-1, size, padded.shape[1] // size, size).mean(axis=(1, 3))
            places = np.argwhere((share >= rule.min_valid) & (share > 0)).astype(np.int32) * size
            found.append((np.full(len(places), time, np.int32), places[:, 0] + first, places[:, 1]))
    if not found:
        return Candidates(*(np.zeros(0, np.int32) for _ in Candidates._fields))
    times, first_rows, first_columns = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Candidates(np.full(len(times), store, np.int32), times, first_rows, first_columns)


def _height(size: int) -> int:
    """Rows that are worked on at once: about those of a chunk, in whole patches."""
    return size * max(1, layout.CHUNK // size)


def _allowed(ds: xr.Dataset, rule: SplitRule) -> npt.NDArray[np.bool_]:
    """Pixels of the rule's split."""
    train, validation, test = rule.fractions
    grid = layout.grid_of_store(ds)
    return _allowed_once(grid, rule.split, rule.block_metres, (train, validation, test), rule.seed)


@lru_cache(maxsize=1)
def _allowed_once(
    grid: Grid, split: str, block_metres: float, fractions: tuple[float, float, float], seed: int
) -> npt.NDArray[np.bool_]:
    """The months of a tile share its grid and ask one after the other."""
    return allowed_pixels(grid, split, block_metres=block_metres, fractions=fractions, seed=seed)


def _filled_cube(
    pairs: Sequence[tuple[Path, Path]], chosen: Candidates, bands: Sequence[str], rule: SplitRule
) -> dict[str, npt.NDArray[Any]]:
    """All variables of the cube in memory; stores are read in their own order, strip by strip."""
    n, size = len(chosen), rule.size
    cube: dict[str, npt.NDArray[Any]] = {
        "reflectance": np.zeros((n, len(bands), size, size), dtype=np.uint16),
        "valid": np.zeros((n, size, size), dtype=bool),
        "angles": np.zeros((n, 3), dtype=np.float32),
        "row": chosen.row,
        "column": chosen.column,
        "time": np.zeros(n, dtype="datetime64[ns]"),
        "band": np.array(bands, dtype=object),
        **{name: np.full(n, "", dtype=object) for name in TEXTS},
    }
    cube["split"][:] = rule.split
    keys = (chosen.store, chosen.time, chosen.row // _height(size))
    groups: dict[tuple[int, int, int], list[int]] = {}
    for place, group in enumerate(zip(*(key.tolist() for key in keys), strict=True)):
        groups.setdefault(group, []).append(place)
    opened = -1
    for store, time, number in sorted(groups):
        if store != opened:
            scenes, masks = open_scenes(pairs[store][0], decode=False), open_masks(pairs[store][1])
            if list(scenes.band.values) != list(bands):
                raise DataError(
                    f"{pairs[store][0]} has bands {list(scenes.band.values)} and not {list(bands)}"
                )
            opened = store
        rows = slice(number * _height(size), (number + 1) * _height(size))
        allowed = _allowed(scenes, rule)[rows]
        places = np.array(groups[store, time, number])
        pixels = scenes.reflectance[time, :, rows].values
        # Ground of another split is not even stored: no reader can use it, whatever it does with `valid`.
        np.copyto(pixels, np.uint16(layout.NODATA), where=~allowed)
        valid = masks.valid[time, rows].values & allowed
        corners = np.stack([chosen.row[places], chosen.column[places]], axis=1)
        _fill(cube, places, corners - [rows.start, 0], pixels, valid)
        cube["angles"][places] = _centre_angles(scenes, time, corners, size)
        cube["time"][places] = scenes.time.values[time]
        cube["tile"][places] = scenes.attrs["tile"]
        cube["item"][places] = str(scenes.item.values[time])
        cube["platform"][places] = str(scenes.platform.values[time])
    return cube


def _fill(
    cube: Mapping[str, npt.NDArray[Any]],
    places: npt.NDArray[np.integer],
    corners: npt.NDArray[np.integer],
    pixels: npt.NDArray[np.uint16],
    valid: npt.NDArray[np.bool_],
) -> None:
    """Fill in the patches at ``places`` from a strip of one scene; ``corners`` (n, 2) say where in it."""
    size = cube["valid"].shape[-1]
    for place, (row, column) in zip(places, corners, strict=True):
        window = slice(row, row + size), slice(column, column + size)
        h, w = valid[window].shape
        cube["reflectance"][place, :, :h, :w] = pixels[:, *window]
        cube["valid"][place, :h, :w] = valid[window]


def _centre_angles(
    ds: xr.Dataset, time: int, corners: npt.NDArray[np.integer], size: int
) -> npt.NDArray[np.float32]:
    """Sun zenith, view zenith, relative azimuth (n, 3) at patch centres."""
    grid = layout.grid_of_store(ds)
    middle = corners + size / 2
    rows = node_weights(grid.bounds[3] - middle[:, 0] * grid.resolution, ds.y_angle.values)
    columns = node_weights(grid.bounds[0] + middle[:, 1] * grid.resolution, ds.x_angle.values)
    at = {name: ds[name].values[time].astype(float) for name in ANGLES}

    def bilinear(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.einsum("ny,yx,nx->n", rows, values, columns)

    def azimuth(name: str) -> npt.NDArray[np.float64]:
        turn = np.radians(at[name])
        return np.degrees(np.arctan2(bilinear(np.sin(turn)), bilinear(np.cos(turn))))

    relative = relative_azimuth(azimuth("sun_azimuth"), azimuth("view_azimuth"))
    zeniths = bilinear(at["sun_zenith"]), bilinear(at["view_zenith"])
    return np.stack([*zeniths, relative], axis=1).astype(np.float32)


def write_cube(path: Path, cube: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a cube of n patches shard by shard, each shard once and whole.

    ``cube``: ``reflectance`` (n, band, y, x) uint16, as :func:`canopyflow.cubes.layout.decoded` reads it;
    ``valid`` (n, y, x) bool; ``angles`` (n, 3) float32; ``band`` (band,); and of each patch its ``row``,
    ``column``, ``time`` and the texts :data:`TEXTS`.
    """
    n, bands, size, _ = cube["reflectance"].shape
    lazy = {
        "reflectance": (("patch", "band", "y", "x"), layout.empty((n, bands, size, size), np.float32)),
        "valid": (("patch", "y", "x"), layout.empty((n, size, size), bool)),
        "angles": (("patch", "angle"), cube["angles"], {"units": "degree"}),
    }
    coords = {name: ("patch", cube[name]) for name in (*TEXTS, "row", "column", "time")}
    coords |= {"band": ("band", cube["band"]), "angle": ("angle", np.array(ANGLE_NAMES, dtype=object))}
    ds = xr.Dataset(lazy, coords, {"Conventions": "CF-1.11"})
    ds["reflectance"].attrs = {
        k: v for k, v in layout.reflectance_attributes().items() if k != "grid_mapping"
    }
    chunks = {
        "reflectance": ((PATCHES_PER_CHUNK, bands, size, size), (PATCHES_PER_SHARD, bands, size, size)),
        "valid": ((PATCHES_PER_CHUNK, size, size), (PATCHES_PER_SHARD, size, size)),
    }
    encoding: dict[str, dict[str, Any]] = {k: {"chunks": c, "shards": s} for k, (c, s) in chunks.items()}
    encoding["reflectance"] |= {"dtype": "uint16", "scale_factor": layout.SCALE, "_FillValue": layout.NODATA}
    encoding["time"] = layout.TIME_ENCODING
    store = layout.write_template(path, ds, encoding)
    for first in range(0, n, PATCHES_PER_SHARD):
        shard = slice(first, min(n, first + PATCHES_PER_SHARD))
        assert shard.start % PATCHES_PER_SHARD == 0, "a shard is written by one job, whole"
        assert shard.stop == n or shard.stop % PATCHES_PER_SHARD == 0, "only the last shard may be short"
        for name in chunks:
            layout.array_of(store, name)[shard] = cube[name][shard]
