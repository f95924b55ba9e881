"""What a season knows that its dates do not: leaf area of the demo's pixels, date by date and together.

    OMP_NUM_THREADS=2 python benchmarks/season_gain.py --seed LANDSCAPE --out FOLDER [--dynamics NAME ...]

Trains, unless FOLDER holds it already, a model of single dates on simulations, and for each prior of
trajectories (`season_curves`, `season_gp`) a model of seasons on seasons drawn from it: never on the demo's
fields. Then all of them look at the same pixels of the landscape with this seed, 24 passes under its clouds.
Of leaf area it tells, for clear dates, RMSE of the posterior's mean and CRPS of its draws as ratios to the
model of single dates; for clouded ones the CRPS as a ratio to that of linear interpolation between the
single-date posteriors at the clear dates around, quantile by quantile (`mean`: of their means, a forecast
without width); and how many truths the 90 % intervals cover. Then on held-back seasons of the model's own
prior and of the other one; there `unlikely` says how often a season is flagged whose fit is beyond what one
in twenty of the model's own seasons has.

`one_date_c2st`: pixels simulated from the pixel law are given to the model of seasons as seasons of one date,
and to the model of single dates; how well a classifier tells the two posteriors of all variables apart, as
the pixel reference tells a model from its chains (.5: not at all; limit .55), in the mean and at the worst
pixel. `itself` is the same between two sets of draws of the model of single dates, `lai` of leaf area alone.
Under `season_gp` the law of a single date is that of the pixels, and all that is left is the training; under
`season_curves` it is that of a day in a season, so that the posteriors differ by their priors too.
With `--summaries` the models of seasons learn summaries of their draws too, and say whether these pass their
check. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from canopyflow.demo.seasons import season_pixels
from canopyflow.evaluation.against.reference import C2ST_PIXELS, PROPOSALS
from canopyflow.evaluation.scores.metrics import crps_from_samples, rmse
from canopyflow.evaluation.scores.two_sample import c2st
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative._season import Season
from canopyflow.models.missing import hide_dates
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import SeasonSurvey, Survey, draw, draw_seasons, simulate
from canopyflow.models.simulate_seasons import simulate_seasons
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Observation, Sample, View, each_date
from canopyflow.training.loop import plan, train
from canopyflow.vocabulary import BANDS, MUON, PLATFORMS, STATISTICS

Array = NDArray[Any]

PRIORS = ("season_curves", "season_gp")
LAI = 6
"""Place of leaf area among the variables of PROSAIL."""
ALARMS = 0.05
SUMMARIES = {
    "steps": None,
    "learning_rate": 2e-3,
    "draws": 4,
    "mixed": 0.0,
    "foreign": 0.1,
    "optimizer": MUON,
}
MORE = 100
"""Seasons of which further dates are asked about."""
HELD_BACK = 999
"""Seed, and what is added to one, of what no training draws: its seeds are small."""
ALONE = 4
"""Dates of each season that training looks at by themselves too."""


def trained(out: Path, dynamics: str | None, asked: argparse.Namespace) -> Amortised:
    """The model of single dates, or that of seasons under these ``dynamics``; trained if it is not there."""
    bundle = out / (dynamics or "single")
    if not bundle.is_dir():
        begun = time.perf_counter()
        data = "simulations" if dynamics is None else "seasons_drawn"
        stores = {split: out / f"{bundle.name}-{split}.zarr" for split in ("train", "validation")}
        for number, (split, store) in enumerate(stores.items()):
            share = 1.0 if split == "train" else 0.1
            made = {"bands": BANDS, "platforms": PLATFORMS, "seed": asked.training_seed * 2 + number}
            if store.is_dir():
                continue
            if dynamics is None:
                simulate(store, Survey(), n=int(asked.pixels * share), **made)
            else:
                simulate_seasons(
                    store,
                    SeasonSurvey(),
                    n=int(asked.seasons * share),
                    generative={"name": "prosail"},
                    dynamics={"name": dynamics},
                    **made,
                )
        learned = dynamics is not None and asked.summaries > 0
        options = ModelOptions(
            "nsf",
            BANDS,
            PLATFORMS,
            encoder="pixel" if dynamics is None else "season",
            dynamics=dynamics,
            summaries={} if learned else None,
        )
        epochs, rate, size = (asked.pixel_epochs, 2e-3, 512) if dynamics is None else (asked.epochs, 2e-3, 64)
        phase: dict[str, Any] = {"objective": "npe", "epochs": epochs, "learning_rate": rate, "data": data}
        if dynamics is not None:
            phase |= {"options": {"alone": ALONE}, "optimizer": MUON}
        head = SUMMARIES | {"data": data, "epochs": asked.summaries} if learned else None
        told = plan([phase], head, batch_size=size, seed=asked.training_seed)
        threads = torch.get_num_threads()
        train(bundle, options, told, {data: stores}, checkpoint=out / f"{bundle.name}-run", threads=threads)
        print(f"{bundle.name}: trained in {time.perf_counter() - begun:.0f} s", flush=True)
        if learned:
            print(json.dumps(load(bundle).meta["summaries"]), flush=True)
    return cast(Amortised, load(bundle))


def demo_seasons(asked: argparse.Namespace) -> tuple[Observation, Array]:
    """What the satellites see of the landscape's pixels, and their leaf area (n, date)."""
    found = season_pixels(asked.seed, asked.count, passes=asked.passes)
    seen = Observation(
        reflectance=torch.from_numpy(np.where(found.valid, found.reflectance, 0.0).astype(np.float32)),
        valid=torch.from_numpy(found.valid),
        geometry=torch.from_numpy(found.geometry),
        platform=torch.from_numpy(found.platform),
        bands=BANDS,
        view=View.SEASON,
        day=torch.from_numpy(found.day),
    )
    return seen, found.truth["lai"].astype(np.float64)


def drawn(model: Amortised, seen: Observation, count: int, seed: int) -> Array:
    """Draws of leaf area (n, date, count)."""
    g, parts = generator("season gain", seed), []
    with torch.no_grad():
        for part in seen.split(256):
            parts.append(model.posterior(part).draw(count, g).z[..., LAI].movedim(0, -1))
    return torch.cat(parts).numpy().astype(np.float64)


def alone(model: Amortised, seen: Observation, count: int, seed: int) -> Array:
    """Draws of leaf area (n, date, count) of each date by itself; NaN where nothing was seen."""
    n, dates = seen.valid.shape[:2]
    flat = each_date(Sample(seen, None, torch.zeros(n, dtype=torch.bool))).seen
    clear = flat.valid.all(-1)
    out = np.full((n * dates, count), np.nan)
    out[clear.numpy()] = drawn(model, flat.rows(clear), count, seed)
    return out.reshape(n, dates, count)


def interpolated(single: Array, day: Array) -> Array:
    """Draws ``single`` (n, date, count), sorted, with each gap filled linearly in time; beyond the first and
    the last clear date the nearest one stands.

    The i-th smallest draws of two dates are joined: independent ones would half-way be as narrow as a mean.
    """
    out = np.sort(single, axis=-1)
    for season, days in zip(out, day, strict=True):
        clear = np.isfinite(season[:, 0])
        if clear.any():
            for draw in season.T:
                draw[~clear] = np.interp(days[~clear], days[clear], draw[clear])
    return out


def covered(truth: Array, draws: Array) -> float:
    """Share of ``truth`` (m,) within the 90 % intervals of ``draws`` (m, count)."""
    stats = statistics_of_draws(draws[:, None].astype(np.float32))[:, 0]
    lower, upper = (stats[:, STATISTICS.index(name)] for name in ("q05", "q95"))
    return float(((truth >= lower) & (truth <= upper)).mean())


def compared(
    model: Amortised, single: Amortised, seen: Observation, truth: Array, asked: argparse.Namespace
) -> dict[str, float]:
    """Ratios and coverages of leaf area on seasons ``seen``."""
    known = seen.valid.any(-1)
    seen, truth = seen.rows(known.any(-1)), truth[known.any(-1).numpy()]
    clear = seen.valid.any(-1).numpy()
    assert seen.day is not None
    season = drawn(model, seen, asked.draws, 1)
    date = alone(single, seen, asked.draws, 2)
    filled = interpolated(date, seen.day.numpy())
    told = {
        "clear_rmse": rmse(truth[clear], season[clear].mean(-1)) / rmse(truth[clear], date[clear].mean(-1)),
        "clear_crps": crps(truth[clear], season[clear]) / crps(truth[clear], date[clear]),
        "clear_covers": covered(truth[clear], season[clear]),
        "single_covers": covered(truth[clear], date[clear]),
        "single_rmse": rmse(truth[clear], date[clear].mean(-1)),
    }
    if not clear.all():
        mean = np.abs(truth - filled.mean(-1))[~clear].mean()
        mine = crps(truth[~clear], season[~clear])
        told |= {
            "clouded_crps": mine / crps(truth[~clear], filled[~clear]),
            "clouded_crps_mean": mine / mean,
            "clouded_covers": covered(truth[~clear], season[~clear]),
        }
    return {name: round(float(value), 4) for name, value in told.items()}


def asked_more(
    model: Amortised, seen: Observation, truth: Array, asked: argparse.Namespace
) -> dict[str, float]:
    """The same with one date in five days of the year asked about too, as products do: CRPS as a ratio to
    that without, and coverage."""
    seen, truth = seen.rows(slice(0, MORE)), truth[:MORE]
    assert seen.day is not None
    n, dates = seen.day.shape
    fixed = torch.arange(2, 365, 5).to(seen.day).expand(n, -1)

    def grown(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor.new_zeros(n, fixed.shape[1], *tensor.shape[2:])], dim=1)

    more = replace(seen.each(grown), day=torch.cat([seen.day, fixed], dim=1))
    few, many = drawn(model, seen, asked.draws, 1), drawn(model, more, asked.draws, 1)[:, :dates]
    told = {}
    for name, which in (("clear", seen.valid.any(-1).numpy()), ("clouded", ~seen.valid.any(-1).numpy())):
        told[f"{name}_crps"] = crps(truth[which], many[which]) / crps(truth[which], few[which])
        told[f"{name}_covers"] = covered(truth[which], many[which])
    return {name: round(float(value), 4) for name, value in told.items()}


def crps(truth: Array, draws: Array) -> float:
    return crps_from_samples(truth, np.moveaxis(draws, -1, 0))


def of_prior(model: Amortised, asked: argparse.Namespace) -> tuple[Observation, Array]:
    """Held-back seasons of the model's own prior, of which from a twentieth to all dates are clear."""
    assert isinstance(model.generative, Season)
    sample = draw_seasons(model.generative, SeasonSurvey(dates=asked.passes), asked.count, HELD_BACK)
    assert sample.truth is not None
    seen = model.generative.observe(sample, generator("held back seasons", 0))
    seen = hide_dates(seen, 0.0, 0.05, generator("clouds", 0))
    return seen, sample.truth[..., LAI].numpy().astype(np.float64)


def fits(model: Amortised, seen: Observation) -> Array:
    g = generator("fits", 0)
    with torch.no_grad():
        parts = [
            model.fit(model.posterior(part).draw(16, g).z, part)
            for part in seen.rows(seen.valid.any((1, 2))).split(256)
        ]
    return torch.cat(parts).numpy()


def one_date(model: Amortised, single: Amortised, seed: int) -> dict[str, float]:
    """C2ST between the model of seasons and that of single dates on seasons of one date, of any day."""
    clean = draw(single.generative, Survey(), C2ST_PIXELS, HELD_BACK + seed)
    seen = single.generative.observe(clean, generator("one date", seed))
    first, last = SeasonSurvey().window
    day = first + (last - first) * torch.rand(len(seen), generator=generator("one date, day", seed))
    season = replace(seen, view=View.SEASON, day=day).each(lambda tensor: tensor.unsqueeze(1))
    with torch.no_grad():
        alone, again = (
            single.posterior(seen).draw(PROPOSALS, generator("one date", i)).z.movedim(0, 1) for i in (1, 2)
        )
        of_season = model.posterior(season).draw(PROPOSALS, generator("one date", 3)).z
    together = of_season.squeeze(2).movedim(0, 1)
    apart, noise = c2st(alone, together), c2st(alone, again)
    leaf_area = c2st(alone[..., LAI : LAI + 1], together[..., LAI : LAI + 1])
    told = {"mean": apart.mean(), "largest": apart.max(), "itself": noise.mean(), "lai": leaf_area.mean()}
    return {name: round(float(value), 4) for name, value in told.items()} | {"pixels": float(len(seen))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True, help="landscape of the demo")
    parser.add_argument("--out", type=Path, required=True, help="folder of the models, kept")
    parser.add_argument("--dynamics", nargs="+", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--count", type=int, default=400, help="pixels that are looked at")
    parser.add_argument("--passes", type=int, default=24)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seasons", type=int, default=30000, help="drawn seasons of the training")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pixels", type=int, default=100000, help="simulations of the single-date training")
    parser.add_argument("--pixel-epochs", type=int, default=20)
    parser.add_argument("--summaries", type=int, default=3, help="epochs of learned summaries of seasons")
    parser.add_argument("--training-seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    single = trained(asked.out, None, asked)
    models = {name: trained(asked.out, name, asked) for name in asked.dynamics}
    seen, truth = demo_seasons(asked)
    print(f"landscape {asked.seed}: {len(seen)} pixels, {float(seen.valid.any(-1).float().mean()):.2f} clear")
    told: dict[str, Mapping[str, float]] = {}
    own = {name: of_prior(model, asked) for name, model in models.items()}
    for name, model in models.items():
        told[name] = compared(model, single, seen, truth, asked)
        limit = np.quantile(fits(model, own[name][0]), 1.0 - ALARMS)
        unlikely = {"demo": float((fits(model, seen) > limit).mean())}
        for other, (theirs, leaf_area) in own.items():
            told[f"{name} on {other}"] = compared(model, single, theirs, leaf_area, asked)
            unlikely[other] = float((fits(model, theirs) > limit).mean())
        told[f"{name} asked about more dates"] = asked_more(model, *own[name], asked)
        told[f"{name} unlikely"] = {k: round(v, 4) for k, v in unlikely.items()}
    same = {name: one_date(model, single, asked.seed) for name, model in models.items()}
    shown = {**told, **{f"{name} of one date": figures for name, figures in same.items()}}
    for name, figures in shown.items():
        print(f"{name:32s}", "  ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
    print(json.dumps({"landscape": asked.seed, **told, "one_date_c2st": same}))


if __name__ == "__main__":
    main()
