"""Several years: passes that the satellites fly, clouds that follow the weather, years asked for in words."""

from datetime import date

import numpy as np
import pytest

from canopyflow.demo.years import build_world, cloud_share, read_years
from canopyflow.errors import DataError


def test_passes_are_those_of_the_orbit_and_before_its_sister_flies_of_one_satellite() -> None:
    world = build_world(0, [2016, 2021])
    for year, platforms in ((2016, {"S2A"}), (2021, {"S2A", "S2B"})):
        plan = world.passes(year)
        days = [date.fromisoformat(acquisition.day) for acquisition in plan]
        assert len(plan) == 24 and {acquisition.platform for acquisition in plan} == platforms
        assert all((day - date(2021, 3, 10)).days % 5 == 0 for day in days)
        assert days == sorted(days) and days[0] >= date(year, 3, 1) and days[-1] <= date(year, 10, 31)


def test_clouds_follow_the_weather_and_the_clearer_of_two_passes_is_taken() -> None:
    world = build_world(0, range(2017, 2022))
    plan = [acquisition for year in world.years for acquisition in world.passes(year)]
    light = [world.weather.clearness(date.fromisoformat(acquisition.day)) for acquisition in plan]
    assert [acquisition.cloud for acquisition in plan] == [cloud_share(value) for value in light]
    assert cloud_share(0.7) == 0 and cloud_share(0.1) == 1
    assert 0.1 < np.mean([acquisition.cloud for acquisition in plan]) < 0.5
    assert any(acquisition.cloud > 0.8 for acquisition in plan)


def test_a_year_is_the_same_whichever_others_are_asked_for() -> None:
    alone, among = build_world(5, [2020]), build_world(5, [2018, 2020, 2021])
    assert alone.passes(2020) == among.passes(2020)
    ours, theirs = (world.landscape(2020).canopies.variables(150) for world in (alone, among))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not np.array_equal(among.landscape(2021).canopies.variables(150)["lai"], theirs["lai"]), (
        "years differ"
    )


def test_crops_stay_in_their_fields() -> None:
    world = build_world(0, [2019, 2020])
    assert np.array_equal(world.landscape(2019).canopies.crop, world.landscape(2020).canopies.crop)
    with pytest.raises(DataError, match="no weather"):
        world.landscape(2021)


@pytest.mark.parametrize("count", [0, 49])
def test_more_passes_than_are_flown_are_refused(count: int) -> None:
    with pytest.raises(DataError, match="ask for 1 to 24"):
        build_world(0, [2021]).passes(2021, count)


@pytest.mark.parametrize(
    ("text", "years"),
    [("2016..2018", (2016, 2017, 2018)), ("2019", (2019,)), ("2021, 2017..2018,2018", (2017, 2018, 2021))],
)
def test_years_in_words(text: str, years: tuple[int, ...]) -> None:
    assert read_years(text) == years


@pytest.mark.parametrize("text", ["", "2016-2021", "2021..2016", "twenty"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"2016\.\.2021"):
        read_years(text)


@pytest.mark.parametrize("years", [[], [1950], [2050]])
def test_years_without_weather_are_refused(years: list[int]) -> None:
    with pytest.raises(DataError, match="name some of 1951 to 2049"):
        build_world(0, years)


@pytest.mark.parametrize("year", [2015, 2023])
def test_years_without_the_satellites_have_weather_and_truth_but_no_passes(year: int) -> None:
    world = build_world(0, [year])
    assert world.landscape(year).canopies.variables(150)["lai"].max() > 1
    with pytest.raises(DataError, match=f"no passes in {year}"):
        world.passes(year)
    with pytest.raises(DataError, match=f"no passes in {year}"):
        world.acquisition(date(year, 5, 1))


def test_a_day_of_another_year_is_refused() -> None:
    with pytest.raises(DataError, match="2020-05-01 is of none of the years"):
        build_world(0, [2019]).acquisition(date(2020, 5, 1))
