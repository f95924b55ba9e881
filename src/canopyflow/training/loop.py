"""Train one model: from stores to a model bundle, resumable at any instant."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from canopyflow.errors import ConfigError
from canopyflow.models import bundle
from canopyflow.models.estimators.amortised import ModelOptions
from canopyflow.models.priors.contract import NO_LEARNED_PRIOR
from canopyflow.models.runtime import resolve_device
from canopyflow.observations.observation import Sample, View
from canopyflow.observations.sources.contract import Source
from canopyflow.registry import ENCODERS, SEASON_PRIORS, SOURCES
from canopyflow.seeds import seed_of
from canopyflow.training import checkpoint as checkpoints
from canopyflow.training.objectives.contract import Objective
from canopyflow.training.phases import Phase, Plan
from canopyflow.training.stores import Stores, check_finite, digest_of_store
from canopyflow.training.trainer import Trainer

SUMMARIES = "summaries"
"""Name of the objective that trains the network of the summaries, :data:`HEAD` of the model."""

HEAD = "head"

NETWORK = ("width", "layers", "state")
"""What is said of that network itself; the last of one of seasons alone."""


_AS_A_PHASE = ("epochs", "steps", "learning_rate", "data", "optimizer")


def network_of(summaries: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the network among all that a campaign says of its summaries."""
    return {name: summaries[name] for name in NETWORK if name in summaries}


def plan(phases: list[Mapping[str, Any]], summaries: Mapping[str, Any] | None = None, **rest: Any) -> Plan:
    """The plan of a campaign's plain values: ``phases`` as mappings, ``rest`` the other fields of a Plan.

    ``summaries``: how the posterior's summaries are learned after all other phases (``epochs``, ``steps``,
    ``learning_rate``, ``data``, ``optimizer``, ``draws``, ``mixed``, ``foreign``), None for not at all.
    Raises ConfigError naming the phase that cannot be.
    """
    known = [_phase(number, phase) for number, phase in enumerate(phases, start=1)]
    if summaries is not None:
        known.append(
            Phase(
                **{name: summaries[name] for name in _AS_A_PHASE if name in summaries},
                objective=SUMMARIES,
                options={
                    "own_draws": summaries["draws"],
                    "mixed": summaries["mixed"],
                    "foreign": summaries["foreign"],
                },
            )
        )
    return Plan(tuple(known), **rest)


def train(
    out: str | Path,
    options: ModelOptions,
    plan: Plan,
    stores: Stores,
    *,
    checkpoint: str | Path,
    fingerprints: Mapping[str, str] | None = None,
    threads: int = 1,
    device: str = "auto",
) -> None:
    """Train one model and write its bundle to ``out``; resumes from the folder ``checkpoint``.

    Raises ConfigError for phases that cannot be, DataError for stores that do not fit, CanopyflowError if the
    loss stays non-finite; the last good checkpoint is then kept.
    """
    _check(plan, options, stores)
    data = {
        f"{source}/{split}": digest_of_store(path)
        for source, splits in stores.items()
        for split, path in sorted(splits.items())
    }
    training = asdict(plan)
    digest = _options_digest(options, training, data, dict(fingerprints or {}))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            samples = _load(stores, options, plan)
            there = resolve_device(device)
            trainer = Trainer(options, plan, samples, there, Path(checkpoint), digest)
            history = trainer.run()
            factors = trainer.fit_by_bands()
            trainer.model.meta = factors
            told = trainer.set_flags()
            checked = trainer.check_summaries(told["fit_threshold"])
    finally:
        torch.set_num_threads(before)
    meta = {
        "reflectance_range": trainer.reflectance_range,
        "angle_range": trainer.angle_range,
        **told,
        **factors,
        **checked,
        "training": training,
        "data": data,
        "code": dict(fingerprints or {}),
        "seed": plan.seed,
    }
    bundle.save(trainer.model, out, meta, history)
    checkpoints.remove(Path(checkpoint))


def _phase(number: int, given: Mapping[str, Any]) -> Phase:
    known = {f.name for f in fields(Phase)}
    odd = sorted(set(given) - known)
    if odd:
        raise ConfigError(
            f"training phase {number}: {odd[0]!r} is unknown", f"known are {', '.join(sorted(known))}"
        )
    phase = Phase(**given)
    if (phase.objective is None) == (not phase.cycle) or (phase.cycle and phase.options):
        raise ConfigError(
            f"training phase {number}: give either an objective or a cycle",
            "each turn of a cycle is an objective with its own options",
        )
    for turn in phase.cycle:
        if "objective" not in turn or turn.keys() - {"objective", "options"}:
            raise ConfigError(
                f"training phase {number}: a turn of its cycle has the keys {sorted(turn)}",
                "give objective, and options if it has any",
            )
    return phase


def _check(plan: Plan, options: ModelOptions, stores: Stores) -> None:
    """Raise ConfigError for the first phase that cannot be, and for a learned prior that nothing fits."""
    fitted = options.learned_prior == NO_LEARNED_PRIOR
    learning = False
    view = ENCODERS[ENCODERS.known(options.encoder)].view
    for number, phase in enumerate(plan.phases, start=1):
        try:
            goals = phase.goals
            sources: list[type[Source]] = [SOURCES[SOURCES.known(source)] for source in phase.sources]
        except ConfigError as error:
            raise ConfigError(f"training phase {number}: {error.problem}", error.remedy) from None
        needed = frozenset().union(*(goal.needs for goal in goals))
        for source, kind in zip(phase.sources, sources, strict=True):
            lacking = sorted(needed - kind.gives)
            if lacking:
                raise ConfigError(
                    f"training phase {number}: {phase.name} needs {lacking[0]}, which {source} have not",
                    f"set its data to {'simulations' if view is View.PIXEL else 'seasons_drawn'}",
                )
            if kind.view is not view:
                raise ConfigError(
                    f"training phase {number}: {source} are no {view.value}s, which the encoder "
                    f"{options.encoder!r} looks at",
                    "seasons learn from seasons_drawn and seasons, pixels from simulations and patches",
                )
            if source not in stores:
                raise ConfigError(f"training phase {number} wants {source}, but none are given")
        if options.dynamics is not None:
            _check_on_seasons(number, phase.name, goals, options.dynamics)
        fitted = fitted or any("learned_prior" in goal.trains for goal in goals)
        learning = learning or any(HEAD in goal.trains for goal in goals)
    if not fitted:
        raise ConfigError(
            f"training: the {options.learned_prior!r} prior is fitted by no phase",
            "add a phase of elbo, beta_elbo or iwae",
        )
    if learning != (options.summaries is not None):
        raise ConfigError(
            "training: a phase trains a network for the summaries, and the model has none"
            if learning
            else "training: the model has a network for its summaries, and no phase trains it",
            "set training.summaries, which gives both",
        )


def _check_on_seasons(number: int, name: str, goals: Sequence[Objective], dynamics: str) -> None:
    """Raise ConfigError for a phase that seasons of these ``dynamics`` cannot be trained by."""
    if not all(goal.of_seasons for goal in goals):
        raise ConfigError(
            f"training phase {number}: {name} looks at single dates alone", "train seasons by npe or elbo"
        )
    if any(goal.weighs for goal in goals) and not SEASON_PRIORS[SEASON_PRIORS.known(dynamics)].has_density:
        raise ConfigError(
            f"training phase {number}: {name} weighs trajectories by their prior's density, and {dynamics} "
            "has none",
            "train by npe, or take the dynamics season_gp",
        )


def _load(stores: Stores, options: ModelOptions, plan: Plan) -> dict[str, dict[str, Sample]]:
    """Samples by split, then by source: all simulations, and at most ``plan.max_pixels`` observed pixels."""
    out: dict[str, dict[str, Sample]] = {"train": {}, "validation": {}}
    for split, samples in out.items():
        for name, splits in stores.items():
            source: Source = SOURCES.build(name)
            most = None if "truth" in source.gives else plan.max_pixels
            seed = seed_of("patches", plan.seed) % 2**32
            samples[name] = source.load(splits[split], options.bands, options.platforms, most, seed)
            check_finite(samples[name], splits[split])
    return out


def _options_digest(options: ModelOptions, training: object, data: object, fingerprints: object) -> str:
    known = asdict(options)
    if options.dynamics is None:
        # As it was before there were seasons: a run that was stopped then goes on.
        known = {name: value for name, value in known.items() if not name.startswith("dynamics")}
    text = json.dumps([known, training, data, fingerprints], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
