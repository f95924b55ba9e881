"""Train one posterior family: from stores to a model bundle, resumable at any instant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from canopyflow.atomic import STORE_METADATA, content_digest
from canopyflow.errors import ConfigError, DataError
from canopyflow.models import bundle
from canopyflow.models.priors import NO_LEARNED_PRIOR
from canopyflow.models.retrieval import ModelOptions
from canopyflow.models.runtime import resolve_device, seed_of
from canopyflow.training import checkpoint as checkpoints
from canopyflow.training.data import Spectra, load_simulations, simulated_platforms
from canopyflow.training.observations import load_observed
from canopyflow.training.trainer import Phase, Settings, Trainer


def train(
    out: str | Path,
    *,
    family: str,
    family_options: dict[str, Any],
    bands: Sequence[str],
    phases: Sequence[Mapping[str, Any]],
    simulations: Mapping[str, str | Path] | None,
    patches: Mapping[str, str | Path] | None,
    platforms: Sequence[str] | None = None,
    encoder: Mapping[str, Any] | None = None,
    prior: str = "atbd",
    learned_prior: str = NO_LEARNED_PRIOR,
    noise: dict[str, float] | None = None,
    leaf: str = "prospect-d",
    batch_size: int = 512,
    samples: int = 4,
    patience: int = 5,
    clip_norm: float = 5.0,
    weight_decay: float = 1e-4,
    max_pixels: int = 200_000,
    seed: int = 0,
    threads: int = 1,
    device: str = "auto",
    fingerprints: Mapping[str, str] | None = None,
    checkpoint: str | Path,
) -> None:
    """Train one family and write its bundle to ``out``; resumes from the folder ``checkpoint``.

    ``simulations`` and ``patches`` map the splits "train" and "validation" to
    stores; ``platforms`` are by default those of the simulations. ``encoder`` is
    {"kind": name, **options}. A phase is {objective, epochs, learning_rate, data, steps, options}, data one
    of "simulations", "patches" and "both", options those of the objective. ``learned_prior``: see
    :mod:`canopyflow.models.priors`. Raises ConfigError for phases that
    cannot be, DataError for stores that do not fit, CanopyflowError if the loss
    stays non-finite; the last good checkpoint is then kept.
    """
    plan = [_phase(number, phase, simulations, patches) for number, phase in enumerate(phases, start=1)]
    network = dict(encoder or {})
    options = ModelOptions(
        family=family,
        family_options=family_options,
        encoder=network.pop("kind", "pixel"),
        encoder_options=network,
        bands=tuple(bands),
        platforms=_platforms(platforms, simulations),
        prior=prior,
        learned_prior=learned_prior,
        noise=noise or {},
        leaf=leaf,
    )
    if learned_prior != NO_LEARNED_PRIOR and not any(phase.goal.has_prior for phase in plan):
        raise ConfigError(
            f"training: the {learned_prior!r} prior is fitted by no phase",
            "add a phase of elbo, beta_elbo or iwae",
        )
    settings = Settings(batch_size, samples, patience, clip_norm, weight_decay, seed)
    sources = {"simulations": simulations, "patches": patches}
    data = {
        f"{kind}/{split}": _digest(path)
        for kind, s in sources.items()
        for split, path in sorted((s or {}).items())
    }
    training = {"phases": [asdict(phase) for phase in plan], **asdict(settings), "max_pixels": max_pixels}
    digest = _options_digest(options, training, data, dict(fingerprints or {}))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            spectra = _load(simulations, patches, options, max_pixels, seed)
            there = resolve_device(device)
            trainer = Trainer(options, settings, plan, spectra, there, Path(checkpoint), digest)
            history = trainer.run()
            threshold = trainer.fit_threshold()
    finally:
        torch.set_num_threads(before)
    meta = {
        "reflectance_range": trainer.reflectance_range,
        "angle_range": trainer.angle_range,
        "fit_threshold": threshold,
        "training": training,
        "data": data,
        "code": dict(fingerprints or {}),
        "seed": seed,
    }
    bundle.save(trainer.model, out, meta, history)
    checkpoints.remove(Path(checkpoint))


def _phase(number: int, given: Mapping[str, Any], simulations: object, patches: object) -> Phase:
    """Check one phase of the plan. Raises ConfigError naming it."""
    known = {f.name for f in fields(Phase)}
    odd = sorted(set(given) - known)
    if odd:
        raise ConfigError(
            f"training phase {number}: {odd[0]!r} is unknown", f"known are {', '.join(sorted(known))}"
        )
    phase = Phase(**given)
    try:
        goal = phase.goal
    except ConfigError as error:
        raise ConfigError(f"training phase {number}: {error.problem}", error.remedy) from None
    if phase.data not in ("simulations", "patches", "both"):
        raise ConfigError(
            f"training phase {number}: data {phase.data!r} is unknown", "simulations, patches or both"
        )
    if goal.needs_truth and phase.data != "simulations":
        raise ConfigError(
            f"training phase {number}: {phase.objective} needs true variables, which patches have not",
            "set its data to simulations",
        )
    for kind, source in (("simulations", simulations), ("patches", patches)):
        if phase.data in (kind, "both") and not source:
            raise ConfigError(f"training phase {number} wants {kind}, but none are given")
    return phase


def _platforms(
    platforms: Sequence[str] | None, simulations: Mapping[str, str | Path] | None
) -> tuple[str, ...]:
    if platforms is not None:
        return tuple(platforms)
    if not simulations:
        raise ConfigError("training without simulations needs the names of the platforms", "pass platforms")
    return tuple(simulated_platforms(simulations["train"]))


def _load(
    simulations: Mapping[str, str | Path] | None,
    patches: Mapping[str, str | Path] | None,
    options: ModelOptions,
    max_pixels: int,
    seed: int,
) -> dict[str, dict[str, Spectra]]:
    """split -> kind -> pixels."""
    out: dict[str, dict[str, Spectra]] = {"train": {}, "validation": {}}
    for split, kinds in out.items():
        if simulations:
            kinds["simulations"] = load_simulations(simulations[split], options.bands, options.platforms)
            _check_finite(kinds["simulations"], simulations[split])
        if patches:
            kinds["patches"] = load_observed(
                patches[split], options.bands, options.platforms, max_pixels, seed_of("patches", seed) % 2**32
            )
            _check_finite(kinds["patches"], patches[split])
    return out


def _check_finite(pixels: Spectra, path: str | Path) -> None:
    """Raises DataError: one such pixel in a batch costs the batch, one in the normalisation the run."""
    values = [pixels.reflectance, pixels.angles]
    values += [] if pixels.variables is None else [pixels.variables]
    bad = int((~torch.cat(values, dim=-1).isfinite()).any(-1).sum())
    if bad:
        raise DataError(
            f"{path}: {bad} of {len(pixels)} pixels hold values that are not finite",
            "run the stage that makes it again",
        )


def _digest(path: str | Path) -> str:
    """Content digest of a store: its seal where it has one."""
    metadata = Path(path) / STORE_METADATA
    if not metadata.is_file():
        raise DataError(f"training data {path} is not there", "run the stage that makes it")
    seal = json.loads(metadata.read_text()).get("attributes", {}).get("content_sha256")
    return str(seal) if seal else content_digest(path)


def _options_digest(options: ModelOptions, training: object, data: object, fingerprints: object) -> str:
    text = json.dumps([asdict(options), training, data, fingerprints], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
