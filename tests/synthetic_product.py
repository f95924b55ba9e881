"""Small product stores as inference writes them, with values that say where they come from."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from canopyflow.inference.encoding import FIT_SCALE, cf_attributes, scale_of

STATISTICS = ["mean", "std", "q05", "q25", "q50", "q75", "q95"]
OFFSETS = np.array([0.0, 0.5, -0.8, -0.3, 0.0, 0.3, 0.8])
EPSG, WEST, NORTH, PIXEL = 32632, 500_000.0, 5_200_000.0, 20.0


def write_product(
    path: Path,
    times: list[str],
    *,
    tile: str = "32TMT",
    mean: np.ndarray | None = None,
    masked: np.ndarray | None = None,
    shape: tuple[int, int] = (4, 6),
    west: float = WEST,
    names: tuple[str, ...] = ("lai", "ccc"),
    items: list[str] | None = None,
    refined: bool = False,
    statistics: tuple[str, ...] = tuple(STATISTICS),
) -> Path:
    """A store with ``mean`` (time, y, x) as the mean of LAI, ten times that for other variables.

    ``refined``: with a layer ``ess``, 1000 plus the default mean.
    The default mean is 1 + time/10 + row/100 + column/1000: a value tells its pixel.
    """
    count, (height, width) = len(times), shape
    t, y, x = np.mgrid[:count, :height, :width]
    place = 1 + t / 10 + y / 100 + x / 1000
    mean = place if mean is None else mean
    masked = np.zeros(mean.shape, bool) if masked is None else masked
    data = {}
    for i, name in enumerate(names):
        values = np.where(masked[:, None], np.nan, mean[:, None] * 10**i + OFFSETS[None, :, None, None])
        values[:, 1] = np.where(masked, np.nan, 0.5)
        attrs = {"units": "m2 m-2", "long_name": "leaf area index"} if name == "lai" else {}
        data[name] = (("time", "statistic", "y", "x"), values.astype(np.float32), attrs)
    data["fit"] = (("time", "y", "x"), np.where(masked, np.nan, 1.0).astype(np.float32))
    if refined:
        data["ess"] = (("time", "y", "x"), np.where(masked, np.nan, 1000 + place).astype(np.float32))
    flags = {"flag_masks": [1, 2, 4], "flag_meanings": "masked out_of_domain input_outside_physics"}
    data["flags"] = (("time", "y", "x"), masked.astype(np.uint8), flags)
    product = xr.Dataset(
        data,
        coords={
            "time": pd.DatetimeIndex(times).as_unit("us"),
            "statistic": STATISTICS,
            "y": NORTH - PIXEL * (np.arange(height) + 0.5),
            "x": west + PIXEL * (np.arange(width) + 0.5),
            "item": ("time", items or [f"S2A_{tile}_{time[:10]}" for time in times]),
            "platform": ("time", ["S2A"] * count),
        },
        attrs={
            "tile": tile,
            "month": times[0][:7],
            "epsg": EPSG,
            "transform": [PIXEL, 0.0, west, 0.0, -PIXEL, NORTH],
            "family": "nsf",
            "seed": 0,
            "bundle_sha256": "b" * 64,
            "summaries": "learned",
            "drawn_share": 0.03,
            "samples": 100,
            "content_sha256": "c" * 64,
        },
    )
    product = product.sel(statistic=list(statistics))
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoding = {
            name: {"dtype": "int16", **cf_attributes(FIT_SCALE if name == "fit" else scale_of(name))}
            for name in (*names, "fit")
        }
        product.to_zarr(path, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
    return path


def write_truth(folder: Path, item: str, name: str, values: np.ndarray, pixel: float = PIXEL) -> None:
    """A reference map of one scene whose corner is the products'."""
    (folder / item).mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(
        folder / item / f"{name}.tif",
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="float32",
        crs=f"EPSG:{EPSG}",
        transform=from_origin(WEST, NORTH, pixel, pixel),
        nodata=np.nan,
    ) as target:
        target.write(values.astype(np.float32), 1)


def write_scenes(
    path: Path, records: list[dict], *, shape: tuple[int, int] = (4, 6), clouds: float = 0.25
) -> Path:
    """A scene store with what publishing reads of it: records, angles and classes.

    The share ``clouds`` of the rows is cloudy, and the first column has no data. The sun stands 40 degrees
    from the zenith in the south-east, the sensor 8 degrees in the west.
    """
    height, width = shape
    classes = np.full((len(records), height, width), 4, np.uint8)
    classes[:, : round(clouds * height)] = 9
    classes[:, :, 0] = 0
    angles = {"sun_zenith": 40.0, "sun_azimuth": 135.0, "view_zenith": 8.0, "view_azimuth": 280.0}
    store = xr.Dataset(
        {
            "scl": (("time", "y", "x"), classes),
            **{
                name: (("time", "y_angle", "x_angle"), np.full((len(records), 2, 2), value, np.float32))
                for name, value in angles.items()
            },
        },
        coords={"item": ("time", np.array([record["id"] for record in records], dtype=object))},
        attrs={"scenes": records},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    return path
