"""Models of seasons in a campaign file: what belongs together, and which windows there are."""

from datetime import date
from typing import Any

import pytest

from canopyflow.campaigns.stages import maps_by, modules, scored_by
from canopyflow.config import Campaign, load_campaign
from canopyflow.errors import ConfigError
from canopyflow.training.loop import network_of, plan

SEASON = {"season": {"family": "nsf", "dynamics": "season_curves"}}
ELBO = {"objective": "elbo", "data": "seasons_drawn"}
GP, CURVES = "season_gp", "season_curves"


def campaign(**changes: Any) -> Campaign:
    values: dict[str, Any] = {
        "campaign": "x",
        "area": {"bbox": [6.478, 46.711, 6.522, 46.7295]},
        "period": {"start": "2021-05-02", "end": "2022-06-30"},
        "archive": {"catalog": "demo"},
        "models": SEASON,
    }
    return load_campaign(values | changes)


def test_a_season_is_a_part_of_a_year_within_the_period() -> None:
    assert campaign().season_windows == {
        "2021": (date(2021, 5, 2), date(2021, 12, 31)),
        "2022": (date(2022, 1, 1), date(2022, 6, 30)),
    }
    some = campaign(seasons={"months": [8, 10]})
    assert some.season_windows == {"2021": (date(2021, 8, 1), date(2021, 10, 31))}
    assert some.seasons.window(2021) == ("2021-08", "2021-10") and some.seasons.days == (212, 303)


def test_a_year_of_fewer_than_three_mapped_dates_has_no_season() -> None:
    """Of one date start, peak and end would be that day, and their intervals nothing."""
    c = campaign(
        period={"start": "2020-12-12", "end": "2022-01-11"}, seasons={"every_days": 10, "months": [1, 12]}
    )
    # 2020 is left with days 350 and 360, 2022 with days 0 and 10.
    assert list(c.season_windows) == ["2021"]
    assert c.notes == (
        "no season is mapped of 2020: 2 of its dates are within period and seasons.months, and 3 are wanted",
        "no season is mapped of 2022: 2 of its dates are within period and seasons.months, and 3 are wanted",
    )
    one_more = campaign(
        period={"start": "2020-12-06", "end": "2022-01-11"}, seasons={"every_days": 10, "months": [1, 12]}
    )
    assert one_more.season_windows["2020"] == (date(2020, 12, 6), date(2020, 12, 31))


def test_a_season_that_the_period_cuts_is_told() -> None:
    assert campaign().notes == (
        "the season of 2021 is cut by period: its maps tell start, peak, end and sums of 2021-05-02 to "
        "2021-12-31 alone",
        "the season of 2022 is cut by period: its maps tell start, peak, end and sums of 2022-01-01 to "
        "2022-06-30 alone",
    )
    # 2022 has no day of these months within the period.
    assert campaign(seasons={"months": [8, 10]}).notes == ()
    assert campaign(models={}).notes == ()


def test_code_of_months_and_of_seasons_is_apart() -> None:
    c = campaign()
    assert maps_by(c, "season").endswith("seasons") and maps_by(c, "nsf").endswith("maps")
    assert scored_by(c, "season") != scored_by(c, "nsf")
    of_season, of_pixels = (modules(c, "infer.py", name) for name in ("season", "nsf"))
    assert "canopyflow.models.priors.seasons.season_curves" in of_season - of_pixels
    assert "canopyflow.models.encoders.pixel" in of_pixels - of_season
    objective = "canopyflow.training.objectives.summaries"
    assert objective in modules(c, "train.py", "season")
    drawn = campaign(seasons={"summaries": None})
    assert objective not in modules(drawn, "train.py", "season")
    assert objective in modules(drawn, "train.py", "nsf")


def test_seasons_are_trained_as_pixels_are_where_they_say_nothing() -> None:
    c = campaign(training={"clip_norm": 2.0}, seasons={"batch_size": 32})
    how = c.season_plan
    assert (how["clip_norm"], how["batch_size"]) == (2.0, 32)
    assert [phase["data"] for phase in how["phases"]] == ["seasons_drawn"]
    assert [phase["optimizer"] for phase in how["phases"]] == ["muon"]
    slow = campaign(seasons={"phases": [{"objective": "npe", "optimizer": "adamw"}]})
    assert slow.season_plan["phases"][0]["optimizer"] == "adamw"


def test_summaries_of_seasons_are_learned_by_their_own_block() -> None:
    off = {"training": {"summaries": None}}
    learned = campaign(**off).season_plan["summaries"]
    assert (learned["data"], learned["mixed"]) == ("seasons_drawn", 0.0)
    assert network_of(learned) == {"width": 192, "layers": 2, "state": 96}
    goal = plan([], learned).phases[0]
    assert goal.optimizer == "muon"
    assert goal.name == "summaries" and goal.sources == ("seasons_drawn",)
    assert campaign(seasons={"summaries": None}).season_plan["summaries"] is None


@pytest.mark.parametrize(
    ("phase", "data", "looked_at"),
    [
        ("seasons_drawn", None, "seasons_drawn"),
        ("seasons", None, "seasons_drawn+seasons"),
        ("seasons", "seasons_drawn", "seasons_drawn"),
        ("seasons_drawn", "both", "seasons_drawn+seasons"),
        ("both", None, "seasons_drawn+seasons"),
        ("both", "seasons_drawn", "seasons_drawn"),
    ],
)
def test_real_seasons_are_cut_where_something_looks_at_them(
    phase: str, data: str | None, looked_at: str
) -> None:
    c = campaign(
        models={"s": {"family": "nsf", "dynamics": "season_gp"}},
        seasons={"phases": [{"objective": "elbo", "data": phase}], "summaries": {"data": data}},
    )
    assert c.season_plan["summaries"]["data"] == looked_at
    (trained,) = plan(c.season_plan["phases"]).phases
    in_phase = ("seasons_drawn", "seasons") if phase == "both" else (phase,)
    assert trained.sources == in_phase
    assert c.seasons.sources == {*in_phase, *looked_at.split("+")}


def test_a_phase_of_seasons_looks_at_drawn_ones_unless_it_says_otherwise() -> None:
    c = campaign(seasons={"phases": [{"objective": "npe", "epochs": 3}]})
    assert [phase["data"] for phase in c.season_plan["phases"]] == ["seasons_drawn"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": {"s": {"family": "nsf", "dynamics": "season_cp"}}}, "did you mean 'season_gp'?"),
        ({"models": {"s": {"family": "nsf", "dynamics_options": {"a": 1}}}}, "there are no dynamics"),
        ({"models": {"s": {"estimator": "lut", "dynamics": "season_gp"}}}, "knows single dates alone"),
        (
            {"seasons": {"phases": [{"objective": "npe", "data": "simulations"}]}},
            "seasons.phases.0.data: unknown source of training data 'simulations'; .* known: both, seasons, ",
        ),
        (
            {"seasons": {"phases": [{"objective": "npe", "data": "both"}]}},
            "seasons.phases.0.data: seasons lack what npe needs: truth",
        ),
        ({"training": {"phases": [{"objective": "npe", "data": "seasons_drawn"}]}}, "belong into seasons.ph"),
        (
            {"training": {"phases": [{"objective": "npe"}, {"objective": "npe", "options": {"alone": 4}}]}},
            "training.phases.1.options.alone: seasons have it, whose phases are seasons.phases; leave it out",
        ),
        (
            {"training": {"phases": [{"cycle": [{"objective": "npe", "options": {"alone": 1}}]}]}},
            "training.phases.0.cycle.0.options.alone: seasons have it",
        ),
        ({"encoder": {"kind": "season"}}, "its options are in seasons.encoder"),
        ({"seasons": {"encoder": {"widht": 3}}}, "seasons.encoder.widht"),
        ({"seasons": {"encoder": {"width": 98}}}, "seasons.encoder.width: 98 is no multiple of the 4 heads"),
        ({"seasons": {"encoder": {"heads": 5}}}, "seasons.encoder.heads: width 96 is no multiple of 5 heads"),
        ({"seasons": {"summaries": {"mixed": 0.1}}}, "seasons.summaries.mixed"),
        ({"seasons": {"summaries": {"data": "patches"}}}, "seasons.summaries.data"),
        ({"seasons": {"months": [5, 3]}}, "no months of one year"),
        ({"seasons": {"months": [5, 5]}, "period": {"start": "2021-06-01", "end": "2021-06-30"}}, "no year"),
        (
            {"seasons": {"every_days": 92}, "period": {"start": "2021-06-01", "end": "2021-12-30"}},
            "seasons.months: no year has 3 dates that are mapped in months 1 to 12 of period; take more",
        ),
        (
            {"evaluation": {"plots": "plots.csv", "footprint": 20}},
            "evaluation.footprint: the maps of season, a model of seasons, have none",
        ),
        (
            {
                "area": None, "period": None, "archive": None,
                "seasons": {"phases": [{"objective": "elbo", "data": "seasons"}]},
            },
            "no seasons to cut",
        ),
        (
            {"seasons": {"phases": [{"objective": "npe", "data": "seasons_drawn"}, ELBO]}},
            "seasons.phases.1: elbo weighs trajectories .* season_curves has none",
        ),
        (
            {"seasons": {"phases": [{"cycle": [{"objective": "predictive_nll"}], "data": "seasons_drawn"}]}},
            "seasons.phases.0: predictive_nll looks at single dates alone",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        campaign(**changes)


@pytest.mark.parametrize(
    ("dynamics", "options", "told"),
    [
        (GP, {"constant": 0.5}, "constant: must be a table {name: value} (got 0.5)"),
        (GP, {"constant": []}, "constant: must be a table {name: value} (got [])"),
        (GP, {"constant": {"lai": "3e-1"}}, "constant.lai: must be a number from 0 to 1 (got '3e-1'); YAML "),
        (GP, {"constant": {"lai": True}}, "constant.lai: must be a number from 0 to 1 (got true)"),
        (GP, {"constant": {"lai": 1.5}}, "constant.lai: must be a number from 0 to 1 (got 1.5)"),
        (GP, {"constant": {"lai": None}}, "constant.lai: must be a number from 0 to 1 (got None)"),
        (GP, {"length": {"cab": 0}}, "length.cab: must be a number above 0 (got 0)"),
        (GP, {"length": {"cab": float("inf")}}, "length.cab: must be a number above 0 (got inf)"),
        (GP, {"length": {"LAI": 20}}, "length.LAI: unknown name; did you mean 'lai'? known: N, cab"),
        (GP, {"length": {"psoil": 20}}, "length.psoil: unknown name; did you mean 'soil_"),
        (CURVES, {"ranges": [1, 2]}, "ranges: must be a table {name: value} (got [1, 2])"),
        (CURVES, {"ranges": {"paek": [1, 2]}}, "ranges.paek: unknown name; did you mean 'peak'? known: "),
        (CURVES, {"ranges": {"peak": 3}}, "ranges.peak: must be two numbers, the least and the largest, at "),
        (CURVES, {"ranges": {"rise": [9, 3]}}, "ranges.rise: must be two numbers, the least and the largest"),
        (CURVES, {"ranges": {"base": [0, 3]}}, "ranges.base: must be two numbers, the least and the "),
        (CURVES, {"ranges": {"rise": ["7", 8]}}, "ranges.rise: must be two numbers"),
    ],
)  # fmt: skip
def test_dynamics_are_told_numbers_by_name(dynamics: str, options: dict[str, Any], told: str) -> None:
    models = {"s": {"family": "nsf", "dynamics": dynamics, "dynamics_options": options}}
    with pytest.raises(ConfigError) as caught:
        campaign(models=models)
    assert str(caught.value).startswith(f"models.s.dynamics_options.{told}")


def test_pixels_are_alone_where_nobody_asks_for_it() -> None:
    campaign(training={"phases": [{"objective": "npe", "options": {"alone": 0}}]})


def test_what_dynamics_can_be_told_is_taken() -> None:
    given = {"constant": {"lai": 0, "green": 1.0}, "length": {"soil_moisture": 3}}
    block = {"family": "nsf", "dynamics": "season_gp", "dynamics_options": given}
    assert campaign(models={"s": block}).dynamics("s")["options"] == given
    given = {"ranges": {"yellow_before": [-5, 4.5], "regrowth": [0, 0]}}
    campaign(models={"s": {**SEASON["season"], "dynamics_options": given}})


def test_a_variable_that_the_law_does_not_have_is_not_told_of() -> None:
    model = {"family": "nsf", "dynamics": "season_gp"}
    models = {"s": {**model, "dynamics_options": {"constant": {"shade": 0.5}}}}
    campaign(models=models)
    with pytest.raises(ConfigError, match=r"constant\.shade: unknown name"):
        campaign(models=models, physics={"field": {"shadows": False}})
    campaign(models={"s": {**model, "dynamics_options": {"length": {"psoil": 5}}}}, physics={"prior": "atbd"})


def test_a_bound_is_for_seasons_of_a_prior_with_a_density() -> None:
    """And without models of seasons nobody looks at their phases."""
    c = campaign(models={"s": {"family": "nsf", "dynamics": "season_gp"}}, seasons={"phases": [ELBO]})
    assert c.season_plan["phases"][0]["objective"] == "elbo"
    campaign(models={}, seasons={"phases": [ELBO]})
