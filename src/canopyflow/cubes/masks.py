"""The mask store of a tile and month, and one line of statistics per scene."""

import csv
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from canopyflow.archive.evidence import of_record
from canopyflow.archive.masks import CLOUD, CLOUD_SHADOW, FLAGS, informing_bits, mask_scene
from canopyflow.atomic import atomic_file, atomic_store
from canopyflow.cubes import layout
from canopyflow.cubes.stores import open_scenes

log = logging.getLogger("canopyflow")

COLUMNS = (
    "tile", "month", "item", "platform", "date",
    "cloud_share", "shadow_share", "valid_share", "offset", "problem", "evidence",
)  # fmt: skip


@dataclass
class Count:
    """Pixels of one scene: all of the grid, and what became of them."""

    pixels: int = 0
    cloud: int = 0
    shadow: int = 0
    valid: int = 0


def mask_clouds(
    scenes: Path,
    out_store: Path,
    out_csv: Path,
    *,
    valid_scl: Collection[int],
    dilate_pixels: int,
    spectral_test: bool,
) -> None:
    """Write the mask store of a scene store and a CSV with one line per scene.

    ``cloud_share``, ``shadow_share`` and ``valid_share`` are shares of all pixels of
    the tile's grid, so they never add up to more than 1; what is missing to 1 has no data,
    lies near a cloud or is of a class that is not used. A month without one
    clear pixel is a good result like any other. Rules: see :func:`canopyflow.archive.masks.mask_scene`.
    """
    ds = open_scenes(scenes)
    rules = {"valid_scl": valid_scl, "dilate_pixels": dilate_pixels, "spectral_test": spectral_test}
    with atomic_store(out_store) as scratch:
        store = layout.write_template(scratch, _template(ds), _encoding(ds))
        lines = [_mask_one(ds, store, index, rules) for index in range(ds.sizes["time"])]
    with atomic_file(out_csv) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _template(ds: xr.Dataset) -> xr.Dataset:
    grid = layout.grid_of_store(ds)
    shape = (ds.sizes["time"], *grid.shape)
    dims = ("time", "y", "x")
    quality = {
        "long_name": "why a pixel is not valid, and what is doubted about it",
        "flag_masks": list(FLAGS.values()),
        "flag_meanings": " ".join(FLAGS),
        "grid_mapping": "spatial_ref",
    }
    coords = {
        "time": ("time", ds.time.values, ds.time.attrs),
        "item": ("time", ds.item.values.astype(object)),
        "platform": ("time", ds.platform.values.astype(object)),
        **layout.grid_coordinates(grid),
    }
    variables = {
        "valid": (dims, layout.empty(shape, bool), {"grid_mapping": "spatial_ref"}),
        "quality": (dims, layout.empty(shape, np.uint16), quality),
    }
    attributes = {
        "Conventions": "CF-1.11",
        "tile": ds.attrs["tile"],
        "month": ds.attrs["month"],
        **layout.grid_attributes(grid),
    }
    return xr.Dataset(variables, coords, attributes)


def _encoding(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    tiles = layout.in_strips(ds.scl.shape)
    return {
        "valid": tiles,
        "quality": {**tiles, "_FillValue": None},
        "time": layout.TIME_ENCODING,
    }


def _mask_one(ds: xr.Dataset, store: zarr.Group, index: int, rules: dict[str, Any]) -> dict[str, Any]:
    """Mask one scene strip by strip; each strip sees far enough beyond its edges for the dilation."""
    bands = [str(b) for b in ds.band.values]
    rows_all = ds.sizes["y"]
    count, reach = Count(), rules["dilate_pixels"]
    rules = {**rules, "informing": informing_bits(of_record(ds.attrs["scenes"][index]))}
    for rows in layout.strips(rows_all):
        first = max(0, rows.start - reach)
        inner = slice(rows.start - first, rows.stop - first)
        scl = ds.scl[index, first : min(rows_all, rows.stop + reach)].values
        # Of the rows beyond, the classes alone have a say: their chunks are read once, with their own strip.
        reflectance = np.full((len(bands), *scl.shape), np.nan, np.float32)
        reflectance[:, inner] = ds.reflectance[index, :, rows].values
        mask = mask_scene(reflectance, scl, bands, **rules)
        valid, quality = mask.valid[inner], mask.quality[inner]
        layout.array_of(store, "valid")[index, rows] = valid
        layout.array_of(store, "quality")[index, rows] = quality
        count.pixels += valid.size
        count.cloud += int((quality & CLOUD != 0).sum())
        count.shadow += int((quality & CLOUD_SHADOW != 0).sum())
        count.valid += int(valid.sum())
    return _line(ds, index, count)


def _line(ds: xr.Dataset, index: int, count: Count) -> dict[str, Any]:
    record = ds.attrs["scenes"][index]
    cloud, shadow, valid = (n / count.pixels for n in (count.cloud, count.shadow, count.valid))
    line = {
        "tile": ds.attrs["tile"],
        "month": ds.attrs["month"],
        "item": record["id"],
        "platform": record["platform"],
        "date": np.datetime_as_string(ds.time.values[index], unit="D"),
        "cloud_share": f"{cloud:.6f}",
        "shadow_share": f"{shadow:.6f}",
        "valid_share": f"{valid:.6f}",
        "offset": record["offset"],
        "problem": record["problem"] or "",
        "evidence": " ".join(found.kind for found in of_record(record)),
    }
    percent = [100 * share for share in (cloud, shadow, valid)]
    told = "mask %s %s: cloud %.1f %%, shadow %.1f %%, valid %.1f %%"
    log.info(told, line["tile"], line["item"], *percent)
    return line
