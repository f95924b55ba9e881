"""The store of simulated spectra: variables, angles, platform, and reflectance without noise."""

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
    index into :data:`canopyflow.vocabulary.PLATFORMS`, ``reflectance`` (n, bands) without noise.
    """
    numbering = {"meanings": " ".join(PLATFORMS)}
    store = xr.Dataset(
        {
            "variables": (("sample", "variable"), columns["variables"]),
            "angles": (("sample", "angle"), columns["angles"], {"units": "degree"}),
            "platform": (("sample",), columns["platform"].astype(np.uint8), numbering),
            "reflectance": (("sample", "band"), columns["reflectance"], {"units": "1"}),
        },
        coords={
            "variable": np.array(names, dtype=object),
            "angle": np.array(ANGLES, dtype=object),
            "band": np.array(bands, dtype=object),
        },
        attrs={"bands": list(bands), **attrs},
    )
    rows = min(_CHUNK, store.sizes["sample"])
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
