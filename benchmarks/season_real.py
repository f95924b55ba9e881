"""Hidden dates of real series: how well a longitudinal autoencoder predicts their reflectance.

    OMP_NUM_THREADS=1 python benchmarks/season_real.py --series ../shared/real/rondonia_series/series.nc

854 Sentinel-2 seasons of Rondônia, 25 dates, 11 bands. The model is trained on the seasons of some blocks of
0.1 degrees and tested on those of the others (neighbours are alike); in test seasons dates are hidden at
random. Beside it, linear interpolation between the dates that are left (the nearest one at the ends): as a
number, whose CRPS is its absolute error, and with normal errors whose standard deviation, for each band and
length of the gap, is that of the training seasons. No label is used. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from canopyflow.evaluation.scores.metrics import crps_from_samples
from canopyflow.models.longitudinal.model import Longitudinal, LongitudinalOptions
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Observation, View
from canopyflow.seeds import seed_of
from canopyflow.training.longitudinal import SeasonTraining, train_longitudinal

Array = NDArray[np.float64]

START = np.datetime64("2018-01-01")
ORIGIN = 170.0
"""Days from 1 January 2018; the first date is day 192."""
DRAWS = 39
"""One less than a multiple of 20: 5 % and 95 % are then ranks of draws, and intervals unbiased."""


def main() -> None:
    arguments = parsed()
    series = xr.open_dataset(arguments.series)
    seen = seasons(series)
    test_rows = held_out(series, arguments.seed)
    train, test = seen.rows(torch.from_numpy(~test_rows)), seen.rows(torch.from_numpy(test_rows))
    options = LongitudinalOptions(
        seen.bands,
        law=arguments.law,
        prior=arguments.prior,
        posterior=arguments.posterior,
        dim=arguments.dim,
        innovations=not arguments.still,
        origin=ORIGIN,
    )
    torch.manual_seed(seed_of("season_real", arguments.seed))
    model = Longitudinal(options)
    how = SeasonTraining(
        steps=arguments.steps,
        batch=arguments.batch,
        dates=arguments.dates,
        draws=arguments.draws,
        foresight=arguments.foresight,
        rate=arguments.rate,
    )
    began = time.process_time()
    train_longitudinal(model, train, how, seed=arguments.seed, checkpoint=arguments.checkpoint)
    minutes = (time.process_time() - began) / 60
    print(f"{len(train)} seasons to learn from, {len(test)} to test; trained in {minutes:.1f} CPU minutes")
    told: dict[str, Any] = {"law": arguments.law, "prior": arguments.prior, "minutes": round(minutes, 1)}
    print(f"{'hidden':>7} {'CRPS':>8} {'linear':>8} {'ratio':>6} {'normal':>8} {'covers':>7} {'normal':>7}")
    for share in arguments.hidden:
        row = scores(model, train, test, share, arguments.seed)
        told[f"{share:g}"] = row
        print(
            f"{share:7.0%} {row['crps']:8.5f} {row['linear']:8.5f} {row['ratio']:6.3f} "
            f"{row['linear_normal']:8.5f} {row['coverage']:7.3f} {row['coverage_linear_normal']:7.3f}"
        )
    print(json.dumps(told))


def scores(
    model: Longitudinal, train: Observation, test: Observation, share: float, seed: int
) -> dict[str, float]:
    """Scores of hidden reflectance where ``share`` of each test season's dates is hidden."""
    valid = left(test, share, seed)
    known = Observation(**{**vars_of(test), "valid": torch.from_numpy(valid)[..., None] & test.valid})
    g = generator("season_real", "draws", seed)
    drawn = torch.cat([model.predict(rows, DRAWS, g) for rows in known.split(64)], dim=1).numpy()
    x, day = test.reflectance.numpy().astype(float), test.day.numpy()[0]
    guess, gap = interpolated(x, day, valid)
    spread = spreads(train, share, seed)
    noise = np.random.default_rng(seed).standard_normal((DRAWS, *x.shape))
    normal = guess + noise * spread[np.minimum(gap, len(spread) - 1)]
    hidden = ~valid
    pick = {"model": drawn[:, hidden], "normal": normal[:, hidden]}
    truth, line = x[hidden], guess[hidden]
    crps = {name: crps_from_samples(truth.ravel(), each.reshape(DRAWS, -1)) for name, each in pick.items()}
    coverage = {}
    for name, each in pick.items():
        low, high = np.quantile(each, [0.05, 0.95], axis=0, method="weibull")
        coverage[name] = float(((truth >= low) & (truth <= high)).mean())
    linear = float(np.abs(truth - line).mean())
    row = {
        "crps": crps["model"],
        "linear": linear,
        "ratio": crps["model"] / linear,
        "linear_normal": crps["normal"],
        "coverage": coverage["model"],
        "coverage_linear_normal": coverage["normal"],
        "rmse_ratio": float(
            np.sqrt(((pick["model"].mean(0) - truth) ** 2).mean() / ((line - truth) ** 2).mean())
        ),
    }
    return {name: round(value, 5) for name, value in row.items()}


def seasons(series: xr.Dataset) -> Observation:
    """All series as seasons. The angles are not given: one view stands for all."""
    x = torch.from_numpy(series.reflectance.values.astype(np.float32))
    day = (series.date.values - START) / np.timedelta64(1, "D")
    n, dates = x.shape[:2]
    return Observation(
        reflectance=x,
        valid=torch.isfinite(x),
        geometry=torch.tensor([35.0, 5.0, 90.0]).expand(n, dates, 3).clone(),
        platform=torch.zeros((n, dates), dtype=torch.long),
        bands=tuple(str(band) for band in series.band.values),
        view=View.SEASON,
        day=torch.from_numpy(day.astype(np.float32)).expand(n, dates).clone(),
    )


def held_out(series: xr.Dataset, seed: int) -> NDArray[np.bool_]:
    """Which series are of the 30 % of the blocks of 0.1 degrees that are tested."""
    corner = np.floor(np.stack([series.longitude.values, series.latitude.values], -1) * 10).astype(int)
    blocks, of = np.unique(corner, axis=0, return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(len(blocks)) < 0.3 * len(blocks)
    held: NDArray[np.bool_] = chosen[of.ravel()]
    return held


def left(seen: Observation, share: float, seed: int) -> NDArray[np.bool_]:
    """Which dates (n, T) are left where ``share`` of each season's is hidden."""
    assert seen.day is not None
    n, dates = seen.day.shape
    rank = np.random.default_rng((seed, round(100 * share))).random((n, dates)).argsort(-1)
    return rank >= round(share * dates)


def interpolated(x: Array, day: Array, valid: NDArray[np.bool_]) -> tuple[Array, NDArray[np.int64]]:
    """Linear interpolation (n, T, band) from the ``valid`` dates, and how many dates away the nearest is."""
    out = np.empty_like(x)
    for row, kept in enumerate(valid):
        for band in range(x.shape[-1]):
            out[row, :, band] = np.interp(day, day[kept], x[row, kept, band])
    place = np.arange(len(day))
    away = np.abs(place[:, None] - place)
    gap = np.where(valid[:, None, :], away, len(day)).min(-1)
    return out, gap


def spreads(train: Observation, share: float, seed: int) -> Array:
    """Standard deviation (gap, band) of interpolation's error on training seasons."""
    assert train.day is not None
    x, valid = train.reflectance.numpy().astype(float), left(train, share, seed + 1)
    guess, gap = interpolated(x, train.day.numpy()[0], valid)
    error = (guess - x) ** 2
    return np.stack([np.sqrt(error[gap == k].mean(0)) for k in range(1 + usable(gap))])


def usable(gap: NDArray[np.int64]) -> int:
    """The largest gap of which, as of all smaller ones, there are a hundred."""
    counts = np.bincount(gap.ravel())
    return int(np.argmax(np.append(counts[1:] < 100, True)))


def vars_of(seen: Observation) -> dict[str, Any]:
    return {name: getattr(seen, name) for name in seen.__dataclass_fields__}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--law", default="flow")
    parser.add_argument("--prior", default="normal")
    parser.add_argument("--posterior", default="iaf")
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--still", action="store_true", help="no innovations")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--dates", type=int, default=12)
    parser.add_argument("--checkpoint", type=Path, help="folder from which an interrupted training goes on")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--foresight", type=float, default=1.0)
    parser.add_argument("--hidden", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.7])
    return parser.parse_args()


if __name__ == "__main__":
    main()
