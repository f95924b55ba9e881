"""Seasons at the speed of their dates: learned summaries of whole seasons beside those of single dates.

    OMP_NUM_THREADS=1 python benchmarks/season_speed.py [--count 20000] [--season BUNDLE] [--single BUNDLE]

A million pixel-seasons of 24 clear dates are summarised without draws: all statistics of the default outputs
at each of the dates, and of the timing and sum of the season. Beside them, batch by batch and in turn, on the
same processor threads, a model of single dates summarises the same spectra in 24 passes. Both ways are told
as a product takes them (`summarise_seasons` and `summarise`, with fit and flags), and of the networks alone.
`seasons_mapped` are the same seasons, told at the dates that a campaign maps: one in five days of a year,
which the network reads beside the passes.
Without bundles the networks have the size of a campaign's and random weights: what they say means nothing,
and takes the same time. Of bundles those seasons are taken whose summaries are trusted; the others would be
drawn. Seconds are of the median batch, for a million seasons; a fiftieth of them (--count 20000) is a try.
Fails if the product of seasons takes more than four times as long. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.config.seasons import LearnedSeasonSummaries, Seasons
from canopyflow.config.training import LearnedSummaries
from canopyflow.inference import season_summaries, summaries
from canopyflow.inference.season_summaries import Calendar, summarise_seasons
from canopyflow.inference.seasons import Window
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.models import load
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative._season import Season
from canopyflow.models.phenology import NAMES
from canopyflow.models.runtime import generator
from canopyflow.models.season_summaries import SeasonSummaries
from canopyflow.models.simulate import SeasonSurvey, draw_seasons
from canopyflow.observations.observation import Observation, Sample, View, each_date
from canopyflow.vocabulary import BANDS, OUTPUTS, PLATFORMS, STATISTICS

LIMIT = 4.0
SIMULATED = 2048
"""Seasons that are simulated; a batch holds them again and again."""


def untrained(encoder: str, dynamics: str | None) -> Amortised:
    """A model with random weights, of the size that a campaign's has, whose summaries count as checked."""
    size = (
        LearnedSummaries().model_dump(include={"width", "layers"})
        if dynamics is None
        else LearnedSeasonSummaries().model_dump(include={"width", "layers", "state"})
    )
    torch.manual_seed(0)
    model = Amortised(
        ModelOptions(
            "nsf",
            BANDS,
            PLATFORMS,
            encoder=encoder,
            dynamics=dynamics,
            summaries=size,
        )
    )
    model.meta |= {"summaries": {"passed": True, "fit_trusted": 1e9}}
    return model.requires_grad_(False).eval()


def loaded(bundle: Path | None, encoder: str, dynamics: str | None) -> Amortised:
    if bundle is None:
        return untrained(encoder, dynamics)
    model = cast(Amortised, load(bundle))
    if not model.learns or (model.encoder.view is View.SEASON) != (dynamics is not None):
        raise SystemExit(f"{bundle} is no model of {encoder}s with learned summaries that passed their check")
    return model


def mapped(seen: Observation) -> tuple[Observation, NDArray[np.intp]]:
    """Seasons ``seen``, all of the same dates, with those that a campaign maps among them, unseen, in order
    of day; and where these stand."""
    assert seen.day is not None
    window = Window.from_text("2021-01-01", "2021-12-31", Seasons().every_days)
    passes = seen.day[0].round().to(torch.long).numpy()
    order = np.argsort(passes, kind="stable")
    calendar = Calendar.of(passes[order], window.days)
    places, count = torch.from_numpy(calendar.place_of_pass), len(calendar.every)

    def wider(tensor: Tensor) -> Tensor:
        wide = tensor.new_zeros(len(tensor), count, *tensor.shape[2:])
        return wide.index_copy(1, places, tensor[:, torch.from_numpy(order)])

    day = torch.from_numpy(calendar.every).to(seen.day.dtype).expand(len(seen), count)
    return replace(seen.each(wider), day=day), calendar.place_of_fixed


def surely(season: Amortised, seen: Observation) -> Tensor:
    """Which seasons are trusted, and by more than the rounding of another batch can change, (n,)."""
    found = season.learned(seen, ("lai",), ("mean",))
    limit = season.meta["summaries"]["fit_trusted"]
    return found.trusted & (season.comparable(found.fit, seen) < 0.98 * limit)


def batches(season: Amortised, single: Amortised, o: argparse.Namespace) -> tuple[Observation, list[Any]]:
    """A batch of seasons (n, date), all dates clear and in order, and its dates, each as pixels (n)."""
    assert isinstance(season.generative, Season)
    survey = SeasonSurvey(dates=o.dates)
    sample = draw_seasons(season.generative, survey, min(SIMULATED, o.batch), 0)
    seen = season.generative.observe(sample, generator("season speed", 0))
    # A product asks all of its pixels about the same days.
    seen = seen.each(lambda tensor: tensor.contiguous())
    assert seen.day is not None
    seen.day.copy_(seen.day[:1].expand_as(seen.day))
    with torch.no_grad():
        trusted = surely(season, seen)
        trusted &= torch.cat([surely(season, part) for part in mapped(seen)[0].split(256)])
        trusted &= season.learned_seasons(seen, NAMES, ("mean",)).trusted
        nothing = torch.zeros(len(seen), dtype=torch.bool)
        flat = each_date(Sample(seen, None, nothing)).seen
        trusted &= single.learned(flat, ("lai",), ("mean",)).trusted.view(len(seen), -1).all(-1)
    good = trusted.nonzero()[:, 0]
    if not len(good):
        raise SystemExit("no season is trusted")
    print(f"{len(good) / len(seen):.3f} of the seasons are trusted with all their dates", flush=True)
    many = seen.rows(good[torch.arange(o.batch) % len(good)])
    dates = [
        Observation(
            reflectance=many.reflectance[:, date].contiguous(),
            valid=many.valid[:, date].contiguous(),
            geometry=many.geometry[:, date].contiguous(),
            platform=many.platform[:, date].contiguous(),
            bands=many.bands,
        )
        for date in range(o.dates)
    ]
    return many, dates


def ways(season: Amortised, single: Amortised, seen: Observation, dates: list[Any]) -> dict[str, Any]:
    """What is timed, each on one batch."""
    wanted, fixed = Wanted(OUTPUTS, STATISTICS), np.arange(len(dates))
    wide, told = mapped(seen)

    def product_of_seasons() -> None:
        assert not summarise_seasons(season, seen, fixed, wanted).drawn, "all are trusted"

    def product_of_mapped_dates() -> None:
        assert not summarise_seasons(season, wide, told, wanted).drawn, "all are trusted"

    def products_of_dates() -> None:
        for date in dates:
            assert not summarise(single, date, wanted).drawn, "all are trusted"

    @torch.no_grad()
    def network_of_seasons() -> None:
        for part in seen.split(season_summaries._LEARNED_DATES // len(dates)):
            season.learned(part, OUTPUTS, STATISTICS)
            season.learned_seasons(part, NAMES, STATISTICS)

    @torch.no_grad()
    def network_of_dates() -> None:
        for date in dates:
            for part in date.split(summaries._LEARNED_PIXELS):
                single.learned(part, OUTPUTS, STATISTICS)

    return {
        "seasons": product_of_seasons,
        "seasons_mapped": product_of_mapped_dates,
        "dates": products_of_dates,
        "seasons_network": network_of_seasons,
        "dates_network": network_of_dates,
    }


def seconds_of(timed: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each of ``rounds`` batches, the ways in turn; one before them is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, way in timed.items():
            begun = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def sizes(model: Amortised) -> dict[str, Any]:
    head = model.head
    assert head is not None
    told = {"width": head.last.in_features, "weights": sum(p.numel() for p in head.parameters())}
    return told | ({"state": head.forth.hidden_size} if isinstance(head, SeasonSummaries) else {})


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="pixel-seasons")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--batch", type=int, default=10_000, help="seasons at a time, as a product has them")
    parser.add_argument("--season", type=Path, help="bundle of a model of seasons with learned summaries")
    parser.add_argument("--single", type=Path, help="bundle of a model of pixels with learned summaries")
    parser.add_argument("--dynamics", default="season_gp", help="season prior, without a bundle")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    o = options()
    o.batch = min(o.batch, o.count)
    torch.set_num_threads(o.threads)
    season = loaded(o.season, "season", o.dynamics)
    single = loaded(o.single, "pixel", None)
    seen, dates = batches(season, single, o)
    rounds = -(-o.count // o.batch)
    seconds = seconds_of(ways(season, single, seen, dates), rounds)
    million = {name: statistics.median(values) * 1e6 / o.batch for name, values in seconds.items()}
    for name, value in million.items():
        print(f"{name}: {value:.0f} s for a million seasons of {o.dates} dates, {o.threads} threads")
    ratio = million["seasons"] / million["dates"]
    told = {
        "count": rounds * o.batch,
        "dates": o.dates,
        "mapped_dates": len(mapped(seen.rows(slice(1)))[1]),
        "threads": o.threads,
        "trained": {"season": o.season is not None, "single": o.single is not None},
        "sizes": {"season": sizes(season), "single": sizes(single)},
        "seconds_per_million": {name: round(value, 1) for name, value in million.items()},
        "ratio": round(ratio, 3),
        "ratio_mapped": round(million["seasons_mapped"] / million["dates"], 3),
        "ratio_networks": round(million["seasons_network"] / million["dates_network"], 3),
        "limit": LIMIT,
    }
    print(json.dumps(told))
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
