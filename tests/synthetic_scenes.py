"""Small stores of scenes and masks as the archive's stages write them."""

from pathlib import Path

import numpy as np
import xarray as xr
from untrained import prior_pixels, untrained

from canopyflow.vocabulary import BANDS

PLATFORMS = ("S2A", "S2B")


def scene_store(
    folder: Path,
    counts: np.ndarray | None = None,
    rows: int = 9,
    columns: int = 7,
    items: tuple[str, str] = ("first", "second"),
    platforms: tuple[str, str] = PLATFORMS,
) -> tuple[Path, Path]:
    """Two acquisitions on a small grid, as the scene and mask contracts say.

    ``counts`` (2, bands, rows, columns): digital numbers; by default spectra of the model's own prior, with
    one band of one pixel missing and a part of the first acquisition masked.
    """
    whole = counts is not None
    if counts is None:
        x = prior_pixels(untrained(), 2 * rows * columns).reflectance.numpy()
        numbers = np.clip(np.round(x * 1e4), 1, 1e4).astype(np.uint16)
        counts = np.moveaxis(numbers.reshape(2, rows, columns, 10), -1, 1).copy()
        counts[1, 2, 4, 4] = 0
    rows, columns = counts.shape[2:]
    y, xs = 5_200_000.0 - 10 * np.arange(rows), 400_000.0 + 10 * np.arange(columns)
    angle = {"sun_zenith": 40.0, "sun_azimuth": 150.0, "view_zenith": 5.0, "view_azimuth": 250.0}
    store = xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), counts, {"scale_factor": 1e-4, "_FillValue": 0}),
            "scl": (("time", "y", "x"), np.full((2, rows, columns), 4, np.uint8)),
            **{
                k: (("time", "y_angle", "x_angle"), np.full((2, 2, 2), v, np.float32))
                for k, v in angle.items()
            },
            "angles_source": (("time",), np.array(["granule"] * 2, dtype=object)),
        },
        coords={
            "time": np.array(["2022-05-01T10:30", "2022-05-06T10:30"], "datetime64[ns]"),
            "band": np.array(BANDS, dtype=object),
            "y": y,
            "x": xs,
            "y_angle": [y[0] + 1000, y[-1] - 1000],
            "x_angle": [xs[0] - 1000, xs[-1] + 1000],
            "item": ("time", np.array(items, dtype=object)),
            "platform": ("time", np.array(platforms, dtype=object)),
        },
        attrs={
            "tile": "32TMT",
            "month": "2022-05",
            "epsg": 32632,
            "transform": [10, 0, xs[0] - 5, 0, -10, y[0] + 5],
        },
    )
    valid = np.ones((2, rows, columns), bool)
    valid[0, :4] = whole
    masks = xr.Dataset(
        {"valid": (("time", "y", "x"), valid), "quality": (("time", "y", "x"), (~valid).astype(np.uint8))},
        coords={"item": store["item"].variable},
        attrs=store.attrs,
    )
    folder.mkdir(exist_ok=True)
    store.to_zarr(folder / "scenes.zarr", mode="w", zarr_format=3, consolidated=False)
    masks.to_zarr(folder / "masks.zarr", mode="w", zarr_format=3, consolidated=False)
    return folder / "scenes.zarr", folder / "masks.zarr"
