"""The scene store of a tile and month: fetched, harmonised, with angles, and with what went wrong named."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import zarr

from canopyflow.archive import access, harmonise
from canopyflow.archive import items as stac
from canopyflow.archive.angles import SceneAngles, angle_nodes, parse_granule, scene_angles
from canopyflow.archive.grid import Grid
from canopyflow.archive.pinned import grid_of, items_of
from canopyflow.archive.reader import Reader, open_reader, openable
from canopyflow.archive.signing import PlanetaryComputerSigner, Signer
from canopyflow.atomic import atomic_store
from canopyflow.cubes import layout
from canopyflow.cubes.stores import ANGLES
from canopyflow.errors import ArchiveError, ArchiveUnreachable

T = TypeVar("T")
log = logging.getLogger("canopyflow")

CHECK_SIDE = 500
"""Pixels along a side of the sample on which the offset decision is doubted."""


@dataclass(frozen=True)
class Source:
    """How to get at the archive."""

    reader: Reader
    asset_base: Path | None
    sign: Signer
    bands: Sequence[str]
    view_zenith_if_unknown: float


def fetch_scenes(
    pinned: dict[str, Any],
    tile: str,
    month: str,
    out: Path,
    *,
    bands: Sequence[str],
    reader: str,
    asset_base: Path | None,
    view_zenith_if_unknown: float,
) -> None:
    """Write the scene store of one tile and month.

    Args:
        pinned: the pinned search.
        tile, month: which of :func:`canopyflow.archive.pinned.tile_months`.
        out: store to write, replaced as a whole.
        bands: band names, in the order of the store.
        reader: ``stackstac`` or ``odc``.
        asset_base: folder that relative hrefs refer to.
        view_zenith_if_unknown: degrees, for scenes whose view angles nobody gives.

    A scene with a broken file stays as a slot without data and with its ``problem`` named.

    Raises:
        ArchiveUnreachable: the archive does not answer; nothing is written.
        ArchiveError: no item of that tile and month.
    """
    items, grid = items_of(pinned, tile, month), grid_of(pinned, tile)
    if not items:
        raise ArchiveError(f"no item of {tile} in {month} is pinned", "run the search again")
    sign = PlanetaryComputerSigner()
    source = Source(open_reader(reader, asset_base, sign), asset_base, sign, bands, view_zenith_if_unknown)
    with atomic_store(out) as scratch:
        store = layout.write_template(
            scratch, _template(items, grid, bands, tile, month), _encoding(grid, len(bands))
        )
        records = [_write_scene(store, index, item, grid, source, tile) for index, item in enumerate(items)]
        store.attrs["scenes"] = records
        layout.array_of(store, "angles_source")[:] = np.array(
            [r["angles_source"] for r in records], dtype=object
        )


def _template(
    items: Sequence[stac.Item], grid: Grid, bands: Sequence[str], tile: str, month: str
) -> xr.Dataset:
    n, (rows, columns) = len(items), grid.shape
    y_angle, x_angle = angle_nodes(grid)
    times = np.array([stac.acquired(i).replace(tzinfo=None) for i in items], dtype="datetime64[ns]")
    coords = {
        "time": ("time", times, {"long_name": "acquisition time, UTC"}),
        "band": ("band", np.array(bands, dtype=object)),
        "item": ("time", np.array([i["id"] for i in items], dtype=object)),
        "platform": ("time", np.array([i["canopyflow"]["platform"] for i in items], dtype=object)),
        "y_angle": ("y_angle", y_angle, {"units": "m"}),
        "x_angle": ("x_angle", x_angle, {"units": "m"}),
        **layout.grid_coordinates(grid),
    }
    coarse = ("time", "y_angle", "x_angle")
    shape = (n, len(y_angle), len(x_angle))
    variables: dict[str, Any] = {
        "reflectance": (
            ("time", "band", "y", "x"),
            layout.empty((n, len(bands), rows, columns), np.float32),
            layout.reflectance_attributes(),
        ),
        "scl": (
            ("time", "y", "x"),
            layout.empty((n, rows, columns), np.uint8),
            {"long_name": "scene classification of Sen2Cor", "grid_mapping": "spatial_ref"},
        ),
        "angles_source": ("time", np.array([""] * n, dtype=object)),
    }
    for name in ANGLES:
        variables[name] = (coarse, layout.empty(shape, np.float32), {"units": "degree"})
    attributes = {
        "Conventions": "CF-1.11",
        "tile": tile,
        "month": month,
        "scenes": [],
        **layout.grid_attributes(grid),
    }
    return xr.Dataset(variables, coords, attributes)


def _encoding(grid: Grid, bands: int) -> dict[str, dict[str, Any]]:
    return {
        "reflectance": {
            "dtype": "uint16",
            "scale_factor": layout.SCALE,
            "_FillValue": layout.NODATA,
            **layout.in_strips((1, bands, *grid.shape)),
        },
        "scl": {**layout.in_strips((1, *grid.shape)), "_FillValue": None},
        "time": layout.TIME_ENCODING,
    }


def _write_scene(
    store: zarr.Group, index: int, item: stac.Item, grid: Grid, source: Source, tile: str
) -> dict[str, Any]:
    """Fill one time slot; returns its record for ``attrs["scenes"]``."""
    began = time.monotonic()
    warnings: list[str] = []
    angles_of = partial(parse_granule, bands=source.bands, name=f"{stac.GRANULE_METADATA} of {item['id']}")
    granule = _metadata(item, stac.GRANULE_METADATA, source, warnings, angles_of)
    offset = _metadata(item, stac.PRODUCT_METADATA, source, warnings, harmonise.metadata_offset)
    decision = harmonise.decide_offset(item, offset)
    problem: str | None = None
    try:
        valid = _write_pixels(store, index, item, grid, source, decision)
        doubt = _doubt(store, index, source.bands)
        warnings += [doubt] if doubt else []
    except ArchiveUnreachable:
        raise
    except ArchiveError as error:
        problem, valid = error.problem, 0.0
        layout.array_of(store, "reflectance")[index] = layout.NODATA
        layout.array_of(store, "scl")[index] = 0
    angles = scene_angles(item, grid, granule, source.view_zenith_if_unknown)
    _write_angles(store, index, angles)
    for warning in warnings:
        log.warning("%s: %s", item["id"], warning)
    log.info(
        "scene %s %s: cloud %s %%, offset %+d, with data %.1f %%, %.1f s%s",
        tile,
        item["id"],
        item["properties"].get("eo:cloud_cover", "?"),
        decision.offset,
        100 * valid,
        time.monotonic() - began,
        f", PROBLEM {problem}" if problem else "",
    )
    return _record(item, source, decision, angles, warnings, problem)


def _record(
    item: stac.Item,
    source: Source,
    decision: harmonise.OffsetDecision,
    angles: SceneAngles,
    warnings: Sequence[str],
    problem: str | None,
) -> dict[str, Any]:
    names = sorted(item["assets"])
    return {
        "id": item["id"],
        "item_href": stac.item_href(item),
        "platform": item["canopyflow"]["platform"],
        "baseline": stac.baseline(item),
        "offset": decision.offset,
        "offset_reason": decision.reason,
        "hrefs": {name: item["assets"][name]["href"] for name in names},
        "checksums": {n: access.fingerprint(item, n, source.asset_base, source.sign) for n in names},
        "angles_source": angles.source,
        "warnings": list(warnings),
        "problem": problem,
    }


def _metadata(
    item: stac.Item, name: str, source: Source, warnings: list[str], parse: Callable[[bytes], T]
) -> T | None:
    """Content of a metadata file; one that is broken is worth a warning, the pixels are still good."""
    if name not in item["assets"]:
        return None
    try:
        return parse(access.fetch(item, name, source.asset_base, source.sign))
    except ArchiveUnreachable:
        raise
    except ArchiveError as error:
        warnings.append(error.problem)
        return None


def _write_pixels(
    store: zarr.Group,
    index: int,
    item: stac.Item,
    grid: Grid,
    source: Source,
    decision: harmonise.OffsetDecision,
) -> float:
    """Read strip by strip and write; returns the share of pixels that have all bands."""
    names = [*source.bands, stac.SCL]
    opened = openable(item, names, source.asset_base, source.sign)
    lazy = source.reader.read(item, names, grid).data
    complete = 0
    for rows in layout.strips(grid.shape[0]):
        dn = access.compute(lazy[:, rows], opened)
        reflectance = harmonise.apply_offset(dn[:-1], decision.offset)
        layout.array_of(store, "reflectance")[index, :, rows] = reflectance
        layout.array_of(store, "scl")[index, rows] = dn[-1].astype(np.uint8)
        complete += int((reflectance != layout.NODATA).all(axis=0).sum())
    return complete / (grid.shape[0] * grid.shape[1])


def _doubt(store: zarr.Group, index: int, bands: Sequence[str]) -> str | None:
    """Check a regular sample of the scene's pixels for a wrong offset; a sentence, or None."""
    rows, columns = layout.array_of(store, "scl").shape[1:]
    step = slice(None, None, max(1, min(rows, columns) // CHECK_SIDE))
    stored = np.asarray(layout.array_of(store, "reflectance")[index, :, step, step])
    scl = np.asarray(layout.array_of(store, "scl")[index, step, step])
    return harmonise.check_residual_offset(
        np.where(stored == layout.NODATA, np.nan, stored * layout.SCALE), scl, bands
    )


def _write_angles(store: zarr.Group, index: int, angles: SceneAngles) -> None:
    for name, values in zip(
        ANGLES, (angles.sun.zenith, angles.sun.azimuth, angles.view.zenith, angles.view.azimuth), strict=True
    ):
        layout.array_of(store, name)[index] = values.astype(np.float32)
