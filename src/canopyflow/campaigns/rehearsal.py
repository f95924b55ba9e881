"""Whether today's code would make a shipped model again: its training in small, and what came of it.

A fingerprint of source text says that a file was touched, not that anything it computes has changed. So the
record of a shipped model holds numbers of a rehearsal instead: the first of its simulations, and a few steps
of each phase of its training on them, with its own settings. Whoever changes physics, the law, the noise,
a network, an objective or the order of random numbers gets other numbers; whoever tidies up gets the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from canopyflow.config import Campaign, load_campaign
from canopyflow.cubes.simulations import open_simulations
from canopyflow.models.bundle import load
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.simulate import Survey, simulate
from canopyflow.training.loop import network_of, plan, train

SIZES = {"train": 4096, "validation": 1024}
"""Simulations of a rehearsal: a batch of training has about a thousand."""

PARTS = ("encoder", "family", "head", "known_spectra")
"""Parts of a model whose weights are compared."""

TOLERANCE = 3e-4
"""Largest relative difference between two rehearsals by the same code on machines of different make."""


def rehearse(made_by: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Simulate and train the model ``name`` in small.

    ``made_by``: what it is made by, see :func:`canopyflow.campaigns.shipping.made_by`. Returns the means of
    states and spectra of the simulations, and of each phase's first epoch loss and validation loss; then the
    threshold of the fit, and of each part of the model the sum of its tensors' mean absolute weights. Numbers
    have six digits.
    """
    campaign = campaign_of(made_by, name)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stores = {split: _simulated(campaign, split, folder) for split in SIZES}
        _train(campaign, name, stores, folder)
        history = [json.loads(line) for line in (folder / "seed0/history.jsonl").read_text().splitlines()]
        model = load(folder / "seed0")
        assert isinstance(model, Amortised), "only posterior families are shipped"
        simulations = open_simulations(stores["train"])
        return {
            "variables": [_short(mean) for mean in simulations["variables"].values.mean(0, dtype=float)],
            "reflectance": [_short(mean) for mean in simulations["reflectance"].values.mean(0, dtype=float)],
            "losses": {
                line["objective"]: [_short(line["loss"]), _short(line["validation"])] for line in history
            },
            "fit_threshold": _short(model.meta["fit_threshold"]),
            "weights": {
                part: _short(sum(float(each.abs().mean()) for each in getattr(model, part).parameters()))
                for part in PARTS
                if getattr(model, part) is not None
            },
        }


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two rehearsals disagree on, in words; empty if nothing."""
    before, after = _flat(was), _flat(now)
    odd = [f"{key}: in one of them only" for key in sorted(before.keys() ^ after.keys())]
    return odd + [
        f"{key}: {before[key]:.6g} then, {after[key]:.6g} now"
        for key in sorted(before.keys() & after.keys())
        if abs(before[key] - after[key]) > TOLERANCE * max(abs(before[key]), 1e-3)
    ]


def campaign_of(made_by: Mapping[str, Any], name: str) -> Campaign:
    """The campaign that a record tells of: what it was silent on takes today's defaults."""
    without_scenes: dict[str, Any] = {"area": None, "period": None, "archive": None, "families": []}
    return load_campaign(
        {
            "campaign": made_by["campaign"],
            **without_scenes,
            "models": {name: dict(made_by["model"])},
            **made_by["settings"],
        }
    )


def _simulated(campaign: Campaign, split: str, folder: Path) -> Path:
    given, store = campaign.simulations, folder / f"{split}.zarr"
    simulate(
        store,
        Survey(given.sun_zenith, given.view_zenith),
        n=SIZES[split],
        bands=campaign.grid.bands,
        platforms=given.platforms,
        seed=list(SIZES).index(split),
        generative=campaign.physics.generative,
        options=campaign.physics.law,
    )
    return store


def _train(campaign: Campaign, name: str, stores: Mapping[str, Path], folder: Path) -> None:
    how = campaign.training.plan
    how["phases"] = [{**phase, "epochs": 1, "steps": None} for phase in how["phases"]]
    summaries = how["summaries"]
    if summaries is not None:
        how["summaries"] = summaries = {**summaries, "epochs": 1, "steps": None}
    del how["threads"], how["device"]
    encoder = campaign.encoder.model_dump()
    options = ModelOptions(
        **campaign.model_blocks[name].built_from,
        bands=campaign.grid.bands,
        platforms=campaign.simulations.platforms,
        generative=campaign.physics.generative,
        generative_options=campaign.physics.options,
        encoder=encoder.pop("kind"),
        encoder_options=encoder,
        learned_prior=how.pop("learned_prior"),
        summaries=summaries and network_of(summaries),
    )
    train(
        folder / "seed0",
        options,
        plan(**how, seed=1000 * campaign.seed),
        {"simulations": stores},
        checkpoint=folder / "checkpoint",
        device="cpu",
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, float]:
    out: dict[str, float] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{above}{key}.")
        else:
            numbers = value if isinstance(value, list) else [value]
            out |= {f"{above}{key}[{place}]": float(number) for place, number in enumerate(numbers)}
    return out
