"""Patch cubes: small squares of clear pixels for training, split by place, read by whole chunks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from canopyflow.archive.directions import relative_azimuth
from canopyflow.archive.grid import node_weights
from canopyflow.atomic import atomic_store
from canopyflow.cubes import layout
from canopyflow.cubes.blocks import allowed_pixels
from canopyflow.cubes.stores import ANGLES, PATCHES_PER_SHARD, open_masks, open_scenes
from canopyflow.errors import DataError

log = logging.getLogger("canopyflow")

PATCHES_PER_CHUNK = 64
ANGLE_NAMES = ("sun_zenith", "view_zenith", "relative_azimuth")
TEXTS = ("tile", "item", "platform", "split")


class Candidate(NamedTuple):
    """A patch that could be cut: store and time index, first row and column."""

    store: int
    time: int
    row: int
    column: int


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
    candidates = [
        c for index, (_, mask) in enumerate(pairs) for c in _candidates(index, open_masks(mask), rule)
    ]
    order = np.random.default_rng(rule.seed).permutation(len(candidates))[: rule.max_patches]
    chosen = [candidates[i] for i in order]
    cube = _filled_cube(pairs, chosen, bands, rule)
    with atomic_store(out) as scratch:
        _write(scratch, cube)
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


def _candidates(store: int, masks: xr.Dataset, rule: SplitRule) -> Iterator[Candidate]:
    """Patches of a store with enough clear pixels of the split, on a lattice from its upper left corner."""
    allowed = _allowed(masks, rule)
    rows, columns = allowed.shape
    for time in range(masks.sizes["time"]):
        valid = masks.valid[time].values & allowed
        # Patches at the lower and right edge may reach beyond the store; what is missing there is not valid.
        padded = np.pad(valid, ((0, -rows % rule.size), (0, -columns % rule.size)))
        share = padded.reshape(-(-rows // rule.size), rule.size, -1, rule.size).mean(axis=(1, 3))
        for row, column in np.argwhere((share >= rule.min_valid) & (share > 0)):
            yield Candidate(store, time, int(row) * rule.size, int(column) * rule.size)


def _allowed(ds: xr.Dataset, rule: SplitRule) -> npt.NDArray[np.bool_]:
    return allowed_pixels(
        layout.grid_of_store(ds),
        rule.split,
        block_metres=rule.block_metres,
        fractions=rule.fractions,
        seed=rule.seed,
    )


def _filled_cube(
    pairs: Sequence[tuple[Path, Path]], chosen: Sequence[Candidate], bands: Sequence[str], rule: SplitRule
) -> dict[str, npt.NDArray[Any]]:
    """All variables of the cube in memory; stores are read in their own order, strip by strip."""
    n, size = len(chosen), rule.size
    cube: dict[str, npt.NDArray[Any]] = {
        "reflectance": np.zeros((n, len(bands), size, size), dtype=np.uint16),
        "valid": np.zeros((n, size, size), dtype=bool),
        "angles": np.zeros((n, 3), dtype=np.float32),
        "row": np.array([c.row for c in chosen], dtype=np.int32),
        "column": np.array([c.column for c in chosen], dtype=np.int32),
        "time": np.zeros(n, dtype="datetime64[ns]"),
        "band": np.array(bands, dtype=object),
        **{name: np.full(n, "", dtype=object) for name in TEXTS},
    }
    cube["split"][:] = rule.split
    height = size * max(1, layout.CHUNK // size)
    groups: dict[tuple[int, int, int], list[int]] = {}
    for place, c in enumerate(chosen):
        groups.setdefault((c.store, c.time, c.row // height), []).append(place)
    opened = -1
    for store, time, strip in sorted(groups):
        if store != opened:
            ds, masks = open_scenes(pairs[store][0]), open_masks(pairs[store][1])
            if list(ds.band.values) != list(bands):
                raise DataError(f"{pairs[store][0]} has bands {list(ds.band.values)} and not {list(bands)}")
            allowed, opened = _allowed(ds, rule), store
        rows = slice(strip * height, (strip + 1) * height)
        picked = {place: chosen[place] for place in groups[store, time, strip]}
        _fill(cube, picked, ds, masks, allowed, time, rows, size)
    return cube


def _fill(
    cube: dict[str, npt.NDArray[Any]],
    picked: Mapping[int, Candidate],
    ds: xr.Dataset,
    masks: xr.Dataset,
    allowed: npt.NDArray[np.bool_],
    time: int,
    rows: slice,
    size: int,
) -> None:
    """Fill in the patches ``picked``, by their place in the cube; all of one time and one band of rows."""
    pixels = ds.reflectance[time, :, rows].values
    # Ground of another split is not even stored: then no reader can use it, whatever it does with `valid`.
    known = np.isfinite(pixels) & allowed[rows]
    stored = np.where(known, np.rint(pixels / np.float32(layout.SCALE)), layout.NODATA).astype(np.uint16)
    valid = masks.valid[time, rows].values & allowed[rows]
    angles = _centre_angles(ds, time, [(c.row, c.column) for c in picked.values()], size)
    for k, (place, corner) in enumerate(picked.items()):
        window = slice(corner.row - rows.start, None), slice(corner.column, None)
        part = stored[:, *window][:, :size, :size]
        h, w = part.shape[1:]
        cube["reflectance"][place, :, :h, :w] = part
        cube["valid"][place, :h, :w] = valid[window][:size, :size]
        cube["angles"][place] = angles[k]
        cube["time"][place] = ds.time.values[time]
        cube["tile"][place] = ds.attrs["tile"]
        cube["item"][place] = str(ds.item.values[time])
        cube["platform"][place] = str(ds.platform.values[time])


def _centre_angles(
    ds: xr.Dataset, time: int, corners: Sequence[tuple[int, int]], size: int
) -> npt.NDArray[np.float32]:
    """Sun zenith, view zenith, relative azimuth (n, 3) at patch centres."""
    grid = layout.grid_of_store(ds)
    middle = np.array(corners, dtype=float) + size / 2
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


def _write(path: Path, cube: dict[str, npt.NDArray[Any]]) -> None:
    """Write the cube shard by shard, each shard once and whole."""
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
