"""The reference posterior: what prior, physics and noise say of a pixel, by long Markov chains.

The target is exact, the same joint density that importance weights use: physics prior (with its
co-distribution), PROSAIL, correlated noise. Chains move in the probit of the base box, where the prior is
nearly a standard normal and there are no walls. No family and no encoder is imported here: editing one
leaves every reference as it is.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.atomic import atomic_store
from canopyflow.cubes.pixels import load_pixels
from canopyflow.errors import DataError
from canopyflow.inference.allocation import Map
from canopyflow.models.runtime import seed_of
from canopyflow.physics import VARIABLES, Prosail, prior
from canopyflow.physics.noise import NoiseModel
from canopyflow.physics.priors import Prior
from canopyflow.progress import track
from canopyflow.samplers import hmc
from canopyflow.samplers.diagnosis import diagnose

log = logging.getLogger("canopyflow")

CHAINS = 16
"""Chains a pixel."""

SHARE = 5
"""A round of each chain is this part of the draws that are kept: together they make three times as many."""

LARGEST_RHAT, LEAST_ESS = 1.01, 400.0
"""Of every variable, for a pixel to be used: the bounds of Vehtari et al. 2021, for bulk and tails. Chains
run on, as long as they may, until they are worth as many draws as are kept: those are nearly independent."""

_GROUP = 64
"""Pixels whose chains run together; each group has random numbers of its own."""

_CANDIDATES = 1024
"""Prior draws a pixel among which its chains find their starts."""

_FARTHEST = 5.2
"""Beyond it float32 cannot tell the normal distribution function from 1; 1e-7 of the prior's box."""


@dataclass(frozen=True)
class Pixels:
    """Spectra: ``reflectance`` (n, bands); ``angles`` (n, 3) degrees; ``platform`` (n,) index into
    ``platforms``; ``variables`` (n, 11), the truth where there is one."""

    reflectance: Tensor
    angles: Tensor
    platform: Tensor
    platforms: tuple[str, ...]
    bands: tuple[str, ...]
    variables: Tensor | None = None


@dataclass(frozen=True)
class Reference:
    """``draws`` (n, draws, 11), physical units; worst ``rhat``, ``ess_bulk``, ``ess_tail`` (n,) of the
    variables; ``reliable`` (n,): whether the three pass. What does not pass is to be left out and counted."""

    draws: Tensor
    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor
    reliable: Tensor


@dataclass(frozen=True)
class Physics:
    """Prior, decoder and noise of a campaign: all that a posterior depends on beside the pixel."""

    prior: Prior
    noise: NoiseModel
    decoder: Prosail

    def log_density(self, reflectance: Tensor, angles: Tensor, platform: Tensor) -> hmc.LogDensity:
        """log p(spectrum, x) up to a constant, for x (chains, n, 11) in the probit of the base box."""

        def target(x: Tensor) -> Tensor:
            base = self.to_base(x)
            spectrum = self.decoder(self.prior.to_physical(base), angles, platform=platform)
            # The slope of the distribution function is the Jacobian of the probit.
            return (
                self.noise.log_prob(reflectance, spectrum)
                + self.prior.log_prob_base(base)
                - 0.5 * x.square().sum(-1)
            )

        return target

    def to_base(self, x: Tensor) -> Tensor:
        """Probits (..., 11) to base variables."""
        lower, upper = (bound.to(x.dtype) for bound in (self.prior.lower, self.prior.upper))
        return lower + (upper - lower) * torch.special.ndtr(x.clamp(-_FARTHEST, _FARTHEST))

    def from_base(self, u: Tensor) -> Tensor:
        """Inverse of :meth:`to_base`."""
        lower, upper = (bound.to(u.dtype) for bound in (self.prior.lower, self.prior.upper))
        return torch.special.ndtri(((u - lower) / (upper - lower)).clamp(1e-6, 1.0 - 1e-6))


def sample_posterior(
    pixels: Pixels,
    *,
    leaf: str,
    prior_name: str,
    noise: Mapping[str, float],
    draws: int = 1000,
    rounds: int = 6,
    seed: int = 0,
    over: Map = map,
) -> Reference:
    """The posterior of each pixel by Markov chains, with its diagnosis; deterministic in ``seed``.

    A pixel gets at most ``rounds`` × :data:`CHAINS` / :data:`SHARE` times the ``draws`` that are kept of it.
    ``over``: the ``map`` that hands out groups of pixels.
    """
    physics = Physics(prior(prior_name), NoiseModel(**noise), Prosail(pixels.platforms, pixels.bands, leaf))
    groups = range(math.ceil(len(pixels.reflectance) / _GROUP))
    given = (column.split(_GROUP) for column in (pixels.reflectance, pixels.angles, pixels.platform))
    seeds = [seed_of("reference", seed, group) for group in groups]
    sampled = iter(over(partial(_sample_group, physics, draws, rounds), *given, seeds))
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


def _sample_group(
    physics: Physics,
    draws: int,
    rounds: int,
    reflectance: Tensor,
    angles: Tensor,
    platform: Tensor,
    seed: int,
) -> Reference:
    """Chains of a few pixels; those that need it run on while the others rest."""
    g = torch.Generator().manual_seed(seed)

    def target(rows: Tensor) -> hmc.LogDensity:
        return physics.log_density(reflectance[rows], angles[rows], platform[rows])

    n = len(reflectance)
    every = torch.arange(n)
    chains = hmc.warm_up(target(every), _starts(physics, target(every), n, g), g)
    seen: list[list[Tensor]] = [[] for _ in range(n)]
    worst = np.full((3, n), np.nan)
    rows = every
    for _ in range(rounds):
        active = chains.rows(rows)
        new = hmc.run(target(rows), active, math.ceil(draws / SHARE), g)
        chains.x[:, rows] = active.x
        for place, pixel in enumerate(rows.tolist()):
            seen[pixel].append(new[:, :, place])
            found = diagnose(torch.cat(seen[pixel]).numpy())
            worst[:, pixel] = found.rhat.max(), found.ess_bulk.min(), found.ess_tail.min()
        rows = every[torch.from_numpy(~(_passes(worst) & (worst[1] >= draws)))]
        if not len(rows):
            break
    kept = torch.stack([_thinned(torch.cat(parts), draws) for parts in seen])
    rhat, bulk, tail = torch.from_numpy(worst.astype(np.float32))
    physical = physics.prior.to_physical(physics.to_base(kept))
    return Reference(physical, rhat, bulk, tail, torch.from_numpy(_passes(worst)))


def _passes(worst: NDArray[np.float64]) -> NDArray[np.bool_]:
    rhat, bulk, tail = worst
    passes: NDArray[np.bool_] = (rhat <= LARGEST_RHAT) & (bulk >= LEAST_ESS) & (tail >= LEAST_ESS)
    return passes


def _starts(physics: Physics, target: hmc.LogDensity, n: int, g: torch.Generator) -> Tensor:
    """Starts (chains, n, 11): prior draws, those near the data preferred but not only the best.

    With a tenth of the likelihood as weight the chains begin wider apart than the posterior is, as R-hat
    requires, and yet on the right side of the prior.
    """
    base = physics.prior.to_base(physics.prior.sample(_CANDIDATES * n, g)).reshape(_CANDIDATES, n, -1)
    x = physics.from_base(base)
    with torch.no_grad():
        excess = target(x) - physics.prior.log_prob_base(base) + 0.5 * x.square().sum(-1)
    weights = torch.softmax(0.1 * excess.nan_to_num(nan=-1e9), dim=0) + 1e-12
    chosen = torch.multinomial(weights.T, CHAINS, generator=g)
    return x[chosen.T, torch.arange(n)]


def _thinned(draws: Tensor, count: int) -> Tensor:
    """``count`` of all draws (iterations, chains, D), evenly spaced along the chains."""
    flat = draws.flatten(0, 1)
    return flat[torch.linspace(0, len(flat) - 1, count).round().long()]


def write_reference(
    out: Path,
    source: Path,
    *,
    observed: bool,
    n: int,
    draws: int,
    rounds: int,
    bands: Sequence[str],
    platforms: Sequence[str],
    leaf: str,
    prior_name: str,
    noise: Mapping[str, float],
    seed: int,
    over: Map = map,
) -> None:
    """Sample the posterior of ``n`` pixels of ``source`` and keep it as a sealed store.

    ``source``: a simulations store, to which noise is added here, or with ``observed`` a patch cube. Fewer
    pixels are taken where there are fewer. ``reliable`` marks those whose chains have converged.
    ``over``: the ``map`` that hands out groups of pixels (see :func:`sample_posterior`).
    """
    choose = _observed if observed else _simulated
    pixels = choose(source, n, tuple(bands), tuple(platforms), NoiseModel(**noise), seed)
    if not len(pixels.reflectance):
        raise DataError(f"{source} holds no pixel", "set reference.observed to 0, or widen area or period")
    found = sample_posterior(
        pixels,
        leaf=leaf,
        prior_name=prior_name,
        noise=noise,
        draws=draws,
        rounds=rounds,
        seed=seed,
        over=over,
    )
    per_pixel = {name: (("pixel",), getattr(found, name).numpy()) for name in _DIAGNOSES}
    data = {
        "draws": (("pixel", "draw", "variable"), found.draws.numpy()),
        "reflectance": (("pixel", "band"), pixels.reflectance.numpy(), {"units": "1"}),
        "angles": (("pixel", "angle"), pixels.angles.numpy(), {"units": "degree"}),
        "platform": (("pixel",), pixels.platform.numpy().astype(np.uint8)),
        **per_pixel,
    }
    if pixels.variables is not None:
        data["variables"] = (("pixel", "variable"), pixels.variables.numpy())
    store = xr.Dataset(
        data,
        coords={
            "variable": np.array([v.name for v in VARIABLES], dtype=object),
            "band": np.array(bands, dtype=object),
        },
        attrs={
            "platforms": list(platforms), "leaf": leaf, "prior": prior_name, "noise": dict(noise),
            "seed": seed, "chains": CHAINS, "left_out": int((~found.reliable).sum()),
        },
    )  # fmt: skip
    with atomic_store(out) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False)


_DIAGNOSES = ("rhat", "ess_bulk", "ess_tail", "reliable")


def load_reference(path: Path) -> tuple[Pixels, Reference]:
    """What :func:`write_reference` wrote."""
    with xr.open_zarr(path, consolidated=False, chunks=None) as store:
        tensors = {str(name): torch.from_numpy(store[name].values) for name in store.data_vars}
        pixels = Pixels(
            tensors["reflectance"],
            tensors["angles"],
            tensors["platform"].long(),
            tuple(store.attrs["platforms"]),
            tuple(store["band"].values.tolist()),
            tensors.get("variables"),
        )
    return pixels, Reference(tensors["draws"], *(tensors[name] for name in _DIAGNOSES))


def _simulated(
    source: Path, n: int, bands: tuple[str, ...], platforms: tuple[str, ...], noise: NoiseModel, seed: int
) -> Pixels:
    with xr.open_zarr(source, consolidated=False, chunks=None) as store:
        rows = _choice(store.sizes["sample"], n, seed)
        chosen = store.isel(sample=rows).sel(band=list(bands))
        if tuple(store.attrs["platforms"]) != platforms:
            raise DataError(f"{source} knows other platforms", "run the simulate stage again")
        clean = torch.from_numpy(chosen["reflectance"].values)
        return Pixels(
            noise.sample(clean, torch.Generator().manual_seed(seed_of("reference noise", seed))),
            torch.from_numpy(chosen["angles"].values),
            torch.from_numpy(chosen["platform"].values.astype(np.int64)),
            platforms,
            bands,
            torch.from_numpy(chosen["variables"].values),
        )


def _observed(
    source: Path, n: int, bands: tuple[str, ...], platforms: tuple[str, ...], noise: NoiseModel, seed: int
) -> Pixels:
    """Clear pixels of the cube; what was observed carries its own noise."""
    cube = load_pixels(source, max_pixels=n, seed=seed_of("reference", seed))
    unknown = sorted(set(cube.platforms) - set(platforms))
    if unknown:
        raise DataError(
            f"{source} holds platform {unknown[0]}", f"add {unknown[0]} to the campaign's platforms"
        )
    to_campaign = np.array([platforms.index(name) for name in cube.platforms], dtype=np.int64)
    columns = [cube.bands.index(band) for band in bands]
    return Pixels(
        torch.from_numpy(cube.reflectance[:, columns]),
        torch.from_numpy(cube.angles),
        torch.from_numpy(to_campaign[cube.platform] if len(to_campaign) else np.zeros(0, np.int64)),
        platforms,
        bands,
    )


def _choice(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """Rows of the fixed sample, sorted."""
    return np.sort(np.random.default_rng(seed_of("reference", seed)).permutation(total)[:n])
