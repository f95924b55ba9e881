"""Simulations from prior and physics: drawn, stored, read back as tensors.

Simulations are stored without noise; noise is drawn anew each time a spectrum
is used, so that no network can learn one realisation of it by heart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from torch import Tensor

from canopyflow import physics
from canopyflow.atomic import atomic_file, atomic_store
from canopyflow.errors import DataError
from canopyflow.models.runtime import seed_of
from canopyflow.physics.noise import NoiseModel
from canopyflow.progress import track
from canopyflow.vocabulary import ANGLES, BANDS

_BATCH = 4096
"""Simulations per call of the physics; each batch has a generator of its own."""

_CHUNK = 65536

Progress = Callable[[Sequence[int], str], Iterable[int]]


@dataclass(frozen=True)
class Spectra:
    """Pixels: reflectance (n, bands), angles (n, 3) degrees, platform (n,) long, truth (n, 11) or None.

    ``needs_noise`` (n,) bool: simulated, hence noise-free; observed pixels carry their own.
    """

    reflectance: Tensor
    angles: Tensor
    platform: Tensor
    variables: Tensor | None
    needs_noise: Tensor

    def __len__(self) -> int:
        return len(self.reflectance)

    def rows(self, index: Tensor) -> Spectra:
        """The pixels at ``index``."""
        truth = None if self.variables is None else self.variables[index]
        reflectance, angles, platform = self.reflectance[index], self.angles[index], self.platform[index]
        return Spectra(reflectance, angles, platform, truth, self.needs_noise[index])

    def to(self, device: torch.device) -> Spectra:
        """The same pixels on ``device``."""
        truth = None if self.variables is None else self.variables.to(device)
        reflectance, angles = self.reflectance.to(device), self.angles.to(device)
        return Spectra(reflectance, angles, self.platform.to(device), truth, self.needs_noise.to(device))

    def observe(self, noise: NoiseModel, g: torch.Generator) -> Tensor:
        """Reflectance as a sensor would report it: fresh noise on what was simulated."""
        noisy = noise.sample(self.reflectance, g)
        return torch.where(self.needs_noise[:, None], noisy, self.reflectance)


def concatenate(parts: Sequence[Spectra]) -> Spectra:
    """One after the other; the truth is kept only if all parts have one."""
    truths = [part.variables for part in parts if part.variables is not None]
    return Spectra(
        reflectance=torch.cat([part.reflectance for part in parts]),
        angles=torch.cat([part.angles for part in parts]),
        platform=torch.cat([part.platform for part in parts]),
        variables=torch.cat(truths) if len(truths) == len(parts) else None,
        needs_noise=torch.cat([part.needs_noise for part in parts]),
    )


def generator(*words: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by ``words``: the same words give the same numbers, whatever ran before."""
    return torch.Generator(device).manual_seed(seed_of(*words))


@dataclass(frozen=True)
class Survey:
    """What is simulated: sensors, leaf model, prior, and the ranges of the geometry in degrees."""

    bands: tuple[str, ...]
    platforms: tuple[str, ...]
    leaf: str
    prior: str
    sun_zenith: tuple[float, float]
    view_zenith: tuple[float, float]


def simulate(
    out: str | Path,
    *,
    n: int,
    bands: Sequence[str],
    platforms: Sequence[str],
    leaf: str,
    prior_name: str,
    seed: int,
    sun_zenith: tuple[float, float],
    view_zenith: tuple[float, float],
    progress: Progress = track,
) -> None:
    """Write ``n`` simulations as a store: variables, angles, platform, and reflectance without noise.

    Variables come from the prior; zenith angles are uniform in their ranges
    (degrees), relative azimuth in [0, 180], platforms equally frequent.
    """
    survey = Survey(tuple(bands), tuple(platforms), leaf, prior_name, sun_zenith, view_zenith)
    _write_simulations(out, draw(survey, n, seed, progress), survey, seed)


def simulate_table(
    out: str | Path,
    *,
    n: int,
    sensor: str,
    seed: int,
    prior_name: str = "atbd",
    sun_zenith: tuple[float, float] = (20.0, 65.0),
    view_zenith: tuple[float, float] = (0.0, 12.0),
) -> None:
    """Write ``n`` simulations of one platform as Parquet, for other people's scripts.

    Columns: id, platform, the angles (degrees), the variables (physical units),
    each band with noise under its own name (what ``canopyflow predict`` reads)
    and without as ``{band}_noise_free``. Prior and ranges are those of a campaign
    that says nothing else.
    """
    survey = Survey(BANDS, (sensor,), "prospect-d", prior_name, sun_zenith, view_zenith)
    drawn = draw(survey, n, seed)
    assert drawn.variables is not None
    noisy = drawn.observe(NoiseModel(), generator("table", seed))
    columns: dict[str, object] = {"id": [f"s{i}" for i in range(n)], "platform": [sensor] * n}
    columns |= dict(zip(ANGLES, drawn.angles.numpy().T, strict=True))
    columns |= {v.name: drawn.variables[:, i].numpy() for i, v in enumerate(physics.VARIABLES)}
    columns |= dict(zip(BANDS, noisy.numpy().T, strict=True))
    columns |= {f"{b}_noise_free": c for b, c in zip(BANDS, drawn.reflectance.numpy().T, strict=True)}
    with atomic_file(out) as scratch:
        pd.DataFrame(columns).to_parquet(scratch, index=False)


def draw(survey: Survey, n: int, seed: int, progress: Progress = track) -> Spectra:
    """Draw ``n`` noise-free simulations; deterministic in ``seed``."""
    law = physics.prior(survey.prior)
    prosail = physics.Prosail(sensor=survey.platforms, bands=survey.bands, leaf=survey.leaf)
    sizes = [min(_BATCH, n - start) for start in range(0, n, _BATCH)]
    parts = []
    for batch in progress(range(len(sizes)), "simulating"):
        size, g = sizes[batch], generator("simulate", seed, batch)
        z, angles = law.sample(size, g), _angles(size, survey, g)
        kind = torch.randint(len(survey.platforms), (size,), generator=g)
        with torch.no_grad():
            reflectance = prosail(z, angles, platform=kind)
        parts.append(Spectra(reflectance, angles, kind, z, torch.ones(size, dtype=torch.bool)))
    return concatenate(parts)


def _angles(n: int, survey: Survey, g: torch.Generator) -> Tensor:
    """(n, 3) degrees, uniform."""
    lower = torch.tensor([survey.sun_zenith[0], survey.view_zenith[0], 0.0])
    upper = torch.tensor([survey.sun_zenith[1], survey.view_zenith[1], 180.0])
    return lower + (upper - lower) * torch.rand(n, 3, generator=g)


def _write_simulations(out: str | Path, drawn: Spectra, survey: Survey, seed: int) -> None:
    assert drawn.variables is not None
    store = xr.Dataset(
        {
            "variables": (("sample", "variable"), drawn.variables.numpy()),
            "angles": (("sample", "angle"), drawn.angles.numpy(), {"units": "degree"}),
            "platform": (("sample",), drawn.platform.to(torch.uint8).numpy()),
            "reflectance": (("sample", "band"), drawn.reflectance.numpy(), {"units": "1"}),
        },
        coords={
            "variable": np.array([v.name for v in physics.VARIABLES], dtype=object),
            "angle": np.array(ANGLES, dtype=object),
            "band": np.array(survey.bands, dtype=object),
        },
        attrs={
            "bands": list(survey.bands),
            "platforms": list(survey.platforms),
            "leaf": survey.leaf,
            "prior": {"name": survey.prior},
            "sun_zenith": list(survey.sun_zenith),
            "view_zenith": list(survey.view_zenith),
            "seed": seed,
        },
    )
    rows = min(_CHUNK, len(drawn))
    chunks = {name: {"chunks": (rows, *array.shape[1:])} for name, array in store.data_vars.items()}
    with atomic_store(out) as scratch, warnings.catch_warnings():
        # Zarr remarks that text is not in its specification yet; the installed one reads what it wrote.
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False, encoding=chunks)


def simulated_platforms(path: str | Path) -> list[str]:
    """The platforms a simulations store knows, in the order of its index."""
    with xr.open_zarr(path, consolidated=False) as store:
        return list(store.attrs["platforms"])


def load_simulations(path: str | Path, bands: Sequence[str], platforms: Sequence[str]) -> Spectra:
    """Read a simulations store for a model of these bands and platforms.

    Raises DataError if the store has other variables or lacks a band.
    """
    with xr.open_zarr(path, consolidated=False) as store:
        names = [v.name for v in physics.VARIABLES]
        if store["variable"].values.tolist() != names:
            raise DataError(f"simulations {path} hold other variables", "run the simulate stage again")
        missing = sorted(set(bands) - set(store["band"].values.tolist()))
        if missing:
            raise DataError(f"simulations {path} lack band {missing[0]}", "run the simulate stage again")
        platform = remap(store["platform"].values, store.attrs["platforms"], platforms, path)
        return Spectra(
            reflectance=torch.from_numpy(store["reflectance"].sel(band=list(bands)).values),
            angles=torch.from_numpy(store["angles"].values),
            platform=platform,
            variables=torch.from_numpy(store["variables"].values),
            needs_noise=torch.ones(len(platform), dtype=torch.bool),
        )


def remap(index: NDArray[np.integer], own: Sequence[str], wanted: Sequence[str], path: str | Path) -> Tensor:
    """Platform indices of a store -> indices of the model's list."""
    used = sorted(set(np.unique(index).tolist()))
    unknown = [own[i] for i in used if own[i] not in wanted]
    if unknown:
        raise DataError(
            f"{path} holds platform {unknown[0]}, the model knows {', '.join(wanted)}",
            f"add {unknown[0]} to the campaign's platforms",
        )
    table = np.array([wanted.index(name) if name in wanted else 0 for name in own], dtype=np.int64)
    return torch.from_numpy(table[np.asarray(index, dtype=np.int64)])


def reflectance_range(reflectance: Tensor, tail: float = 1e-4) -> dict[str, list[float]]:
    """Per band, the range of noisy simulated reflectance but for a share ``tail`` on either side."""
    values = np.quantile(reflectance.numpy().astype(np.float64), [tail, 1 - tail], axis=0)
    return {
        "lower": [round(v, 6) for v in values[0].tolist()],
        "upper": [round(v, 6) for v in values[1].tolist()],
    }


def angle_range(angles: Tensor) -> dict[str, list[float]]:
    """Range of each of the three ``angles`` (n, 3), degrees."""
    lower, upper = angles.amin(0), angles.amax(0)
    return {side: [round(v, 3) for v in a.tolist()] for side, a in (("lower", lower), ("upper", upper))}
