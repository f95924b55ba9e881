"""The store of reference posteriors: draws of some pixels, and how far they can be believed."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor

from canopyflow.atomic import atomic_store
from canopyflow.observations.observation import Observation, Sample, complete_pixels
from canopyflow.vocabulary import PLATFORMS


@dataclass(frozen=True)
class Reference:
    """``draws`` (n, draws, D), physical units; worst ``rhat``, ``ess_bulk``, ``ess_tail`` (n,) of the
    variables; ``reliable`` (n,): whether the three pass. What does not pass is to be left out and counted."""

    draws: Tensor
    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor
    reliable: Tensor


_DIAGNOSES = ("rhat", "ess_bulk", "ess_tail", "reliable")


def save_reference(
    out: Path,
    seen: Observation,
    truth: Tensor | None,
    found: Reference,
    names: Sequence[str],
    attrs: Mapping[str, Any],
) -> None:
    """Keep what was sampled, and of what, as a sealed store; ``names`` (D,) of the state's variables."""
    per_pixel = {name: (("pixel",), getattr(found, name).numpy()) for name in _DIAGNOSES}
    data = {
        "draws": (("pixel", "draw", "variable"), found.draws.contiguous().numpy()),
        "reflectance": (("pixel", "band"), seen.reflectance.numpy(), {"units": "1"}),
        "angles": (("pixel", "angle"), seen.geometry.numpy(), {"units": "degree"}),
        "platform": (
            ("pixel",), seen.platform.numpy().astype(np.uint8), {"meanings": " ".join(PLATFORMS)},
        ),
        **per_pixel,
    }  # fmt: skip
    if truth is not None:
        data["variables"] = (("pixel", "variable"), truth.numpy())
    coords = {"variable": np.array(names, dtype=object), "band": np.array(seen.bands, dtype=object)}
    store = xr.Dataset(data, coords=coords, attrs=attrs)
    with atomic_store(out) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False)


def load_reference(path: Path) -> tuple[Sample, Reference]:
    """What :func:`save_reference` wrote."""
    with xr.open_zarr(path, consolidated=False, chunks=None) as store:
        tensors = {str(name): torch.from_numpy(store[name].values) for name in store.data_vars}
        bands = store["band"].values.tolist()
    platform = tensors["platform"].long()
    seen = complete_pixels(tensors["reflectance"], tensors["angles"], platform, bands)
    sample = Sample(seen, tensors.get("variables"), torch.zeros(len(seen), dtype=torch.bool))
    return sample, Reference(tensors["draws"], *(tensors[name] for name in _DIAGNOSES))
