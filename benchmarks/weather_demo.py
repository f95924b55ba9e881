"""Leaf area of demo years that were held out, from weather alone.

    OMP_NUM_THREADS=1 python benchmarks/weather_demo.py --landscape 0 --years 2016..2021 --held-out 2020,2021
    ... --table     # the table of α and β, in which α = 0 must be worse

Maps are the truth at places of a landscape every five days from March to October, clouded or not; weather is
`weather.csv`, from which the drivers of growth are made. The model and all rivals learn from the same years:
climatology by day, ridge on the drivers, ridge on the features of h (which know the season's course too), and
ridge on drivers with all their products. Penalties of rivals are the best on the held-out years, which
flatters them. The model is trained as `canopyflow weather fit` trains it, with α = 3 and β = .1: the best
cell of `--table` on landscape 0 with 2020 and 2021 held out, which flatters the model there. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations_with_replacement, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from canopyflow.demo.seasons import YearlyTruth, yearly_truth
from canopyflow.demo.years import read_years
from canopyflow.evaluation.scores.joint import energy_score
from canopyflow.models.runtime import generator
from canopyflow.models.weather.autoencoder import WeatherOptions
from canopyflow.models.weather.drivers import DailyWeather, GrowthDrivers
from canopyflow.models.weather.forecast import draw_maps
from canopyflow.training.weather import Days, WeatherTraining, fit_weather
from canopyflow.training.weather_tables import GROWTH, OF_GROWTH

DAYS = range(60, 300, 5)
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
DRAWS = 59
"""One less than a multiple of 20: 5 % and 95 % are then ranks of draws, and intervals unbiased."""

Floats = NDArray[np.float64]


class World:
    """Drivers (days, drivers) and maps (days, values) of known and of held-out years."""

    def __init__(self, truth: YearlyTruth, variable: str, held_out: tuple[int, ...]) -> None:
        w = truth.weather
        weather = DailyWeather(w.first, w.temperature, w.radiation, w.rain)
        known = [year for year in truth.years if year not in held_out]
        self.recipe = GrowthDrivers.learn(weather, known)
        maps = dict(zip(truth.years, np.swapaxes(truth.values[variable], 1, 2), strict=True))
        self.x, self.y, self.group = self._days(weather, known, maps, truth.day)
        self.x_new, self.y_new, _ = self._days(weather, held_out, maps, truth.day)
        by_day = np.mean([maps[year] for year in known], 0)
        self.climatology = np.concatenate([by_day] * len(held_out))

    def _days(
        self, weather: DailyWeather, years: object, maps: dict[int, Floats], at: Floats
    ) -> tuple[Floats, Floats, Floats]:
        asked = list(years)  # type: ignore[call-overload]
        days = [date(year, 1, 1) + timedelta(days=int(d)) for year in asked for d in at]
        y = np.concatenate([maps[year] for year in asked]).astype(np.float64)
        return self.recipe.of(weather, days), y, np.repeat(asked, len(at))

    def error(self, found: Floats) -> float:
        """RMSE of maps (days, values) of the held-out years."""
        return float(np.sqrt(np.mean((found - self.y_new) ** 2)))

    def ridge(self, x: Floats, x_new: Floats) -> float:
        """RMSE of ridge on features (days, f), with the best penalty."""
        centre, scale = x.mean(0), x.std(0) + 1e-9
        a, b = (x - centre) / scale, (x_new - centre) / scale
        mean = self.y.mean(0)
        left, spread, right = np.linalg.svd(a, full_matrices=False)
        known = left.T @ (self.y - mean)
        found = (
            mean + (b @ right.T) @ ((spread / (spread**2 + penalty))[:, None] * known)
            for penalty in PENALTIES
        )
        return min(map(self.error, found))


def products(x: Floats, centre: Floats, scale: Floats) -> Floats:
    """Standardised drivers (days, d) and all their products."""
    z = (x - centre) / scale
    pairs = [z[:, i] * z[:, j] for i, j in combinations_with_replacement(range(z.shape[1]), 2)]
    return np.concatenate([z, np.stack(pairs, 1)], 1)


def tensor(values: Floats) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def judged(
    world: World, options: WeatherOptions, training: WeatherTraining
) -> tuple[dict[str, float], Floats]:
    """Figures of a model, and its features of known and new drivers as rivals take them."""
    days = Days(tensor(world.x)[:, None], tensor(world.y), torch.tensor(world.group))
    model, _ = fit_weather(days, options, training)
    x, y = tensor(world.x_new)[:, None], tensor(world.y_new)
    draws = draw_maps(model, x, DRAWS, generator("weather demo"))
    low, high = np.quantile(draws.numpy(), [0.05, 0.95], axis=0, method="weibull")
    figures = {
        "decoder_of_h": world.error(model.downscale(x).double().numpy()),
        "mean_of_draws": world.error(draws.mean(0).double().numpy()),
        "energy_score": energy_score(draws, y),
        "coverage_90": float(((world.y_new >= low) & (world.y_new <= high)).mean()),
    }
    both = tensor(np.concatenate([world.x, world.x_new]))[:, None]
    features: Floats = model.latents.features(model.scaled_weather(both))[:, 0].double().numpy()
    return figures, features


def rivals(world: World, features: Floats) -> dict[str, float]:
    """RMSE of what a model is held against."""
    n = len(world.x)
    centre, scale = world.x.mean(0), world.x.std(0) + 1e-9
    return {
        "climatology": world.error(world.climatology),
        "ridge": world.ridge(world.x, world.x_new),
        "ridge_on_features_of_h": world.ridge(features[:n], features[n:]),
        "ridge_on_products": world.ridge(
            products(world.x, centre, scale), products(world.x_new, centre, scale)
        ),
    }


def table(world: World, options: WeatherOptions) -> Iterator[dict[str, float]]:
    """Rows of the table of α and β."""
    for alpha, beta in product((0.0, 0.3, 1.0, 3.0), (0.1, 1.0, 10.0)):
        figures, _ = judged(world, options, replace(GROWTH, alpha=alpha, beta=beta))
        yield {"alpha": alpha, "beta": beta, **{name: round(value, 4) for name, value in figures.items()}}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--landscape", type=int, default=0)
    ask.add_argument("--years", default="2016..2021")
    ask.add_argument("--held-out", default="2020,2021")
    ask.add_argument("--places", type=int, default=1000)
    ask.add_argument("--variable", default="lai")
    ask.add_argument("--latents", default="kernel")
    ask.add_argument("--law", default="gaussian")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--table", action="store_true", help="α and β too")
    a = ask.parse_args()
    torch.set_num_threads(1)
    held_out = read_years(a.held_out)
    years = sorted({*read_years(a.years), *held_out})
    truth = yearly_truth(a.landscape, a.places, years, DAYS, (a.variable,))
    world = World(truth, a.variable, held_out)
    options = WeatherOptions(
        world.recipe.names,
        a.places,
        dim=12,
        latents=a.latents,
        latents_options=OF_GROWTH.get(a.latents, {}),
        law=a.law,
        encoder=(64,),
        decoder=(128,),
        lowest=0.0,
        alike=True,
    )
    figures, features = judged(world, options, replace(GROWTH, seed=a.seed))
    other = rivals(world, features)
    for name, value in {**other, **figures}.items():
        print(f"{name:24}{value:8.4f}")
    rows = []
    if a.table:
        print("alpha  beta   decoder_of_h  mean_of_draws  coverage_90")
        for row in table(world, options):
            rows.append(row)
            print(
                "{alpha:5g} {beta:5g} {decoder_of_h:13.4f} {mean_of_draws:14.4f} {coverage_90:12.3f}".format(
                    **row
                )
            )
    best = figures["decoder_of_h"]
    ratios = {f"to_{name}": best / other[name] for name in ("climatology", "ridge", "ridge_on_products")}
    told = {**ratios, **other, **figures}
    print(
        json.dumps({"held_out": list(held_out), **{k: round(v, 4) for k, v in told.items()}, "table": rows})
    )


if __name__ == "__main__":
    main()
