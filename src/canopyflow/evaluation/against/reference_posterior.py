"""The reference posterior: what prior, physics and noise say of a pixel, by long Markov chains.

The target is the joint density that importance weights use too: :class:`Generative`, written once. No family
and no encoder is imported here: editing one leaves every reference as it is.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from canopyflow.errors import DataError
from canopyflow.evaluation.against.reference_store import Reference, save_reference
from canopyflow.inference.allocation import Map
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation
from canopyflow.observations.sources.contract import Source
from canopyflow.progress import track
from canopyflow.registry import GENERATIVE, SOURCES
from canopyflow.samplers.hmc import CHAINS, Hmc
from canopyflow.seeds import seed_of

log = logging.getLogger("canopyflow")

_GROUP = 64
"""Pixels whose chains run together; each group has random numbers of its own."""


@dataclass(frozen=True)
class ReferenceOptions:
    """``draws``: kept per pixel; ``rounds``: how often, at most, chains that mix badly are run on."""

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
    """Pixels to sample: at most ``most`` of the store ``path``, read by the registered ``source``."""

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

    What is simulated gets its noise here. A store with fewer pixels gives all it has. ``reliable`` marks
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
    save_reference(out, seen, sample.truth, found, model.space.names, attrs)
