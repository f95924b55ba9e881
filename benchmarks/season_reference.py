"""Joint posteriors of whole seasons by Markov chains, and what smoother and encoder are worth beside them.

    python benchmarks/season_reference.py [--seasons 16] [--draws 1000] [--bundle BUNDLE] [--folder FOLDER]

Seasons are drawn from the prior itself (`season_gp` over the pixel model; with --bundle from the generative
model of the bundle, whose dynamics must have a density), seen with noise at 24 dates of which a share --clear
is clear. `hmc_wide` samples all dates and variables of a season jointly: 16 chains, believed by the rules of
the pixel reference (R-hat at most 1.01, at least 400 effective draws in bulk and tails, in every coordinate).
With --folder draws are kept when a group of four seasons is finished; an interrupted run goes on from there,
one with other arguments is refused.

Told are, of leaf area on clear and on clouded dates: coverage of the 90 % interval and CRPS of the chains, of
the smoother (at the mode: too narrow), with --single of single-date chains, and of the bundle; and how well a
classifier tells marginals from those of the chains (C2ST; .5: not at all), of leaf area alone and of all
variables of a date. Only seasons whose chains have converged count. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canopyflow.atomic import atomic_file
from canopyflow.evaluation.scores.two_sample import c2st
from canopyflow.models.bundle import load
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative._season import Season, _dates
from canopyflow.models.runtime import generator, one_thread
from canopyflow.models.simulate import SeasonSurvey, draw_seasons
from canopyflow.observations.observation import Observation
from canopyflow.registry import GENERATIVE, SAMPLERS, SEASON_PRIORS
from canopyflow.vocabulary import BANDS, PLATFORMS

DATES, WINDOW = 24, (60.0, 300.0)
LEVEL = 0.9
ASKED = ("seasons", "clear", "draws", "rounds", "seed", "generative")
"""Arguments that chains depend on, beside the bundle."""
GROUP = 4
"""Seasons whose chains run together: fewer cost more each, more wait for the slowest."""


def seasons(model: Season, count: int, clear: float, seed: int) -> tuple[Observation, Tensor]:
    """``count`` noisy seasons with a share of their dates ``clear``, and their states (n, T, D)."""
    sample = draw_seasons(model, SeasonSurvey(dates=DATES, window=WINDOW), count, seed)
    assert sample.truth is not None
    g = generator("season reference", seed)
    seen = model.observe(sample, g)
    kept = torch.rand(count, DATES, generator=g).argsort(-1) < round(clear * DATES)
    return replace(seen, valid=seen.valid & kept.unsqueeze(-1)), sample.truth


def kept(file: Path, asked: dict[str, object]) -> dict[str, Any]:
    """The draws in a file. Ends the program where they are of other arguments than those ``asked``."""
    found: dict[str, Any] = torch.load(file)
    there = found.get("asked", {})
    other = [
        f"{name} {there.get(name, 'unknown')} in place of {value}"
        for name, value in asked.items()
        if there.get(name, "unknown") != value
    ]
    if other:
        raise SystemExit(f"{file} is of {', '.join(other)}: give another --folder")
    return found


def joint(
    model: Season, seen: Observation, asked: dict[str, Any], folder: Path | None
) -> tuple[Tensor, Tensor]:
    """Draws (draws, n, T, D) of the chains and whether each season's have converged, (n,). ``asked``: the
    arguments that these depend on."""
    z, passed = [], []
    for i, part in enumerate(seen.split(GROUP)):
        file = None if folder is None else folder / f"group-{i}.pt"
        if file is not None and file.exists():
            found = kept(file, asked)
        else:
            begun = time.process_time()
            sampler = SAMPLERS.build("hmc_wide", rounds=asked["rounds"])
            drawn = (
                Sampled(model, sampler).posterior(part).draw(asked["draws"], generator("season chains", i))
            )
            assert drawn.reliable is not None
            found = {"asked": asked, "z": drawn.z, "reliable": drawn.reliable, **drawn.diagnosis}
            found["seconds"] = time.process_time() - begun
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(file) as scratch:
                    torch.save(found, scratch)
        print(f"group {i}: {found['seconds']:.0f} processor seconds")
        for rhat, ess, good in zip(
            *(found[k].tolist() for k in ("rhat", "ess_bulk", "reliable")), strict=True
        ):
            print(
                f"  R-hat {rhat:.3f}  effective draws {ess:6.0f}  {'used' if good else 'left out'}",
                flush=True,
            )
        z.append(found["z"])
        passed.append(found["reliable"])
    return torch.cat(z, 1), torch.cat(passed)


def single(model: Season, seen: Observation, draws: int) -> Tensor:
    """Draws (draws, n, T, D) of each date by itself."""
    flat = _dates(model.base, seen).each(lambda t: t.flatten(0, 1))
    sampler = SAMPLERS.build("hmc_wide", rounds=2)
    parts = [
        Sampled(model.base, sampler).posterior(part).draw(draws, generator("single", i)).z
        for i, part in enumerate(flat.split(2 * DATES))
    ]
    return torch.cat(parts, 1).unflatten(1, (len(seen), DATES))


def crps(draws: Tensor, truth: Tensor) -> Tensor:
    """Of draws (K, ...) against ``truth`` (...), without the bias of few draws."""
    k = len(draws)
    rank = torch.arange(1, k + 1, dtype=draws.dtype).reshape(-1, *[1] * truth.ndim)
    spread = (draws.sort(0).values * (2.0 * rank - k - 1.0)).sum(0) / (k * (k - 1.0))
    return (draws - truth).abs().mean(0) - spread


def covered(draws: Tensor, truth: Tensor) -> Tensor:
    """Whether the central interval of draws (K, ...) holds ``truth`` (...), by its rank among them."""
    below = (draws < truth).float().sum(0) + 0.5
    share = below / (len(draws) + 1.0)
    return (share - 0.5).abs() < LEVEL / 2


def scores(z: Tensor, truth: Tensor, clear: Tensor, lai: int) -> dict[str, float]:
    """Coverage and CRPS of leaf area on clear and on clouded dates."""
    out = {}
    for name, dates in (("clear", clear), ("clouded", ~clear)):
        out[f"cover_{name}"] = float(covered(z[..., lai], truth[..., lai])[dates].float().mean())
        out[f"crps_{name}"] = float(crps(z[..., lai], truth[..., lai])[dates].mean())
    return {key: round(value, 4) for key, value in out.items()}


def told_apart(reference: Tensor, z: Tensor, lai: int) -> dict[str, float]:
    """Mean C2ST of the marginals of each season and date: leaf area alone, and all variables of a date."""
    p, q = (each.movedim(0, 2).flatten(0, 1) for each in (reference, z))
    return {
        "c2st_lai": round(float(c2st(p[..., lai : lai + 1], q[..., lai : lai + 1]).mean()), 4),
        "c2st_date": round(float(c2st(p, q).mean()), 4),
    }


def of_bundle(model: Amortised, seen: Observation, draws: int) -> Tensor:
    """Draws (draws, n, T, D) of an encoder."""
    with torch.no_grad():
        return model.posterior(seen).draw(draws, generator("season bundle")).z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seasons", type=int, default=16)
    parser.add_argument("--clear", type=float, default=0.5, help="share of the dates that are clear")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generative", default="prosail", help="pixel model, without a bundle")
    parser.add_argument("--bundle", type=Path, help="a trained model of seasons to hold against the chains")
    parser.add_argument("--single", action="store_true", help="chains of single dates too")
    parser.add_argument("--folder", type=Path, help="where finished seasons are kept")
    given = parser.parse_args()
    trained = None if given.bundle is None else load(given.bundle)
    if trained is None:
        base = GENERATIVE.build(given.generative, BANDS, PLATFORMS)
        model = Season(base, SEASON_PRIORS.build("season_gp", base))
    else:
        model = trained.generative
    with one_thread():
        seen, truth = seasons(model, given.seasons, given.clear, given.seed)
        asked: dict[str, Any] = {name: getattr(given, name) for name in ASKED}
        asked["bundle"] = None if given.bundle is None else str(given.bundle.resolve())
        reference, reliable = joint(model, seen, asked, given.folder)
        lai, clear = model.space.names.index("lai"), seen.valid.any(-1)
        candidates = {
            "chains": reference,
            "smoother": Sampled(model, SAMPLERS.build("smoother")).posterior(seen)
            .draw(given.draws, generator("season smoother")).z,
        }  # fmt: skip
        if given.single:
            candidates["single"] = single(model, seen, given.draws)
        if isinstance(trained, Amortised):
            candidates["bundle"] = of_bundle(trained, seen, given.draws)
        told: dict[str, object] = {"seasons": given.seasons, "used": int(reliable.sum())}
        for name, z in candidates.items():
            told[name] = scores(z[:, reliable], truth[reliable], clear[reliable], lai)
            if name in ("smoother", "bundle"):
                told[name] |= told_apart(reference[:, reliable], z[:, reliable], lai)
            print(name, told[name], flush=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
