"""Maps from weather for tables: a model of values of places by date, and what weather makes of other dates.

Weather is a CSV of one row a day (:func:`canopyflow.models.weather.drivers.read_daily`). Values stand in a
long table, CSV or Parquet: a ``date``, a place, a value, as `canopyflow extract` writes them of parcels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from canopyflow.atomic import atomic_file
from canopyflow.errors import ConfigError, DataError
from canopyflow.models.runtime import generator
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.models.weather import bundle
from canopyflow.models.weather.autoencoder import WeatherOptions
from canopyflow.models.weather.drivers import DailyWeather, GrowthDrivers, read_daily
from canopyflow.models.weather.forecast import draw_maps
from canopyflow.models.weather.tables import PARQUET, missing, read_cells, read_days, read_numbers
from canopyflow.training.weather import Days, WeatherTraining, fit_weather
from canopyflow.vocabulary import STATISTICS

GROWTH = WeatherTraining(alpha=3.0, beta=0.1, ridge=None, steps=600, rate=2e-3)
"""How models of growth are trained. α and β did best of twelve pairs on two held-out years of one landscape
of the demo, the first of the twelve cases that docs/weather.md tells of; no real field had a say."""
OF_GROWTH = {"exponential": {"of": "clock"}}
"""Options of latents for drivers of growth, none of which is a temperature: leaves unfold exponentially in
thermal time."""
LEAST_DAYS = 8
TOLD = ("mean", "std", "q05", "q50", "q95")
"""Statistics of a predicted table."""
LEAST_DRAWS = 19
"""Of so many draws the extremes are the 5 and 95 % quantiles; fewer have no interval of 90 %."""


@dataclass(frozen=True)
class TableColumns:
    """Columns of a long table of values. ``only``: a column and its text in the rows that count."""

    value: str
    place: str = "parcel"
    date: str = "date"
    only: tuple[str, str] | None = None

    @property
    def needed(self) -> list[str]:
        """All columns that a table must have."""
        return [self.value, self.place, self.date, *(self.only[:1] if self.only else ())]


def read_values(path: str | Path, columns: TableColumns) -> pd.DataFrame:
    """Values by date (rows, in order) and place (columns, text, in order of appearance), NaN where there is
    none.

    Several values of a place on a date (a parcel in two tiles) are averaged, rows without a value left out.
    Raises DataError for a missing column, for a row whose place, date or value cannot be read, and where
    there is no value at all.
    """
    path = Path(path)
    cells = read_cells(path, columns.needed, [columns.value])
    if columns.only is not None:
        cells = cells[cells[columns.only[0]] == columns.only[1]]
    cells = cells[~missing(cells[columns.value])]
    if cells.empty:
        raise DataError(f"{path} has no values of {columns.value}", "name another column, or other rows")
    nameless = cells.index[cells[columns.place] == ""]
    if len(nameless):
        raise DataError(f"{path}, row {nameless[0]} has no {columns.place}", "name it, or leave the row out")
    table = pd.DataFrame(
        {
            "date": read_days(cells[columns.date], path, times=True),
            "place": cells[columns.place].to_numpy(),
            "value": read_numbers(cells[columns.value], path, "leave it empty where there is no value"),
        }
    )
    wide = table.pivot_table("value", "date", "place", aggfunc="mean").sort_index()
    return wide[table["place"].unique()]


def fit_table(
    weather: str | Path,
    values: str | Path,
    out: str | Path,
    columns: TableColumns,
    training: WeatherTraining = GROWTH,
    latents: str = "kernel",
    law: str = "gaussian",
    dim: int = 12,
) -> dict[str, float]:
    """Fit a model to a table and write it to the folder ``out``.

    Returns ``days``, ``places``, and ``error_std``: how far new years are missed, in the unit of the value.
    """
    daily, table = read_daily(weather), read_values(values, columns)
    days: list[date] = list(table.index)
    if len(days) < LEAST_DAYS:
        raise DataError(
            f"{values} has {len(days)} dates", f"a model needs {LEAST_DAYS} or more, of several years"
        )
    years = sorted({day.year for day in days})
    recipe = GrowthDrivers.learn(daily, years)
    y = torch.tensor(table.to_numpy(np.float32))
    options = WeatherOptions(
        recipe.names,
        y.shape[1],
        dim=min(dim, *y.shape),
        latents=latents,
        latents_options=OF_GROWTH.get(latents, {}),
        law=law,
        encoder=(64,),
        decoder=(128,),
        alike=True,
        lowest=0.0 if float(np.nanmin(table.to_numpy())) >= 0.0 else None,
    )
    known = Days(_drivers(recipe, daily, days), y, torch.tensor([day.year for day in days]))
    model, history = fit_weather(known, options, training)
    bundle.save(
        bundle.WeatherBundle(model, tuple(map(str, table)), columns.value, recipe, asdict(training)),
        out,
        history,
    )
    away = model.decode(model.day_predicted) - y
    error = float(away[~away.isnan()].square().mean().sqrt())
    return {"days": len(days), "places": len(table.columns), "error_std": error}


def predict_table(
    folder: str | Path,
    weather: str | Path,
    days: Sequence[date],
    out: str | Path,
    draws: int = 200,
    seed: int = 0,
) -> None:
    """Write a long table: ``date``, ``place``, and the value's mean, std and quantiles, from weather alone.

    ``out``: CSV or Parquet. Raises DataError where weather does not reach a day, ConfigError for fewer draws
    than :data:`LEAST_DRAWS`.
    """
    if draws < LEAST_DRAWS:
        raise ConfigError(f"draws is {draws}", f"intervals of 90 % need {LEAST_DRAWS} or more")
    found = bundle.load(folder)
    if found.recipe is None:
        raise DataError(f"{folder} takes drivers as they are", "ask it from Python: draw_maps")
    x = _drivers(found.recipe, read_daily(weather), days)
    drawn = draw_maps(found.model, x, draws, generator("weather table", seed))
    statistics = statistics_of_draws(drawn.movedim(0, -1).numpy()).reshape(-1, len(STATISTICS))
    table = pd.DataFrame(
        {
            "date": np.repeat([day.isoformat() for day in days], len(found.places)),
            "place": np.tile(found.places, len(days)),
            **{f"{found.value}_{name}": statistics[:, STATISTICS.index(name)] for name in TOLD},
        }
    )
    out = Path(out)
    with atomic_file(out) as scratch:
        if out.suffix.lower() in PARQUET:
            table.to_parquet(scratch, index=False)
        else:
            table.to_csv(scratch, index=False, float_format="%.5g")


def days_of(words: Sequence[str], every: int) -> list[date]:
    """Dates of ``2022-06-08`` and ``2022-03-01..2022-10-31``, of the latter each ``every`` days, in order.

    Raises DataError for other text.
    """
    found: set[date] = set()
    for word in words:
        first, _, last = word.partition("..")
        try:
            begin = date.fromisoformat(first.strip())
            end = date.fromisoformat(last.strip()) if last else begin
        except ValueError:
            raise DataError(f"{word!r} is no date", "write 2022-06-08 or 2022-03-01..2022-10-31") from None
        found |= {begin + timedelta(days=i) for i in range(0, (end - begin).days + 1, every)}
    if not found:
        raise DataError("no dates are asked for", "write the earlier date first: 2022-03-01..2022-10-31")
    return sorted(found)


def _drivers(recipe: GrowthDrivers, daily: DailyWeather, days: Sequence[date]) -> torch.Tensor:
    """Drivers (days, 1, drivers)."""
    return torch.tensor(recipe.of(daily, days), dtype=torch.float32).unsqueeze(1)
