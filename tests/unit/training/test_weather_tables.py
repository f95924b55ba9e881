"""From a table of values and one of weather to a model in a folder, and back to a table."""

import json
from dataclasses import asdict, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from canopyflow.cli import app
from canopyflow.errors import ConfigError, DataError
from canopyflow.models.weather import bundle
from canopyflow.models.weather.drivers import read_daily
from canopyflow.models.weather.forecast import draw_maps
from canopyflow.registry import WEATHER_LATENTS
from canopyflow.training.weather import WeatherTraining
from canopyflow.training.weather_tables import (
    GROWTH,
    TableColumns,
    days_of,
    fit_table,
    predict_table,
    read_values,
)

GAI = TableColumns("gai_mean")
TRAINING = WeatherTraining(ridge=None, steps=20, rate=2e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weather of 2017 to 2020, and leaf area of five parcels in the first three of these years."""
    folder = tmp_path_factory.mktemp("weather")
    rng = np.random.default_rng(0)
    days = [date(2016, 10, 1) + timedelta(days=i) for i in range(1553)]
    season = np.array([np.sin(2 * np.pi * (day.timetuple().tm_yday - 110) / 365.25) for day in days])
    warm = np.array([{2018: 3.0, 2019: -2.0}.get(day.year, 0.0) for day in days])
    temperature = 9 + 9 * season + warm + rng.normal(0, 2, len(days))
    weather = pd.DataFrame(
        {
            "date": [day.isoformat() for day in days],
            "temperature": temperature,
            "radiation": 12 + 8 * season,
            "rain": rng.gamma(0.4, 6.0, len(days)),
        }
    )
    weather.to_csv(folder / "weather.csv", index=False)
    rows = []
    for year in (2017, 2018, 2019):
        for day in range(80, 280, 10):
            at = date(year, 1, 1) + timedelta(days=day)
            for parcel in range(5):
                shift = {2018: 12.0, 2019: -8.0}.get(year, 0.0) - 3.0 * parcel
                gai = 4.0 * np.exp(-(((day + shift - 160.0) / 40.0) ** 2)) + 0.05 * rng.random()
                rows.append({"date": at.isoformat(), "parcel": parcel, "gai_mean": gai})
    pd.DataFrame(rows).to_csv(folder / "parcels.csv", index=False)
    return folder


def test_a_table_of_other_years_is_written(files, tmp_path) -> None:
    told = fit_table(files / "weather.csv", files / "parcels.csv", tmp_path / "model", GAI, TRAINING)
    assert (told["days"], told["places"]) == (60, 5)
    assert 0.0 < told["error_std"] < 1.2
    days = days_of(["2020-04-01..2020-06-30"], 10)
    predict_table(tmp_path / "model", files / "weather.csv", days, tmp_path / "a.csv")
    predict_table(tmp_path / "model", files / "weather.csv", days, tmp_path / "b.parquet")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table) == [
        "date", "place", "gai_mean_mean", "gai_mean_std", "gai_mean_q05", "gai_mean_q50", "gai_mean_q95"
    ]  # fmt: skip
    assert len(table) == len(days) * 5 and set(table.place) == set(range(5))
    assert (table.gai_mean_q05 <= table.gai_mean_q95).all() and (table.gai_mean_q05 >= 0).all()
    assert pd.read_parquet(tmp_path / "b.parquet").gai_mean_mean.to_numpy() == pytest.approx(
        table.gai_mean_mean.to_numpy(), rel=1e-3
    )


def test_intervals_of_few_draws_hold_what_they_say(files, tmp_path) -> None:
    """90 % of further draws lie between the 5 and the 95 % quantile of twenty."""
    fit_table(files / "weather.csv", files / "parcels.csv", tmp_path / "m", GAI, TRAINING)
    days = days_of(["2020-04-20..2020-07-10"], 1)
    predict_table(tmp_path / "m", files / "weather.csv", days, tmp_path / "t.csv", draws=20)
    table = pd.read_csv(tmp_path / "t.csv")
    model = bundle.load(tmp_path / "m")
    x = torch.tensor(model.recipe.of(read_daily(files / "weather.csv"), days)).float().unsqueeze(1)
    more = draw_maps(model.model, x, 400, torch.Generator().manual_seed(3)).flatten(1).numpy()
    held = (more >= table.gai_mean_q05.to_numpy()) & (more <= table.gai_mean_q95.to_numpy())
    assert held.mean() == pytest.approx(0.9, abs=0.025)
    with pytest.raises(ConfigError, match="draws is 18"):
        predict_table(tmp_path / "m", files / "weather.csv", days, tmp_path / "t.csv", draws=18)


def test_a_model_comes_back_from_its_folder(files, tmp_path) -> None:
    fit_table(files / "weather.csv", files / "parcels.csv", tmp_path / "m", GAI, TRAINING, "seasonal", "gev")
    first, second = bundle.load(tmp_path / "m"), bundle.load(tmp_path / "m")
    assert first.places == ("0", "1", "2", "3", "4") and first.value == "gai_mean"
    assert first.model.options.latents == "seasonal" and first.training["steps"] == 20
    x = torch.randn(3, 1, len(first.model.options.drivers), generator=torch.Generator().manual_seed(0))
    x = first.model.x_centre + first.model.x_scale * x
    draws = [draw_maps(each.model, x, 4, torch.Generator().manual_seed(1)) for each in (first, second)]
    assert torch.equal(*draws)
    assert len(first.model.day_left) == 60
    bundle.save(first, tmp_path / "again")
    assert (tmp_path / "again/weights.safetensors").read_bytes() == (
        tmp_path / "m/weights.safetensors"
    ).read_bytes()


def test_a_damaged_folder_is_refused(files, tmp_path) -> None:
    with pytest.raises(DataError, match="no model of weather"):
        bundle.load(tmp_path)
    model = tmp_path / "model"
    fit_table(files / "weather.csv", files / "parcels.csv", model, GAI, TRAINING)
    text = (model / "weather.json").read_text()
    content = json.loads(text)
    for torn, said in (
        (text[:100], "damaged"),
        (json.dumps(content | {"format_version": 99}), "another format"),
        (json.dumps({k: v for k, v in content.items() if k != "options"}), "damaged"),
    ):
        (model / "weather.json").write_text(torn)
        with pytest.raises(DataError, match=said):
            bundle.load(model)
    (model / "weather.json").write_text(text)
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DataError, match="not the file"):
        bundle.load(model)


def test_the_commands_say_what_they_did(files, tmp_path) -> None:
    run = CliRunner().invoke
    paths = [str(files / "weather.csv"), str(files / "parcels.csv")]
    model, table = str(tmp_path / "model"), tmp_path / "table.csv"
    done = run(app, ["weather", "fit", *paths, "--out", model, "--value", "gai_mean", "--steps", "20"])
    assert done.exit_code == 0 and "60 dates of 5 places" in done.output
    done = run(
        app,
        [
            "weather",
            "predict",
            model,
            paths[0],
            "--day",
            "2020-05-01",
            "--day",
            "2020-06-01",
            "--out",
            str(table),
        ],
    )
    assert done.exit_code == 0 and len(pd.read_csv(table)) == 10


@pytest.mark.parametrize("latents", WEATHER_LATENTS)
def test_the_command_fits_all_kinds_of_latents(files, tmp_path, latents) -> None:
    paths = [str(files / "weather.csv"), str(files / "parcels.csv"), "--out", str(tmp_path / "model")]
    asked = ["weather", "fit", *paths, "--value", "gai_mean", "--steps", "2", "--latents", latents]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    model = bundle.load(tmp_path / "model").model
    assert model.options.latents == latents
    assert bool(model.downscale(model.x_centre[None]).isfinite().all())


def test_the_command_trains_as_the_benchmark_unless_told_otherwise(files, tmp_path) -> None:
    run, model = CliRunner().invoke, str(tmp_path / "model")
    paths = [str(files / "weather.csv"), str(files / "parcels.csv")]
    asked = ["weather", "fit", *paths, "--out", model, "--value", "gai_mean", "--steps", "2", "--beta", "2"]
    assert run(app, asked).exit_code == 0
    assert bundle.load(model).training == asdict(replace(GROWTH, steps=2, beta=2.0))
    shown = run(app, ["weather", "fit", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for name in ("alpha", "beta", "steps"):
        line = next(line for line in shown.splitlines() if f"--{name}" in line)
        assert f"default: ({getattr(GROWTH, name):g})" in line


def test_tables_that_cannot_be_read_are_told(files, tmp_path) -> None:
    with pytest.raises(DataError, match="has no lai"):
        read_values(files / "parcels.csv", TableColumns("lai"))
    path = tmp_path / "t.csv"
    path.write_text("date,parcel,gai_mean\n2019-05-01,a,1\n2019-05-01,a,2\n")
    assert float(read_values(path, GAI).loc[date(2019, 5, 1), "a"]) == 1.5
    path.write_text(
        "time,parcel,variable,mean\n2019-05-01T10:00:00Z,a,gai,1\n2019-05-01T10:00:00Z,a,cab,50\n"
    )
    columns = TableColumns("mean", date="time", only=("variable", "gai"))
    assert read_values(path, columns).to_numpy().tolist() == [[1.0]]
    path.write_text("date,parcel,gai_mean\n2019-05-01,a,\n")
    with pytest.raises(DataError, match="no values"):
        read_values(path, GAI)
    with pytest.raises(DataError, match=r"nowhere.parquet does not exist"):
        read_values(tmp_path / "nowhere.parquet", GAI)
    (tmp_path / "no.parquet").write_text("date,parcel,gai_mean\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_values(tmp_path / "no.parquet", GAI)
    path.write_text("date,parcel,gai_mean\n2019-05-01,a,1\n")
    with pytest.raises(DataError, match="has 1 dates"):
        fit_table(files / "weather.csv", path, tmp_path / "m", GAI, TRAINING)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("01.03.2021,a,1", "date '01.03.2021' is no date"),
        ("03/01/2021,a,1", "date '03/01/2021' is no date"),
        (",a,1", "date '' is no date"),
        ("20210301,a,1", "date '20210301' is no date"),
        ("2021-03-01,a,cloudy", "gai_mean 'cloudy' is not a number.*leave it empty"),
    ],
)
def test_a_row_of_values_that_cannot_be_read_is_named(tmp_path, row, said) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"date,parcel,gai_mean\n2021-02-01,a,1\n{row}\n")
    with pytest.raises(DataError, match=f"t.csv, row 3: {said}"):
        read_values(path, GAI)


def test_a_value_without_a_place_is_refused(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("date,parcel,gai_mean\n2021-02-01,a,1\n2021-02-01,,2\n2021-02-02,,\n")
    with pytest.raises(DataError, match="row 3 has no parcel"):
        read_values(path, GAI)


def test_places_are_text_and_days_those_that_are_written(tmp_path) -> None:
    path = tmp_path / "t.csv"
    rows = "2021-02-02 23:30:00-03:00,10,1\n2021-02-01,007,2\n2021-02-01T10:00:00Z,10,3\n2021-02-03,9,NA\n"
    path.write_text("date,parcel,gai_mean\n" + rows)
    found = read_values(path, GAI)
    assert list(found) == ["10", "007"] and list(found.index) == [date(2021, 2, 1), date(2021, 2, 2)]
    assert found.to_numpy()[:, 0].tolist() == [3.0, 1.0]
    table = pd.DataFrame({"date": pd.to_datetime(["2021-02-01", "2021-02-02"]), "parcel": [3, 3]})
    table.assign(gai_mean=[1.0, np.nan]).to_parquet(tmp_path / "t.parquet")
    assert read_values(tmp_path / "t.parquet", GAI).loc[date(2021, 2, 1), "3"] == 1.0


def test_values_may_reach_into_a_year_that_still_runs(files, tmp_path) -> None:
    weather = pd.read_csv(files / "weather.csv")
    weather[weather.date <= "2019-10-10"].to_csv(tmp_path / "w.csv", index=False)
    told = fit_table(tmp_path / "w.csv", files / "parcels.csv", tmp_path / "m", GAI, TRAINING)
    assert told["days"] == 60
    weather[weather.date >= "2017-10-10"].to_csv(tmp_path / "w.csv", index=False)
    values = pd.read_csv(files / "parcels.csv")
    values[values.date < "2018"].to_csv(tmp_path / "v.csv", index=False)
    with pytest.raises(DataError, match="2017 lack days"):
        fit_table(tmp_path / "w.csv", tmp_path / "v.csv", tmp_path / "m", GAI, TRAINING)


def test_dates_in_words() -> None:
    assert days_of(["2020-01-05", "2020-01-01..2020-01-08"], 3) == [
        date(2020, 1, day) for day in (1, 4, 5, 7)
    ]
    for words in (["tomorrow"], ["2020-02-01..2020-01-01"]):
        with pytest.raises(DataError):
            days_of(words, 5)
