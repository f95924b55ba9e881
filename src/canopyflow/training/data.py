"""Training data: simulations from prior and physics, and observed pixels, as tensors.

Simulations are stored without noise; noise is drawn anew each time a spectrum
is used, so that no network can learn one realisation of it by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from canopyflow import physics
from canopyflow.atomic import atomic_store
from canopyflow.cubes.patches import load_pixels
from canopyflow.errors import DataError
from canopyflow.progress import track

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
        fields = (self.reflectance, self.angles, self.platform)
        return Spectra(*(field[index] for field in fields), truth, self.needs_noise[index])

    def to(self, device: torch.device) -> Spectra:
        """The same pixels on ``device``."""
        truth = None if self.variables is None else self.variables.to(device)
        fields = (self.reflectance, self.angles, self.platform)
        return Spectra(*(field.to(device) for field in fields), truth, self.needs_noise.to(device))

    def observe(self, noise: physics.NoiseModel, g: torch.Generator) -> Tensor:
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


def seed_of(*words: int | str) -> int:
    """A 63-bit seed from integers and text, well mixed (numpy's SeedSequence)."""
    entropy = [word if isinstance(word, int) else int.from_bytes(word.encode(), "big") for word in words]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class Survey:
    """What is simulated: sensors, leaf model, prior, and the ranges of the geometry in degrees."""

    bands: tuple[str, ...]
    platforms: tuple[str, ...]
    leaf: str
    prior: str
    sun_zenith: tuple[float, float] = (15.0, 70.0)
    view_zenith: tuple[float, float] = (0.0, 12.0)


def simulate(
    out: str | Path,
    *,
    n: int,
    bands: Sequence[str],
    platforms: Sequence[str],
    leaf: str,
    prior_name: str,
    seed: int,
    sun_zenith: tuple[float, float] = (15.0, 70.0),
    view_zenith: tuple[float, float] = (0.0, 12.0),
    progress: Progress = track,
) -> None:
    """Write ``n`` simulations as a store: variables, angles, platform, and reflectance without noise.

    Variables come from the prior; zenith angles are uniform in their ranges
    (degrees), relative azimuth in [0, 180], platforms equally frequent.
    """
    survey = Survey(tuple(bands), tuple(platforms), leaf, prior_name, sun_zenith, view_zenith)
    _write_simulations(out, draw(survey, n, seed, progress), survey, seed)


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
            "variable": [v.name for v in physics.VARIABLES],
            "angle": ["sun_zenith", "view_zenith", "relative_azimuth"],
            "band": list(survey.bands),
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
    with atomic_store(out) as scratch:
        store.to_zarr(scratch, mode="w", zarr_format=3, consolidated=False, encoding=chunks)


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
        platform = _remap(store["platform"].values, store.attrs["platforms"], platforms, path)
        return Spectra(
            reflectance=torch.from_numpy(store["reflectance"].sel(band=list(bands)).values),
            angles=torch.from_numpy(store["angles"].values),
            platform=platform,
            variables=torch.from_numpy(store["variables"].values),
            needs_noise=torch.ones(len(platform), dtype=torch.bool),
        )


def load_observed(
    path: str | Path, bands: Sequence[str], platforms: Sequence[str], max_pixels: int, seed: int
) -> Spectra:
    """Read at most ``max_pixels`` clear pixels of a patch cube. Raises DataError if its bands differ."""
    pixels = load_pixels(Path(path), max_pixels, seed)
    reflectance = torch.from_numpy(np.ascontiguousarray(pixels.reflectance, dtype=np.float32))
    if reflectance.shape[-1] != len(bands):
        raise DataError(
            f"patches {path} have {reflectance.shape[-1]} bands, the model {len(bands)}",
            "run the cut_patches stage again",
        )
    return Spectra(
        reflectance=reflectance,
        angles=torch.from_numpy(np.ascontiguousarray(pixels.angles, dtype=np.float32)),
        platform=_remap(pixels.platform, pixels.platforms, platforms, path),
        variables=None,
        needs_noise=torch.zeros(len(reflectance), dtype=torch.bool),
    )


def _remap(index: np.ndarray, own: Sequence[str], wanted: Sequence[str], path: str | Path) -> Tensor:
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
