"""Small training runs, watched from inside."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor
from untrained import SMALL

from canopyflow.cubes.patches import TEXTS, write_cube
from canopyflow.cubes.seasons import write_seasons
from canopyflow.cubes.stores import open_patches
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.simulate import SeasonSurvey, Survey, simulate
from canopyflow.models.simulate_seasons import simulate_seasons
from canopyflow.observations.observation import Observation, Sample
from canopyflow.observations.sources.patches import Patches
from canopyflow.registry import OBJECTIVES
from canopyflow.training import domain, trainer
from canopyflow.training.loop import plan, train
from canopyflow.training.objectives.contract import Objective

BANDS = ("B02", "B03", "B04", "B08", "B11")
NPE = {"objective": "npe", "epochs": 3, "learning_rate": 2e-3, "data": "simulations"}
ELBO = {"objective": "elbo", "epochs": 2, "learning_rate": 1e-3, "data": "simulations", "steps": 3}


def make(path: Path, n: int = 512, seed: int = 1, platforms: Sequence[str] = ("S2A", "S2B")) -> Path:
    """A store of ``n`` simulations."""
    simulate(path, Survey(), n=n, bands=BANDS, platforms=platforms, seed=seed)
    return path


def fit(
    folder: Path,
    stores: Mapping[str, Mapping[str, Path]],
    *,
    model: Mapping[str, Any] | None = None,
    phases: Iterable[Mapping[str, Any]] = (NPE, ELBO),
    fingerprints: Mapping[str, str] | None = None,
    threads: int = 1,
    held_back: int = 256,
    **changes: Any,
) -> Path:
    """Train a small model; ``model``: changes of its options, ``changes``: those of the plan; ``held_back``:
    simulations behind its flags."""
    options: dict[str, Any] = {"family": "truncated_normal", "bands": BANDS, "platforms": ("S2A", "S2B")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_HELD_BACK", held_back)
        patch.setattr(domain, "_STEPS", 4)
        train(
            folder / "bundle",
            ModelOptions(**(options | {"encoder_options": SMALL} | dict(model or {}))),
            plan(list(phases), **({"batch_size": 64, "samples": 2, "seed": 4} | changes)),
            stores,
            checkpoint=folder / "checkpoint",
            fingerprints=fingerprints,
            threads=threads,
            device="cpu",
        )
    return folder / "bundle"


def digests(bundle: Path) -> dict[str, str]:
    """Of the files of a bundle."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(bundle.iterdir())}


def history(bundle: Path) -> list[dict[str, Any]]:
    """Lines of ``history.jsonl``."""
    return [json.loads(line) for line in (bundle / "history.jsonl").read_text().splitlines()]


def observed(n: int) -> Sample:
    """Pixels as patches give them, all of one geometry."""
    rng = np.random.default_rng(0)
    reflectance = torch.from_numpy(rng.uniform(0.02, 0.4, (n, len(BANDS))).astype(np.float32))
    return Sample(
        Observation(
            reflectance=reflectance,
            valid=torch.ones_like(reflectance, dtype=torch.bool),
            geometry=torch.tensor([40.0, 5.0, 90.0]).expand(n, 3),
            platform=torch.from_numpy(rng.integers(0, 2, n)),
            bands=BANDS,
        ),
        None,
        torch.zeros(n, dtype=torch.bool),
    )


def holding(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Let every patch cube hold the same ``n`` pixels, those of :func:`observed`."""
    monkeypatch.setattr(Patches, "load", lambda self, path, bands, platforms, most, seed: observed(n))


def patch_cube(path: Path, patches: int = 6, size: int = 4, **changes: np.ndarray) -> xr.Dataset:
    """Write a patch cube in the order of BANDS whose every value tells its place; not all is valid.

    ``changes``: other values of some of its variables.
    """
    rng = np.random.default_rng(1)
    shape = (patches, len(BANDS), size, size)
    cube = {
        "reflectance": (1 + np.arange(np.prod(shape)) % 65535).reshape(shape).astype(np.uint16),
        "valid": rng.random((patches, size, size)) < 0.7,
        "angles": rng.uniform(0, 60, (patches, 3)).astype(np.float32),
        "band": np.array(BANDS, dtype=object),
        "row": np.arange(patches, dtype=np.int32),
        "column": np.zeros(patches, dtype=np.int32),
        "time": np.zeros(patches, dtype="datetime64[ns]"),
        **{name: np.full(patches, name, dtype=object) for name in TEXTS},
        "platform": np.array(["S2A", "S2B"] * (patches // 2), dtype=object),
    }
    write_cube(path, cube | changes)
    return open_patches(path).load()


def drawn_seasons(
    path: Path, n: int = 96, seed: int = 1, dates: int = 5, bands: Sequence[str] = BANDS
) -> Path:
    """A store of drawn seasons."""
    simulate_seasons(
        path,
        SeasonSurvey(dates=dates),
        n=n,
        bands=bands,
        platforms=("S2A", "S2B"),
        seed=seed,
        generative={"name": "prosail"},
        dynamics={"name": "season_gp"},
    )
    return path


def season_cube(path: Path, n: int = 60, dates: int = 7) -> Path:
    """A cube of real seasons; the last third of them has two dates less than the others, and is filled up as
    ``cut_seasons`` does."""
    rng = np.random.default_rng(2)
    valid = rng.random((n, dates)) < 0.6
    day = np.sort(rng.integers(1, 300, (n, dates)), axis=1).astype(np.int16)
    day += np.arange(dates, dtype=np.int16)
    valid[:, 0] = True
    valid[2 * n // 3 :, -2:], day[2 * n // 3 :, -2:] = False, 0
    numbers = rng.permutation(60000)[: n * dates * len(BANDS)] + 1
    cube = {
        "reflectance": numbers.reshape(n, dates, len(BANDS)).astype(np.uint16) * valid[..., None],
        "valid": valid,
        "angles": rng.uniform(1, 60, (n, dates, 3)).astype(np.float32) * valid[..., None],
        "platform": rng.integers(0, 2, (n, dates)).astype(np.uint8),
        "day": day,
        "row": np.arange(n, dtype=np.int32),
        "column": np.zeros(n, np.int32),
        "tile": np.full(n, "31TCJ", dtype=object),
        "year": np.full(n, 2021, np.int16),
        "split": np.full(n, "train", dtype=object),
        "band": np.array(BANDS, dtype=object),
    }
    write_seasons(path, cube)
    return path


@dataclass
class Call:
    """One loss that was asked for: while ``training`` or for validation."""

    objective: str
    training: bool
    sample: Sample
    step: int | None
    seed: int
    weights: dict[str, Tensor] = field(repr=False)


def watch(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[Call]:
    """The list to which every loss of the objectives ``names`` is added from now on."""
    calls: list[Call] = []

    def watched(name: str) -> None:
        inner = OBJECTIVES[name].loss

        def loss(self: Objective, model: Amortised, sample: Sample, *rest: Any) -> Tensor:
            weights = {k: v.detach().clone() for k, v in model.weights().items()}
            step = rest[1] if len(rest) > 1 else None
            seed = torch.initial_seed()
            calls.append(Call(name, torch.is_grad_enabled(), sample, step, seed, weights))
            return inner(self, model, sample, *rest)

        monkeypatch.setattr(OBJECTIVES[name], "loss", loss)

    for name in names:
        watched(name)
    return calls


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the ``after``-th call of any objective fail, as a killed job would, from then on never again."""
    calls = 0

    def failing(kind: type[Objective]) -> None:
        inner = kind.loss

        def loss(self: Objective, *given: Any) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == after:
                raise KeyboardInterrupt
            return inner(self, *given)

        monkeypatch.setattr(kind, "loss", loss)

    for name in ("npe", "elbo"):
        failing(OBJECTIVES[name])


def spoil(monkeypatch: pytest.MonkeyPatch, bad: range) -> None:
    """Let the calls ``bad`` of ``npe`` give a loss that is not finite."""
    calls = 0
    inner = OBJECTIVES["npe"].loss

    def loss(self: Objective, *given: Any) -> Tensor:
        nonlocal calls
        calls += 1
        value = inner(self, *given)
        return value * float("nan") if calls in bad else value

    monkeypatch.setattr(OBJECTIVES["npe"], "loss", loss)
