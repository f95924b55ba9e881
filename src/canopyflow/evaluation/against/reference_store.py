"""The reference posterior: what prior, physics and noise say of a pixel, by long Markov chains.

The target is the joint density that importance weights use too: :class:`Generative`, written once. No family
and no encoder is imported here: editing one leaves every reference as it is.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor

from canopyflow.atomic import atomic_store
from canopyflow.errors import DataError
from canopyflow.inference.allocation import Map
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation, Sample
from canopyflow.observations.sources.contract import Source
from canopyflow.progress import track
from canopyflow.registry import GENERATIVE, SOURCES
from canopyflow.samplers.hmc import CHAINS, Hmc
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import NAMES, PLATFORMS

log = logging.getLogger("canopyflow")

_GROUP = 64
"""Pixels whose chains run together; each group has random numbers of its own."""


@dataclass(frozen=True)
class Reference:
    """``draws`` (n, draws, D), physical units; worst ``rhat``, ``ess_bulk``, ``ess_tail`` (n,) of the
    variables; ``reliable`` (n,): whether the three pass. What does not pass is to be left out and counted."""

    draws: Tensor
    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor
    reliable: Tensor


@dataclass(frozen=True)
class ReferenceOptions:
    """``draws`` kept per pixel; pixels whose chains mix badly run up to ``rounds`` times on."""

    draws: int = 1000
    rounds: int = 6
    seed: int = 0


def sample_posterior(
    model: Generative, seen: Observation, options: ReferenceOptions, over: Map = map
) -> Reference:
    """The posterior of each pixel by Markov chains, with its diagnosis; deterministic in the options' seed.

    ``over``: the ``map`` that hands out groups of pixels.
    """
    groups = range(math.ceil(len(seen) / _GROUP))
    seeds = [seed_of("reference", options.seed, group) for group in groups]
    sampled = iter(over(partial(_sample_group, model, options), seen.split(_GROUP), seeds))
    parts = [next(sampled) for _ in track(groups, "reference posterior")]
    columns = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Reference)}
    result = Reference(**columns)
    log.info(
        "reference posterior of %d pixels: %d left out, median R-hat %.3f, median effective draws %.0f",
        len(result.reliable),
        int((~result.reliable).sum()),
        float(result.rhat.median()),
        float(result.ess_bulk.median()),
    )
    return result


def _sample_group(model: Generative, options: ReferenceOptions, seen: Observation, seed: int) -> Reference:
    """A few pixels, whose chains run together."""
    g = torch.Generator().manual_seed(seed)
    drawn = Sampled(model, Hmc(options.rounds)).posterior(seen).draw(options.draws, g)
    assert drawn.reliable is not None
    return Reference(drawn.z.movedim(0, 1), reliable=drawn.reliable, **drawn.diagnosis)


@dataclass(frozen=True)
class Pixels:
    """Which pixels a reference is made of: ``most`` of the store ``path``, read as the source of this
    name."""

    source: str
    path: Path
    most: int


def write_reference(
    out: Path,
    pixels: Pixels,
    options: ReferenceOptions,
    *,
    bands: Sequence[str],
    platforms: Sequence[str],
    generative: str = "prosail",
    generative_options: Mapping[str, Any] | None = None,
    over: Map = map,
) -> None:
    """Sample the posterior of some pixels and keep it as a sealed store.

    What is simulated gets its noise here. Fewer pixels are taken where there are fewer. ``reliable`` marks
    those whose chains have converged. ``over``: the ``map`` that hands out groups of pixels (see
    :func:`sample_posterior`).
    """
    given = dict(generative_options or {})
    model: Generative = GENERATIVE.build(generative, tuple(bands), tuple(platforms), **given)
    source: Source = SOURCES.build(pixels.source)
    seed = seed_of("reference", options.seed)
    sample = source.load(pixels.path, bands, platforms, pixels.most, seed)
    if not len(sample):
        raise DataError(
            f"{pixels.path} holds no pixel", "set reference.observed to 0, or widen area or period"
        )
    seen = model.observe(sample, generator("reference noise", options.seed))
    found = sample_posterior(model, seen, options, over)
    attrs = {
        "platforms": list(platforms), "generative": {"name": generative, "options": given},
        "seed": options.seed, "chains": CHAINS, "left_out": int((~found.reliable).sum()),
    }  # fmt: skip
    store = _dataset(seen, sample.truth, found, attrs)
    with atomic_store(out) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False)


_DIAGNOSES = ("rhat", "ess_bulk", "ess_tail", "reliable")


def _dataset(
    seen: Observation, truth: Tensor | None, found: Reference, attrs: Mapping[str, Any]
) -> xr.Dataset:
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
    coords = {"variable": np.array(NAMES, dtype=object), "band": np.array(seen.bands, dtype=object)}
    return xr.Dataset(data, coords=coords, attrs=attrs)


def load_reference(path: Path) -> tuple[Sample, Reference]:
    """What :func:`write_reference` wrote."""
    with xr.open_zarr(path, consolidated=False, chunks=None) as store:
        tensors = {str(name): torch.from_numpy(store[name].values) for name in store.data_vars}
        reflectance = tensors["reflectance"]
        seen = Observation(
            reflectance=reflectance,
            valid=torch.ones_like(reflectance, dtype=torch.bool),
            geometry=tensors["angles"],
            platform=tensors["platform"].long(),
            bands=tuple(store["band"].values.tolist()),
        )
    sample = Sample(seen, tensors.get("variables"), torch.zeros(len(seen), dtype=torch.bool))
    return sample, Reference(tensors["draws"], *(tensors[name] for name in _DIAGNOSES))
