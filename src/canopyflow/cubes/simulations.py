"""The store of simulated spectra, of pixels or seasons: state, angles, platform, noise-free reflectance."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from canopyflow.atomic import atomic_store
from canopyflow.cubes.layout import open_store
from canopyflow.errors import DataError
from canopyflow.vocabulary import ANGLES, PLATFORMS

_CHUNK = 65536


def write_simulations(
    out: str | Path,
    columns: Mapping[str, npt.NDArray[Any]],
    names: Sequence[str],
    bands: Sequence[str],
    attrs: Mapping[str, Any],
) -> None:
    """Write n simulations as a sealed store.

    ``columns``: ``variables`` (n, names) in physical units, ``angles`` (n, 3) degrees, ``platform`` (n,)
    index into :data:`canopyflow.vocabulary.PLATFORMS`, ``reflectance`` (n, bands) without noise. Simulated
    seasons have ``day`` (n, date) too, days since 1 January, and a date axis behind the first in all others.
    """
    axes = ("sample", "date") if "day" in columns else ("sample",)
    days = {"day": (axes, columns["day"], {"long_name": "days since 1 January"})} if "day" in columns else {}
    numbering = {"meanings": " ".join(PLATFORMS)}
    store = xr.Dataset(
        {
            "variables": ((*axes, "variable"), columns["variables"]),
            "angles": ((*axes, "angle"), columns["angles"], {"units": "degree"}),
            "platform": (axes, columns["platform"].astype(np.uint8), numbering),
            "reflectance": ((*axes, "band"), columns["reflectance"], {"units": "1"}),
            **days,
        },
        coords={
            "variable": np.array(names, dtype=object),
            "angle": np.array(ANGLES, dtype=object),
            "band": np.array(bands, dtype=object),
        },
        attrs={"bands": list(bands), **attrs},
    )
    rows = min(max(1, _CHUNK // store.sizes.get("date", 1)), store.sizes["sample"])
    chunks = {name: {"chunks": (rows, *array.shape[1:])} for name, array in store.data_vars.items()}
    with atomic_store(out) as scratch, warnings.catch_warnings():
        # Zarr remarks that text is not in its specification yet; the installed one reads what it wrote.
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False, encoding=chunks)


def open_simulations(path: str | Path) -> xr.Dataset:
    """The store in memory. Raises DataError if there is none, or one of other platforms."""
    store = open_store(Path(path), "simulations")
    known = store["platform"].attrs.get("meanings", "").split()
    if known != list(PLATFORMS):
        raise DataError(f"simulations {path} count platforms differently", "run the simulate stage again")
    return store
