"""Scene and mask stores of several months of one small tile, as the archive's stages write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from canopyflow.archive.grid import Grid
from canopyflow.archive.masks import FLAGS
from canopyflow.cubes.layout import grid_attributes
from canopyflow.vocabulary import BANDS

TILE, EPSG = "32TMT", 32632

Pass = tuple[str, str, np.ndarray, np.ndarray]
"""Time (ISO), platform, digital numbers (band, y, x) and clear pixels (y, x)."""


def month_stores(
    folder: Path,
    month: str,
    passes: Sequence[Pass],
    tile: str = TILE,
    angles: Mapping[str, float] | None = None,
    quality: np.ndarray | None = None,
) -> tuple[Path, Path]:
    """Scene and mask store ``{folder}/scenes|masks/{tile}/{month}.zarr``; pixels of 10 m."""
    rows, columns = passes[0][3].shape
    grid = Grid(EPSG, (400_000.0, 5_200_000.0 - 10.0 * rows, 400_000.0 + 10.0 * columns, 5_200_000.0), 10.0)
    angle = {"sun_zenith": 40.0, "sun_azimuth": 150.0, "view_zenith": 5.0, "view_azimuth": 250.0}
    n = len(passes)
    items = [f"{platform}_{time[:10]}_{k}" for k, (time, platform, _, _) in enumerate(passes)]
    times = np.array([each[0] for each in passes], "datetime64[ns]")
    west, south, east, north = grid.bounds
    attrs = {"tile": tile, "month": month, **grid_attributes(grid)}
    scenes = xr.Dataset(
        {
            "reflectance": (
                ("time", "band", "y", "x"),
                np.stack([each[2] for each in passes]).astype(np.uint16),
                {"scale_factor": 1e-4, "_FillValue": 0},
            ),
            "scl": (("time", "y", "x"), np.full((n, rows, columns), 4, np.uint8)),
            **{
                name: (("time", "y_angle", "x_angle"), np.full((n, 2, 2), value, np.float32))
                for name, value in (angle | dict(angles or {})).items()
            },
        },
        coords={
            "time": times,
            "band": np.array(BANDS, dtype=object),
            "y": grid.y,
            "x": grid.x,
            "y_angle": [north + 1000, south - 1000],
            "x_angle": [west - 1000, east + 1000],
            "item": ("time", np.array(items, dtype=object)),
            "platform": ("time", np.array([each[1] for each in passes], dtype=object)),
        },
        attrs=attrs,
    )
    valid = np.stack([each[3] for each in passes])
    bits = np.zeros(valid.shape, np.uint16) if quality is None else quality
    told = {"flag_masks": list(FLAGS.values()), "flag_meanings": " ".join(FLAGS)}
    masks = xr.Dataset(
        {"valid": (("time", "y", "x"), valid), "quality": (("time", "y", "x"), bits, told)},
        coords={name: scenes[name] for name in ("time", "item", "platform")},
        attrs=attrs,
    )
    out = []
    for kind, store in (("scenes", scenes), ("masks", masks)):
        path = folder / kind / tile / f"{month}.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        store.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
        out.append(path)
    return out[0], out[1]


def numbers_of(seed: int, rows: int, columns: int) -> np.ndarray:
    """Digital numbers (band, y, x) of nothing in particular."""
    return np.random.default_rng(seed).integers(100, 4000, (len(BANDS), rows, columns)).astype(np.uint16)
