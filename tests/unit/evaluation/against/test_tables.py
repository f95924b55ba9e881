"""A table of labelled pixels as a set: scores whose answer is known, and what is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from untrained import surveyed, untrained, untrained_bundle

from canopyflow import models
from canopyflow.errors import DataError
from canopyflow.evaluation.against import tables
from canopyflow.evaluation.against.tables import (
    JUDGED,
    SetOptions,
    check_targets,
    measured_pairs,
    score_table,
    told,
    write_rows,
    write_scores,
)
from canopyflow.evaluation.label_error import LabelError, label_error
from canopyflow.evaluation.scores.predictive import Predictive
from canopyflow.inference.tables import TableOptions, predict_table
from canopyflow.vocabulary import ANGLES, BANDS, FLAGS, PLATFORMS, STATISTICS

N = 400
PREDICTION = TableOptions(samples=200)
OPTIONS = SetOptions(platform=None, prediction=PREDICTION, draws=200)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [
        untrained_bundle(folder / "nsf/seed0"),
        untrained_bundle(folder / "maf/seed0", family="maf"),
    ]


@pytest.fixture(scope="module")
def honest(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Pixels whose labels are drawn from the first model's own summaries, with the error that the rule
    says."""
    folder = tmp_path_factory.mktemp("honest")
    seen = surveyed(untrained(), N)
    table = pd.DataFrame(np.clip(seen.reflectance.numpy(), 1e-4, 1), columns=list(BANDS))
    table[list(ANGLES)] = seen.geometry.numpy()
    table["id"] = [f"p{i}" for i in range(N)]
    table["platform"] = [PLATFORMS[i] for i in seen.platform.tolist()]
    table.to_parquet(folder / "in.parquet")
    predict_table(folder / "in.parquet", bundles[0], folder / "out.parquet", PREDICTION)
    out = pd.read_parquet(folder / "out.parquet")
    g = np.random.default_rng(0)
    law = Predictive.of({s: out[f"gai_{s}"].to_numpy(float) for s in STATISTICS})
    truth = np.array([law.quantile(u)[i] for i, u in enumerate(g.uniform(0.01, 0.99, N))]).clip(0)
    table["green"] = np.abs(g.normal(truth, label_error("gai", truth)))
    return table


def written(table: pd.DataFrame, folder: Path, name: str = "set.csv") -> Path:
    path = folder / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return path


def test_labels_from_the_posterior_are_covered_as_promised(honest, bundles, tmp_path):
    scores = score_table(written(honest, tmp_path), bundles[:1], {"gai": "green"}, OPTIONS)
    [of] = scores.scores.values()
    metrics = of["gai"]
    for level in (50, 80, 90, 95):
        counted = metrics[f"coverage{level}_label"]
        assert counted.value == pytest.approx(level / 100, abs=0.05)
        assert counted.low <= counted.value <= counted.high
    assert metrics["width90_label"].value > metrics["width90"].value
    rows = scores.rows
    error = rows["mean"] - rows["value"]
    assert metrics["n"].value == len(rows) == N
    assert metrics["rmse"].value == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics["bias"].value == pytest.approx(error.mean())
    assert metrics["r2"].value == pytest.approx(
        1 - (error**2).sum() / (len(rows) * rows["value"].var(ddof=0))
    )
    assert metrics["width90"].value == pytest.approx((rows["q95"] - rows["q05"]).mean(), rel=1e-6)


def test_flags_share_and_error_ratio(honest, bundles, tmp_path):
    """Rows under a geometry that was never simulated are flagged; their labels are made wrong by five."""
    table = honest.copy()
    odd = np.arange(N) < 40
    table.loc[odd, "view_zenith"] = 30.0
    scores = score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, OPTIONS)
    metrics = scores.scores["seed0"]["gai"]
    rows = scores.rows
    flagged = (rows["flags"].to_numpy() & sum(JUDGED.values())) != 0
    error = (rows["mean"] - rows["value"]).abs().to_numpy()
    assert flagged[:40].all() and metrics["flagged"].value == pytest.approx(flagged.mean())
    assert metrics["flagged_ratio"].value == pytest.approx(error[flagged].mean() / error[~flagged].mean())
    domain = (rows["flags"].to_numpy() & FLAGS["out_of_domain"]) != 0
    assert metrics["out_of_domain"].value == pytest.approx(domain.mean())


def test_masked_rows_and_rows_without_a_label_are_counted_out(honest, bundles, tmp_path):
    table = honest.copy()
    table.loc[:9, "B04"] = np.nan
    table.loc[5:24, "green"] = np.nan
    scores = score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, OPTIONS)
    metrics = scores.scores["seed0"]["gai"]
    assert (metrics["n"].value, metrics["masked"].value) == (N - 25, 5)
    table["green"] = table["green"].where(table["B04"].isna())
    with pytest.raises(DataError, match="no row that was measured has a sound spectrum"):
        score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, OPTIONS)


def test_the_tables_own_uncertainty_or_the_rule(honest, bundles, tmp_path):
    table = honest.assign(green_std=np.where(np.arange(N) % 2, 3.0, np.nan))
    scores = score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, OPTIONS)
    error = scores.rows["error"].to_numpy()
    assert (error[1::2] == 3.0).all()
    np.testing.assert_allclose(error[::2], label_error("gai", table["green"].to_numpy()[::2]))
    rule = SetOptions(LabelError(1.0, 0.0), own_errors=False, prediction=PREDICTION, draws=200)
    ruled = score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, rule)
    assert (ruled.rows["error"] == 1.0).all()


def test_intervals_are_those_of_groups(honest, bundles, tmp_path):
    """Every row twice under the name of its site: no interval is narrower than that of the rows once."""
    table = honest.assign(site=honest["id"])
    twice = pd.concat([table, table.assign(id=table["id"] + "b")], ignore_index=True)
    grouped = SetOptions(group="site", prediction=TableOptions(samples=200), draws=200)
    once, both, alone = (
        score_table(written(t, tmp_path), bundles[:1], {"gai": "green"}, how).scores["seed0"]["gai"]["mae"]
        for t, how in ((table, grouped), (twice, grouped), (twice, OPTIONS))
    )
    assert both.high - both.low == pytest.approx(once.high - once.low, rel=0.1)
    assert alone.high - alone.low < 0.8 * (both.high - both.low)


def test_models_are_compared_on_the_same_rows(honest, bundles, tmp_path):
    scores = score_table(written(honest, tmp_path), bundles, {"gai": "green", "lai": "green"}, OPTIONS)
    assert list(scores.scores) == ["nsf/seed0", "maf/seed0"]
    pairs = {(variable, loss): d for _, _, variable, loss, d in scores.paired}
    assert set(pairs) == {(v, k) for v in ("gai", "lai") for k in ("absolute", "crps_label")}
    crps = [scores.scores[m]["gai"]["crps_label"].value for m in scores.scores]
    difference = pairs["gai", "crps_label"]
    assert difference.value == pytest.approx(crps[0] - crps[1])
    # The labels are the first model's own: it must win, by little, for both are as good as the prior.
    assert difference.value < 0 and difference.p < 0.2
    text = told(scores)
    assert "GAI [m² m⁻²]" in text and "nsf/seed0 less maf/seed0" in text
    write_scores(scores, tmp_path / "scores.json")
    plain = json.loads((tmp_path / "scores.json").read_text())
    assert plain["scores"]["nsf/seed0"]["gai"]["crps_label"]["value"] == pytest.approx(crps[0])
    assert plain["groups"] == N and len(plain["paired"]) == 4
    write_scores(scores, tmp_path / "scores.csv")
    long = pd.read_csv(tmp_path / "scores.csv").set_index(["model", "variable", "metric"])
    assert long.loc[("nsf/seed0", "gai", "crps_label"), "value"] == pytest.approx(crps[0], rel=1e-5)
    write_rows(scores, tmp_path / "rows.parquet")
    assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 4 * N
    write_rows(scores, tmp_path / "rows.csv.gz")
    with gzip.open(tmp_path / "rows.csv.gz") as packed:
        assert packed.readline().startswith(b"id,")


def test_each_site_and_month_is_scored_apart(honest, bundles, tmp_path):
    site = np.where(np.arange(N) % 4 == 0, "north", np.where(np.arange(N) % 4 == 1, "", "south"))
    date = np.where(np.arange(N) < 100, "2021-05-03", "2021-06-30")
    table = honest.assign(site=site, date=date)
    options = SetOptions(prediction=PREDICTION, draws=50, by=("site", "month"))
    scores = score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, options)
    counted = {
        (by, group): of["seed0"]["gai"]["n"].value
        for by, groups in scores.by.items()
        for group, of in groups.items()
    }
    assert counted == {
        ("site", "north"): 100, ("site", "south"): 200, ("month", "05"): 100, ("month", "06"): 300,
    }  # fmt: skip
    rows = scores.rows[scores.rows["id"].isin(table.loc[table["site"] == "north", "id"])]
    north = scores.by["site"]["north"]["seed0"]["gai"]
    assert north["bias"].value == pytest.approx((rows["mean"] - rows["value"]).mean())
    # Labels are the model's own: with their error, what lies below each is uniform.
    assert scores.rows["pit_label"].between(0, 1).all()
    assert scores.rows["pit_label"].mean() == pytest.approx(0.5, abs=0.05)
    plain = json.loads(json.dumps(scores.plain(), allow_nan=False))
    assert plain["by"]["month"]["06"]["seed0"]["gai"]["n"]["value"] == 300
    assert sum(plain["pit"]["seed0"]["gai"]["label"]) == N
    with pytest.raises(DataError, match="no column 'crop'"):
        score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, SetOptions(by=("crop",)))
    with pytest.raises(DataError, match="row 2: date '2021-05' is a month"):
        table = table.assign(date="2021-05")
        score_table(written(table, tmp_path), bundles[:1], {"gai": "green"}, SetOptions(by=("month",)))


@pytest.mark.parametrize(
    ("out", "rows", "message"),
    [
        ("scores.xls", None, "scores.xls"),
        ("set.csv", None, "is the table itself"),
        (".", None, "cannot be written"),
        ("folder.json", None, "is a folder"),
        (None, "rows.xlsx", "neither read nor written"),
        (None, "set.csv", "is the table itself"),
        ("same.csv", "same.csv", "would both be written"),
    ],
)
def test_files_that_cannot_be_are_refused_before_any_work(honest, tmp_path, out, rows, message):
    (tmp_path / "folder.json").mkdir()
    path = written(honest.head(4), tmp_path)
    with pytest.raises(DataError, match=message):
        check_targets(path, *(name if name is None else tmp_path / name for name in (out, rows)))


@pytest.mark.parametrize(
    ("change", "measured", "options", "message"),
    [
        ({}, {"leafiness": "green"}, {}, "'leafiness' is no variable.*GAI .green area"),
        ({}, {"gai": "lai"}, {}, "no column 'lai'.*it has B02"),
        ({}, {}, {}, "nothing to score"),
        ({"green": "much"}, {"gai": "green"}, {}, "'green' holds text"),
        ({"green": np.nan}, {"gai": "green"}, {}, "holds no measured value"),
        ({"green": -9999.0}, {"gai": "green"}, {}, "green = -9999 cannot be green area index"),
        ({"green": 60.0}, {"fapar": "green"}, {}, "green = 60 cannot be absorbed share of light"),
        ({"green_std": -1.0}, {"gai": "green"}, {}, "uncertainty of GAI is -1"),
        ({}, {"gai": "green"}, {"group": "site"}, "no column 'site'"),
        ({"site": np.nan}, {"gai": "green"}, {"group": "site"}, "'site' is empty in some rows"),
        ({}, {"gai": "green"}, {"platform": "S2A"}, "has a column 'platform'"),
        ({"platform": None}, {"gai": "green"}, {}, "no column 'platform'"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(
    honest, bundles, tmp_path, change, measured, options, message
):
    table = honest.head(4).assign(**change)
    table = table.drop(columns=[name for name, value in change.items() if value is None])
    with pytest.raises(DataError, match=message):
        score_table(written(table, tmp_path), bundles[:1], measured, SetOptions(**options))


def test_a_model_is_scored_on_what_it_estimates(honest, bundles, tmp_path, monkeypatch):
    """The second model estimates leaf area alone: it has no row of green area, nor a test of it."""

    def lai_alone(folder, device):
        model = models.load(folder, device)
        if Path(folder) == bundles[1]:
            model.generative.estimates = tuple(q for q in model.generative.estimates if q.name == "lai")
        return model

    monkeypatch.setattr(tables, "load", lai_alone)
    path = written(honest.head(40), tmp_path)
    scores = score_table(path, bundles, {"gai": "green", "lai": "green"}, OPTIONS)
    assert [list(of) for of in scores.scores.values()] == [["gai", "lai"], ["lai"]]
    assert {variable for _, _, variable, _, _ in scores.paired} == {"lai"}
    assert "–" in told(scores)
    with pytest.raises(DataError, match=r"none of the models estimates GAI.*lai"):
        score_table(path, bundles[1:], {"gai": "green"}, OPTIONS)


@pytest.mark.parametrize("name", ["set.pq", "set.csv.gz"])
def test_tables_of_all_kinds_that_predict_reads(honest, bundles, tmp_path, name):
    path = tmp_path / name
    table = honest.head(20)
    table.to_parquet(path) if name.endswith("pq") else table.to_csv(path, index=False)
    assert len(score_table(path, bundles[:1], {"gai": "green"}, OPTIONS).rows) == 20


def test_a_set_is_read_as_predict_reads_its_tables(honest, bundles, tmp_path):
    """Ids and groups as they came, cells beyond the header, names with spaces; what predict refuses is
    refused."""
    table = honest.head(4).assign(id=["NA", "null", "007", "x"], plot=["NA", "NA", "b", "c"])
    lines = table.to_csv(index=False).splitlines()
    head = lines[0].replace("green", " green ")
    path = tmp_path / "set.csv"
    path.write_text("\n".join([head, *(f"{line}," for line in lines[1:])]))
    scores = score_table(path, bundles[:1], {"GAI": "green"}, SetOptions(group="plot", draws=20))
    assert scores.rows["id"].tolist() == table["id"].tolist() and scores.groups == 3
    np.testing.assert_allclose(scores.rows["value"], table["green"])
    for wrong, message in (
        (table.to_csv(index=False, sep=";"), "separated by ';'"),
        (table.to_csv(index=False).replace("plot", "green", 1), "two columns 'green'"),
    ):
        path.write_text(wrong)
        with pytest.raises(DataError, match=message):
            score_table(path, bundles[:1], {"gai": "green"}, OPTIONS)


def test_files_and_models_that_are_not_there(honest, bundles, tmp_path):
    path = written(honest.head(4), tmp_path, "set.parquet")
    with pytest.raises(DataError, match="does not exist"):
        score_table(tmp_path / "none.csv", bundles[:1], {"gai": "green"})
    with pytest.raises(DataError, match="no model to score"):
        score_table(path, [], {"gai": "green"})
    with pytest.raises(DataError, match="given twice"):
        score_table(path, [bundles[0], bundles[0]], {"gai": "green"})
    with pytest.raises(DataError, match="has no rows"):
        score_table(written(honest.head(0), tmp_path), bundles[:1], {"gai": "green"})
    (tmp_path / "broken.csv").write_text('a,b\n"1,2\n3')
    with pytest.raises(DataError, match="cannot be read"):
        score_table(tmp_path / "broken.csv", bundles[:1], {"gai": "green"})


def test_what_was_measured_is_said_as_variable_and_column():
    assert measured_pairs(["gai=LAI 2200", "lai=b"]) == {"gai": "LAI 2200", "lai": "b"}
    assert measured_pairs(["PAI=a", "GAI=b", "LAIe=c"]) == {"lai": "a", "gai": "b", "lai_eff": "c"}
    with pytest.raises(DataError, match=r"'leafiness' is no variable.*PAI: plant area"):
        measured_pairs(["leafiness=a"])
    for text in ("gai", "=lai", "gai="):
        with pytest.raises(DataError, match="does not say what was measured"):
            measured_pairs([text])
    for second in ("gai=b", "green area index=b"):
        with pytest.raises(DataError, match="gai is measured by 'a' and by 'b'"):
            measured_pairs(["gai=a", second])
