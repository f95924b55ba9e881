"""Winter days over Iberia from sea-level pressure alone: precipitation and temperature of held-out winters.

    OMP_NUM_THREADS=1 python benchmarks/weather_iberia.py --real ../shared/real/iberia_winters
    ... --held-out 1990,1994,1998 --field temperature

A winter is named by the year of its January; the last three whole ones are held out unless told otherwise.
The model is held against ridge on pressure with Gaussian residuals of full covariance (as they are, and cut
off at zero), and ridge on products of pressure's components. The penalties of these are the best on the
held-out winters, which flatters them; the model's options are fixed. Scores: R² of the square root of
precipitation (or of temperature) per cell over the held-out days, averaged; energy score over all cells; the
share of values within 90 % intervals. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import netcdf_file
from torch import Tensor

from canopyflow.evaluation.scores.joint import energy_score
from canopyflow.models.runtime import generator
from canopyflow.models.weather.autoencoder import WeatherOptions
from canopyflow.models.weather.forecast import GAUSSIAN, SIMILAR, draw_maps
from canopyflow.training.weather import Days, WeatherTraining, fit_weather

FIELDS = {"precipitation": "pr", "temperature": "tas"}
PENALTIES = (1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
COMPONENTS = 6
DRAWS = 99
"""One less than a multiple of 20: 5 % and 95 % are then ranks of draws, and intervals unbiased."""
WHOLE = 80
"""Days that a winter must have to be one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Winters:
    """Pressure ``x`` (days, cells), field ``y`` (days, values), and the ``winter`` (days,) of each."""

    x: Floats
    y: Floats
    winter: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Winters:
        return Winters(self.x[chosen], self.y[chosen], self.winter[chosen])


def read(folder: Path, field: str) -> Winters:
    """Days of whole winters; cells of the field that are never missing."""
    pressure, time = _variable(folder / "pressure.nc", "psl")
    y, _ = _variable(folder / f"{field}.nc", FIELDS[field])
    day = np.datetime64("1982-12-01") + np.floor(time).astype(int)
    month = day.astype("datetime64[M]").astype(int)
    winter = 1970 + month // 12 + (month % 12 == 11)
    y = y.reshape(len(y), -1)
    y = y[:, np.isfinite(y).all(0)]
    if field == "precipitation":
        y = np.sqrt(y)
    names, counts = np.unique(winter, return_counts=True)
    whole = np.isin(winter, names[counts >= WHOLE])
    return Winters(pressure.reshape(len(pressure), -1), y, winter).part(whole)


def _variable(path: Path, name: str) -> tuple[Floats, Floats]:
    with netcdf_file(str(path), mmap=False) as file:
        return tuple(np.array(file.variables[each].data, float) for each in (name, "time"))  # type: ignore[return-value]


def ridge(x: Floats, y: Floats, penalty: float) -> Callable[[Floats], Floats]:
    """Ridge of ``y`` (days, values) on standardised ``x`` (days, f), as a map of new x."""
    centre, scale, mean = x.mean(0), x.std(0) + 1e-9, y.mean(0)
    a = (x - centre) / scale
    weight = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ (y - mean))
    return lambda new: mean + (new - centre) / scale @ weight


def r2(y: Floats, found: Floats) -> float:
    """Mean over values of the share of their variance over days that is explained."""
    left, whole = ((y - found) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    return float(np.mean(1.0 - left / whole))


def with_products(known: Floats, new: Floats) -> tuple[Floats, Floats]:
    """Standardised drivers with all products of their first components, of known and new days."""
    centre, scale = known.mean(0), known.std(0)
    a, b = (known - centre) / scale, (new - centre) / scale
    _, spread, directions = np.linalg.svd(a, full_matrices=False)
    turn = directions[:COMPONENTS].T / (spread[:COMPONENTS] / len(a) ** 0.5)

    def both(z: Floats) -> Floats:
        p = z @ turn
        pairs = [p[:, i] * p[:, j] for i, j in combinations_with_replacement(range(COMPONENTS), 2)]
        return np.concatenate([z, np.stack(pairs, 1)], 1)

    return both(a), both(b)


def tensor(values: Floats) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def rivals(known: Winters, new: Winters) -> dict[str, float]:
    """Scores of ridge and of ridge on products."""
    score, penalty = max((r2(new.y, ridge(known.x, known.y, p)(new.x)), p) for p in PENALTIES)
    fitted = ridge(known.x, known.y, penalty)
    left = known.y - fitted(known.x)
    covariance = left.T @ left / (len(left) - known.x.shape[1] - 1)
    factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))
    noise = torch.randn((DRAWS, *new.y.shape), generator=generator("iberia", "ridge"))
    draws = tensor(fitted(new.x)) + noise @ tensor(factor).mT
    a, b = with_products(known.x, new.x)
    return {
        "ridge_r2": score,
        "ridge_energy_score": energy_score(draws, tensor(new.y)),
        "ridge_cut_at_0_r2": r2(new.y, np.maximum(fitted(new.x), 0.0)),
        "ridge_cut_at_0_energy_score": energy_score(draws.clamp(min=0.0), tensor(new.y)),
        "products_r2": max(r2(new.y, ridge(a, known.y, p)(b)) for p in PENALTIES),
    }


def judged(
    known: Winters, new: Winters, options: WeatherOptions, training: WeatherTraining
) -> dict[str, float]:
    """Scores of the model."""
    days = Days(tensor(known.x)[:, None], tensor(known.y), torch.tensor(known.winter))
    model, _ = fit_weather(days, options, training)
    x, y = tensor(new.x)[:, None], tensor(new.y)
    figures = {"decoder_of_h_r2": r2(new.y, model.downscale(x).double().numpy())}
    for errors in (SIMILAR, GAUSSIAN):
        draws = draw_maps(model, x, DRAWS, generator("iberia", errors), errors)
        low, high = np.quantile(draws.numpy(), [0.05, 0.95], axis=0, method="weibull")
        figures |= {
            f"mean_of_draws_r2_{errors}": r2(new.y, draws.mean(0).double().numpy()),
            f"energy_score_{errors}": energy_score(draws, y),
            f"coverage_90_{errors}": float(((new.y >= low) & (new.y <= high)).mean()),
        }
    return figures


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--real", type=Path, default=Path("../shared/real/iberia_winters"))
    ask.add_argument("--field", choices=sorted(FIELDS), default="precipitation")
    ask.add_argument("--held-out", help="winters by the year of January: 1990,1994; the last three")
    ask.add_argument("--law", default="gaussian")
    ask.add_argument("--alpha", type=float, default=1.0)
    ask.add_argument("--beta", type=float, default=1.0)
    ask.add_argument("--dim", type=int, default=30)
    ask.add_argument("--hidden", type=int, default=0, help="width of a hidden layer of encoder and decoder")
    ask.add_argument("--steps", type=int, default=600)
    ask.add_argument("--seed", type=int, default=0)
    a = ask.parse_args()
    torch.set_num_threads(1)
    winters = read(a.real, a.field)
    names = sorted(set(winters.winter.tolist()))
    held_out = [int(name) for name in a.held_out.split(",")] if a.held_out else names[-3:]
    if not set(held_out) < set(names):
        ask.error(f"whole winters are {names}")
    out = np.isin(winters.winter, held_out)
    known, new = winters.part(~out), winters.part(out)
    hidden = (a.hidden,) if a.hidden else ()
    options = WeatherOptions(
        tuple(f"pressure_{i}" for i in range(known.x.shape[1])),
        known.y.shape[1],
        dim=a.dim,
        law=a.law,
        encoder=hidden,
        decoder=hidden,
        dropout=0.5 if hidden else 0.0,
        lowest=0.0 if a.field == "precipitation" else None,
    )
    training = WeatherTraining(a.alpha, a.beta, ridge=None, steps=a.steps, seed=a.seed)
    figures = {**rivals(known, new), **judged(known, new, options, training)}
    for name, value in figures.items():
        print(f"{name:32}{value:9.4f}")
    print(json.dumps({"held_out": held_out, **{name: round(v, 4) for name, v in figures.items()}}))


if __name__ == "__main__":
    main()
