"""The verdict follows from the tables, and says aloud what a reader would overlook."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny_campaign import MODELS, write_campaign

from canopyflow.evaluation.pages.verdict import (
    COLUMNS,
    as_rst,
    as_text,
    cells,
    deciding,
    holm,
    judge,
    read_tables,
)

FLAGS = {"tile": "32TMT", "month": "2021-05", "clear": 1000, "doubtful": 20, "misfit": 10}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return read_tables(write_campaign(tmp_path_factory.mktemp("tiny")))


def mapped(*models, **changes):
    return pd.DataFrame([{"model": model, **FLAGS, **changes} for model in models])


def test_the_best_at_the_plots_is_taken_and_held_against_the_others(tables):
    verdict = judge(replace(tables, flags=mapped("good", "wide")))
    assert [row.model for row in verdict.rows] == ["good", "prior", "wide"]
    best, second, _ = verdict.rows
    assert best.best and not second.best
    assert second.difference.p < 0.05 and second.difference.clusters == 8
    assert second.difference.value > 0 and not second.tied
    assert (verdict.source, verdict.measurements, verdict.plots) == ("plots", 24, 8)
    assert verdict.sentence.startswith(
        "Take good: of 3 models its posterior is closest to the field plots (LAI: CRPS 0.125 m² m⁻², "
        "24 measurements on 8 plots). prior and wide are worse (p < 0.05)."
    )
    assert "hold 90 % of the measurements, whose own error is counted, and 90 % of held-back simulations" in (
        verdict.sentence
    )
    assert "they mean what they say" in verdict.sentence
    assert verdict.level == "good" and verdict.warnings == ()


def test_the_order_is_that_of_the_scores_and_not_of_the_names(tables):
    names = {"good": "z"}
    renamed = replace(
        tables,
        models=tables.models.replace({"model": names}),
        scores=tables.scores.replace({"model": names}),
        matchups={names.get(name, name): table for name, table in tables.matchups.items()},
    )
    assert [row.model for row in judge(renamed).rows] == ["z", "prior", "wide"]


def test_a_model_that_the_plots_do_not_tell_apart_is_called_so(tables):
    near = tables.matchups["good"].copy()
    near["value"] += np.tile([0.01, -0.01], 12)
    verdict = judge(replace(tables, matchups={**tables.matchups, "wide": near}))
    rows = {row.model: row for row in verdict.rows}
    assert rows["wide"].tied and not rows["prior"].tied
    assert "The plots cannot tell wide from it." in verdict.sentence


def test_only_common_measurements_are_compared(tables):
    """A model that matched other rows is compared on those that both have."""
    fewer = tables.matchups["prior"].copy()
    fewer.loc[fewer.index[:12], "status"] = "no clear acquisition within 3 days"
    verdict = judge(replace(tables, matchups={**tables.matchups, "prior": fewer}))
    assert {row.model: row.difference and row.difference.clusters for row in verdict.rows} == {
        "good": None,
        "prior": 4,
        "wide": 8,
    }


def test_a_model_that_is_closer_on_common_measurements_is_not_called_worse(tables):
    """The best by its own measurements, which were the easy ones, loses to another where both have some."""
    good, prior = (tables.matchups[name].copy() for name in ("good", "prior"))
    scores = tables.scores.copy()
    scores.loc[(scores["model"] == "prior") & (scores["source"] == "plots"), "crps_label"] = 0.01
    verdict = judge(replace(tables, scores=scores, matchups={"good": good, "prior": prior}))
    assert verdict.rows[0].model == "prior" and verdict.rows[1].model == "good"
    assert verdict.rows[1].better and not verdict.rows[1].tied
    assert "good is worse" not in verdict.sentence
    assert "But good is closer on the measurements that both have" in verdict.sentence
    assert verdict.level == "care"


def test_p_values_count_how_many_models_are_compared(tables):
    assert holm([0.03, 0.001, np.nan, 0.04]) == pytest.approx([0.06, 0.003, np.nan, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
    both = judge(tables).rows[1].difference
    alone = {name: tables.matchups[name] for name in ("good", "prior")}
    assert both.p == pytest.approx(2 * judge(replace(tables, matchups=alone)).rows[1].difference.p)


@pytest.mark.parametrize("name", ["1", "NA", "null"])
def test_names_of_models_stay_text(tmp_path, name):
    results = write_campaign(tmp_path, plots=0)
    for table in ("benchmarks/models.csv", "comparison/table.csv"):
        path = results / table
        frame = pd.read_csv(path)
        frame[frame["model"] == "good"].assign(model=name).to_csv(path, index=False)
    (row,) = judge(read_tables(results)).rows
    assert row.model == name and row.crps_simulations == 0.125


def test_plots_that_found_no_pixel_are_said_aloud(tmp_path):
    verdict = judge(read_tables(write_campaign(tmp_path, status="outside every scene")))
    [warning] = [text for text in verdict.warnings if "NO FIELD PLOT" in text]
    assert "none of 24 measurements could be compared; most often: outside every scene" in warning
    assert verdict.source == "simulations" and verdict.level == "care"
    assert "closest to the truth of simulations" in verdict.sentence
    assert warning in as_text(verdict).replace("\n", " ")


def of_seasons(results, *models):
    """The same campaign, in which these are models of seasons."""
    for model in models:
        (results / f"models/{model}/seed0").mkdir(parents=True)
        (results / f"models/{model}/seed0/model.json").write_text(
            json.dumps({"dynamics": {"name": "season_gp"}})
        )
    return results


def test_without_plots_models_of_seasons_are_not_ranked_among_others(tmp_path):
    """Their simulations are seasons of their own prior, which no other model is scored on."""
    tables = read_tables(of_seasons(write_campaign(tmp_path, plots=0), "good"))
    verdict = judge(replace(tables, flags=mapped("good")))
    assert [row.model for row in verdict.rows] == ["prior", "wide", "good"]
    assert [cells(row)["test"] for row in verdict.rows] == ["best", "–", "not ranked"]
    assert verdict.sentence.startswith(
        "Take prior: of 2 models of single dates its posterior is closest to the truth of simulations"
    )
    said = "good is not ranked: a model of seasons is scored on seasons of its own prior"
    assert said in verdict.sentence and "the best that has is good" not in verdict.sentence
    assert said in as_text(verdict).replace("\n", " ") and said in as_rst(verdict)
    assert verdict.rows[2].crps_simulations == 0.125


def test_models_of_seasons_alone_are_not_told_apart_by_their_priors(tmp_path):
    tables = read_tables(of_seasons(write_campaign(tmp_path, plots=0), *MODELS))
    verdict = judge(tables)
    assert (verdict.source, verdict.level) == ("", "unknown")
    assert "good, prior and wide are not ranked" in verdict.sentence
    (one,) = tables.models.index[tables.models["model"] == "good"]
    alone = judge(replace(tables, models=tables.models.loc[[one]]))
    assert alone.rows[0].best and "good is the only model, held against seasons of its own prior" in (
        alone.sentence
    )


def test_plots_rank_models_of_seasons_too_and_a_note_is_on_their_simulations(tmp_path):
    tables = read_tables(of_seasons(write_campaign(tmp_path), "good"))
    verdict = judge(tables)
    assert verdict.rows[0].model == "good" and "Take good: of 3 models its posterior" in verdict.sentence
    note = "the simulations of a model of seasons are seasons of its own prior"
    assert note in as_text(verdict).replace("\n", " ") and note in as_rst(verdict)
    without = judge(replace(tables, seasons=frozenset()))
    assert note not in as_text(without).replace("\n", " ") and note not in as_rst(without)


def test_no_plots_and_no_scenes_are_said_aloud(tmp_path):
    tables = read_tables(write_campaign(tmp_path, plots=0))
    assert "NO FIELD PLOTS" in judge(tables).warnings[0]
    assert "campaign of simulations" in judge(replace(tables, scenes=None)).warnings[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"misfit": 90, "doubtful": 90}, "9 % of the clear pixels of good are flagged `misfit`"),
        ({"doubtful": 400}, "40 % of the clear pixels of good are flagged: their spectra are unlike"),
        ({"clear": 0, "doubtful": 0, "misfit": 0}, "The maps of good have no clear pixel"),
    ],
)
def test_many_flags_are_said_aloud(tables, changes, words):
    verdict = judge(replace(tables, flags=mapped("good", **changes)))
    assert len(verdict.warnings) == 1 and words in verdict.warnings[0]
    assert verdict.level == "care"


def test_summaries_that_failed_and_scenes_set_aside_are_said_aloud(tables):
    aside = [dict(tables.scenes[0], problem="B04: truncated"), *tables.scenes[1:]]
    verdict = judge(replace(tables, summaries={"good": False, "wide": True}, scenes=aside))
    assert any("Learned summaries of good failed" in text for text in verdict.warnings)
    assert any("1 of 3 scenes could not be read" in text for text in verdict.warnings)
    assert {row.model: row.seconds for row in verdict.rows} == {"good": 300.0, "wide": 3.0, "prior": 9.0}


def test_intervals_that_are_too_narrow_are_not_recommended(tables):
    matchups = {name: table.copy() for name, table in tables.matchups.items()}
    good = matchups["good"]
    names = ["q05", "q25", "q50", "q75", "q95"]
    good[names] = good[["mean"] * 5].to_numpy() + 0.02 * (
        good[names].to_numpy() - good[["mean"] * 5].to_numpy()
    )
    good["mean"] += 0.3 * np.tile([1, -1], 12)
    good[names] += 0.3 * np.tile([[1], [-1]], (12, 1))
    good["error"] = 0.0
    scores = tables.scores.copy()
    row = (scores["model"] == "good") & (scores["source"] == "plots")
    scores.loc[row, "coverage90_label"] = 0.1
    verdict = judge(replace(tables, matchups=matchups, scores=scores))
    assert verdict.rows[0].model == "good" and verdict.level == "care"
    assert "right for the physics, but too narrow for these plots" in verdict.sentence


@pytest.mark.parametrize(
    ("simulated", "says"),
    [
        (0.6, "too narrow for the physics, though these plots do not show it"),
        (0.99, "too wide for the physics"),
        (0.9, "they mean what they say"),
    ],
)
def test_what_is_wrong_with_intervals_is_said_of_where_it_is(tables, simulated, says):
    scores = tables.scores.copy()
    scores.loc[(scores["model"] == "good") & (scores["source"] == "simulations"), "coverage90"] = simulated
    assert says in judge(replace(tables, scores=scores)).sentence


def test_intervals_that_fail_on_simulations_are_said_aloud(tables):
    scores = tables.scores.copy()
    scores.loc[(scores["model"] == "good") & (scores["source"] == "simulations"), "coverage90"] = 0.6
    verdict = judge(replace(tables, scores=scores))
    assert any("hold 60 % of held-back simulations" in text for text in verdict.warnings)


def test_a_best_without_maps_names_the_best_that_has_some(tables):
    verdict = judge(replace(tables, flags=mapped("wide")))
    assert "It has no maps here; the best that has is wide, behind it." in verdict.sentence


def test_what_plots_measured_most_decides(tables):
    plots = tables.scores[tables.scores["source"] == "plots"]
    more = pd.concat([tables.scores, plots.assign(variable="ccc", n=99)])
    assert deciding(replace(tables, scores=more)) == "ccc"
    assert deciding(tables) == "lai"
    other = tables.scores.assign(variable="cw", source="simulations")
    assert deciding(replace(tables, scores=other)) == "cw"


def test_without_any_score_nothing_is_recommended(tables):
    verdict = judge(replace(tables, scores=tables.scores.iloc[:0], matchups={}))
    assert (verdict.source, verdict.level) == ("", "unknown")
    assert {row.model for row in verdict.rows} == set(MODELS)


def test_corrected_intervals_are_no_models_of_their_own(tables):
    """Their rows, "model, method", stand in the table of scores."""
    more = tables.scores[tables.scores["source"] == "plots"].assign(model="good, conformal", crps_label=0.01)
    verdict = judge(replace(tables, scores=pd.concat([tables.scores, more])))
    assert [row.model for row in verdict.rows] == ["good", "prior", "wide"]


def test_text_and_report_show_the_columns_that_have_something(tables):
    verdict = judge(tables)
    text, rst = as_text(verdict), as_rst(verdict)
    assert "* good" in text and text.index("C2ST") < text.index("good")
    assert rst.count("   * - ") == 1 + len(verdict.rows)
    assert list(cells(verdict.rows[0])) == list(COLUMNS)
    bare = replace(tables, models=tables.models.drop(columns=["c2st"]))
    assert "C2ST" not in as_text(judge(bare))


def test_the_report_takes_no_name_for_markup(tables):
    from docutils.core import publish_string

    models = tables.models.assign(model=["go_od_", "wide", "prior"])
    names = {"good": "go_od_"}
    scores = tables.scores.replace({"model": names})
    verdict = judge(replace(tables, models=models, scores=scores, matchups={}))
    html = publish_string(as_rst(verdict), writer="html", settings_overrides={"halt_level": 2}).decode()
    assert "go_od_" in html
