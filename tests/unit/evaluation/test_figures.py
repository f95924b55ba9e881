"""Figures: same data, same bytes; every one exists even when there is nothing to show."""

import json

import numpy as np
import pandas as pd
import pytest
import zarr
from matplotlib.image import imread
from synthetic_product import write_product, write_truth

from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OUTSIDE
from canopyflow.evaluation.figures import calibration_curves, comparison, learning, retrieval_maps
from canopyflow.evaluation.figures import matchups as matchup_figure
from canopyflow.evaluation.figures.calibration_curves import draw_coverage, draw_ranks
from canopyflow.evaluation.figures.clouds import draw_clouds
from canopyflow.evaluation.figures.comparison import draw_comparison
from canopyflow.evaluation.figures.learning import draw_learning
from canopyflow.evaluation.figures.matchups import draw_matchups
from canopyflow.evaluation.figures.retrieval_maps import _Scene, choose, draw_maps
from canopyflow.vocabulary import MISFIT

LEVELS = (0.1, 0.5, 0.9, 0.95)


@pytest.fixture
def metrics(tmp_path):
    scores = {"lai": {"n": 10.0, "coverage50": 0.4, "coverage90": 0.8, "rmse": 1.0}}
    result = {
        "model": "nsf",
        "calibration": {
            "n": 100,
            "coverage": {"lai": {f"{level:g}": level for level in LEVELS}},
            "ranks": {"lai": [5] * 20, "hspot": [5] * 20},
        },
        "scores": {"simulations": scores, "maps": {}, "plots": scores},
    }
    path = tmp_path / "nsf.json"
    path.write_text(json.dumps(result))
    return path


def clouds(folder, problem=""):
    frame = pd.DataFrame(
        {
            "tile": "32TMT",
            "date": ["2022-05-01", "2022-05-06"],
            "cloud_share": [0.5, 0.0],
            "shadow_share": 0.1,
            "valid_share": [0.3, 0.8],
            "problem": ["", problem],
        }
    )
    frame.to_csv(folder / "masks.csv", index=False)
    return folder / "masks.csv"


def matchups(folder, status="ok"):
    value = np.linspace(1, 5, 9)
    frame = pd.DataFrame(
        {
            "variable": "lai",
            "value": value,
            "status": status,
            "mean": value,
            "q05": value - 1,
            "q95": value + 1,
            "uncertainty": np.nan,
            "error": 0.4,
            "measurand": "PAI",
        }
    )
    frame.to_parquet(folder / "m.parquet")
    return folder / "m.parquet"


def history(folder, lines):
    path = folder / "history.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def lines():
    return [
        {
            "phase": p,
            "objective": o,
            "epoch": e,
            "loss": 1.0 / e,
            "validation": 1.1 / e,
            "learning_rate": 1e-3,
        }
        for p, o, epochs in ((1, "npe", 4), (2, "elbo", 1))
        for e in range(1, epochs + 1)
    ]


def table(folder):
    rows = [
        {
            "source": s,
            "variable": "lai",
            "model": f,
            "rmse": 1.0,
            "rmse_constant": 2.0,
            "coverage90": 0.9,
            "width90": 3.0,
        }
        for s in ("simulations", "plots")
        for f in ("nsf", "truncated_normal")
    ]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture
def product(tmp_path):
    return write_product(tmp_path / "32TMT" / "2022-05.zarr", ["2022-05-01T10:00", "2022-05-06T10:00"])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_every_figure_twice_gives_the_same_bytes(tmp_path, metrics, product, kind):
    drawings = {
        "maps": lambda out: draw_maps([product], out, model="nsf"),
        "matchups": lambda out: draw_matchups(matchups(tmp_path), out, model="nsf"),
        "coverage": lambda out: draw_coverage(metrics, out),
        "ranks": lambda out: draw_ranks(metrics, out),
        "learning": lambda out: draw_learning([history(tmp_path, lines())], out, model="nsf"),
        "clouds": lambda out: draw_clouds([clouds(tmp_path, "B04: truncated")], out),
        "comparison": lambda out: draw_comparison(table(tmp_path), out),
    }
    for name, draw in drawings.items():
        first, second = tmp_path / f"{name}-1.{kind}", tmp_path / f"{name}-2.{kind}"
        draw(first)
        draw(second)
        assert first.read_bytes() == second.read_bytes(), name
        if kind == "png":
            assert imread(first)[..., :3].std() > 0.02, f"{name} is blank"


def test_without_data_a_figure_says_so(tmp_path, metrics):
    cloudy = write_product(
        tmp_path / "32TMT" / "c.zarr", ["2022-05-01T10:00"], masked=np.ones((1, 4, 6), bool)
    )
    drawings = [
        lambda out: draw_maps([cloudy], out, model="nsf"),
        lambda out: draw_maps([], out, model="nsf"),
        lambda out: draw_matchups(None, out, model="nsf"),
        lambda out: draw_matchups(matchups(tmp_path, "outside every scene"), out, model="nsf"),
        lambda out: draw_learning([history(tmp_path, [])], out, model="nsf"),
        lambda out: draw_clouds([], out),
    ]
    for i, draw in enumerate(drawings):
        draw(tmp_path / f"{i}.png")
        assert imread(tmp_path / f"{i}.png").size


@pytest.mark.parametrize("validation", [[None, 0.5, 0.4], [0.5, None, 0.7], [None, None, None]])
def test_losses_that_are_not_finite_are_gaps(tmp_path, monkeypatch, validation):
    drawn = {}
    monkeypatch.setattr(learning, "save", lambda figure, out: drawn.update(figure=figure))
    rows = [{"phase": 1, "objective": "npe", "loss": value, "validation": value} for value in validation]
    draw_learning([history(tmp_path, rows)], tmp_path / "x.png", model="nsf")
    curves = {line.get_label(): line.get_ydata() for line in drawn["figure"].axes[0].get_lines()}
    np.testing.assert_array_equal(curves["validation"], np.array(validation, dtype=float))
    known = [value for value in validation if value is not None]
    best = curves.get("best, which is kept", [])
    assert list(best) == ([min(known)] if known else [])


def test_a_campaign_without_lai_shows_another_variable_and_says_so(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(retrieval_maps, "save", lambda figure, out: drawn.update(figure=figure))
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00"], names=("cw", "ccc"))
    draw_maps([store], tmp_path / "x.png", model="nsf")
    title = drawn["figure"].get_suptitle()
    assert title.startswith("CCC") and "LAI [m² m⁻²] is not among the campaign's outputs" in title
    draw_maps([store], tmp_path / "x.png", model="nsf", variable="ccc")
    assert "not among" not in drawn["figure"].get_suptitle()


@pytest.mark.parametrize(
    ("statistics", "told"),
    [
        (("std", "mean"), "posterior mean and standard deviation"),
        (("q25", "q75", "q50"), "posterior median and 50 % width"),
        (("q95",), "posterior q95 and q95"),
    ],
)
def test_maps_of_other_statistics_say_what_they_show(tmp_path, monkeypatch, statistics, told):
    monkeypatch.setattr(retrieval_maps, "save", lambda figure, out: drawn.append(figure))
    drawn = []
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00"], statistics=statistics)
    draw_maps([store], tmp_path / "x.png", model="nsf")
    assert told in drawn[0].get_suptitle()
    width = retrieval_maps._read(_Scene(store, 0, pd.Timestamp("2022-05-01"), 1.0), "lai").width
    expected = {"std": 0.5, "q25": 0.6}.get(statistics[0])
    assert expected is None or width == pytest.approx(np.full(width.shape, expected), abs=2e-4)


def test_matchups_of_maps_without_an_interval(tmp_path):
    table = pd.read_parquet(matchups(tmp_path)).assign(q05=np.nan, q95=np.nan)
    for name, columns in (("mean", {}), ("median", {"q50": table["mean"], "mean": np.nan})):
        table.assign(**columns).to_parquet(tmp_path / f"{name}.parquet")
        draw_matchups(tmp_path / f"{name}.parquet", tmp_path / f"{name}.png", model="nsf")
        assert imread(tmp_path / f"{name}.png").size


@pytest.mark.parametrize("shape", [(1, 1), (1, 3)])
def test_map_of_one_row_has_its_true_extent(tmp_path, shape):
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00"], shape=shape)
    extent = retrieval_maps._read(_Scene(store, 0, pd.Timestamp("2022-05-01"), 1.0), "lai").extent
    assert extent == pytest.approx((0.0, shape[1] * 0.02, 0.0, 0.02))


def test_matchups_of_a_campaign_without_the_plots_variables(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(matchup_figure, "message", lambda out, text: said.append(text))
    for status in (NOT_ESTIMATED, OUTSIDE):
        draw_matchups(matchups(tmp_path, status), tmp_path / "x.png", model="nsf")
    assert said == [
        "No field plot measured what this campaign estimates",
        "No field plot has a clear acquisition near its date",
    ]
    table = pd.read_parquet(matchups(tmp_path)).assign(variable="hspot")
    table.to_parquet(tmp_path / "other.parquet")
    draw_matchups(tmp_path / "other.parquet", tmp_path / "x.png", model="nsf")
    assert imread(tmp_path / "x.png").size


def test_labels_stand_with_and_without_their_error(tmp_path, monkeypatch):
    """Intervals of ±1: labels off by 0.5, by 1.2 with an error of 1, and by 3 are of three kinds."""
    drawn = {}
    monkeypatch.setattr(matchup_figure, "save", lambda figure, out: drawn.update(figure=figure))
    table = pd.read_parquet(matchups(tmp_path)).assign(error=1.0, variable="gai")
    table["value"] += [0.5, 1.2, 3.0] * 3
    for name, at in (("q25", -0.41), ("q50", 0.0), ("q75", 0.41)):
        table[name] = table["mean"] + at
    table.to_parquet(tmp_path / "m.parquet")
    draw_matchups(tmp_path / "m.parquet", tmp_path / "x.png", model="nsf")
    [axes] = drawn["figure"].axes
    count = {line.get_label(): len(line.get_xdata()) for line in axes.get_lines()}
    assert count["label inside the 90 % interval"] == 3
    assert count["inside with its own error counted"] == 3
    assert count["outside"] == 3
    assert "covers 0.33,\nwith the labels' error 0.67" in axes.texts[0].get_text()
    assert axes.get_xlabel() == "measured GAI [m² m⁻²]\n(PAI in the table)"


def test_models_are_compared_on_what_the_plots_measured(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(comparison, "save", lambda figure, out: drawn.update(figure=figure))
    scores = pd.read_csv(table(tmp_path)).assign(coverage90_label=np.nan)
    plots = scores["source"] == "plots"
    scores.loc[plots, ["variable", "coverage90_label"]] = ["gai", 0.95]
    scores.loc[plots, "width90_label"] = 8.0
    scores.to_csv(tmp_path / "table.csv", index=False)
    draw_comparison(tmp_path / "table.csv", tmp_path / "x.png")
    titles = [axes.get_title() for axes in drawn["figure"].axes]
    assert titles == [f"GAI: {text}" for _, text in comparison._METRICS]
    marks = {line.get_label(): line for line in drawn["figure"].axes[1].get_lines()}
    assert marks["field plots, error of labels counted"].get_xdata().tolist() == [0.95, 0.95]
    assert drawn["figure"].axes[2].get_xlim()[1] > 8.0
    scores[~plots].to_csv(tmp_path / "table.csv", index=False)
    draw_comparison(tmp_path / "table.csv", tmp_path / "x.png")
    assert drawn["figure"].axes[0].get_title().startswith("LAI")


def test_scenes_on_the_map_are_clear_and_spread_over_the_period(tmp_path):
    days = pd.date_range("2022-04-01", periods=60, freq="2D")
    shares = np.where(np.arange(60) % 2 == 0, 0.95, 0.3)
    scenes = [
        _Scene(tmp_path, i, day, share) for i, (day, share) in enumerate(zip(days, shares, strict=True))
    ]
    chosen = choose(scenes, 3)
    assert [scene.index for scene in chosen] == [0, 28, 58] or [scene.index for scene in chosen] == [
        0,
        30,
        58,
    ]
    assert choose([_Scene(tmp_path, 0, days[0], 0.0)], 3) == []


@pytest.mark.slow
def test_every_figure_fits_a_window(tmp_path, metrics):
    """Whoever opens one in a report sees its top; 800 pixels, for many models, tiles, variables and dates."""
    stores = [
        write_product(
            tmp_path / f"{tile}" / "2022-05.zarr",
            [f"2022-05-0{day}T10:00" for day in range(1, 7)],
            tile=tile,
            shape=shape,
        )
        for tile, shape in (("32TMT", (4, 6)), ("32TNT", (30, 4)), ("32TPT", (4, 30)))
    ]
    many = [f"model_{k}" for k in range(25)]
    one = pd.read_csv(table(tmp_path)).drop_duplicates("source")
    scores = pd.concat([one.assign(model=name) for name in many])
    scores = pd.concat([scores, scores.assign(variable="ccc")])
    scores.to_csv(tmp_path / "many.csv", index=False)
    pd.DataFrame({"model": many, "c2st": 0.6}).to_csv(tmp_path / "models.csv", index=False)
    sky = pd.concat([pd.read_csv(clouds(tmp_path)).assign(tile=f"32TM{c}") for c in "ABCDEFGH"])
    sky.to_csv(tmp_path / "masks.csv", index=False)
    result = json.loads(metrics.read_text())
    result["calibration"]["ranks"] = {f"v{k}": [5] * 20 for k in range(18)}
    metrics.write_text(json.dumps(result))
    drawings = {
        "maps": lambda out: draw_maps(stores, out, model="nsf"),
        "tall": lambda out: draw_maps(stores[1:2], out, model="nsf"),
        "wide": lambda out: draw_maps(stores[2:], out, model="nsf"),
        "comparison": lambda out: draw_comparison(tmp_path / "many.csv", out, models=tmp_path / "models.csv"),
        "clouds": lambda out: draw_clouds([tmp_path / "masks.csv"], out),
        "ranks": lambda out: draw_ranks(metrics, out),
        "coverage": lambda out: draw_coverage(metrics, out),
        "matchups": lambda out: draw_matchups(matchups(tmp_path), out, model="nsf"),
        "learning": lambda out: draw_learning([history(tmp_path, lines())], out, model="nsf"),
    }
    sizes = {}
    for name, draw in drawings.items():
        draw(tmp_path / f"{name}.png")
        sizes[name] = imread(tmp_path / f"{name}.png").shape[:2]
    assert all(height <= 800 and width <= 1600 for height, width in sizes.values()), sizes


def test_coverage_shows_the_difference_from_the_promise(tmp_path, metrics, monkeypatch):
    drawn = {}
    monkeypatch.setattr(calibration_curves, "save", lambda figure, out: drawn.update(figure=figure))
    result = json.loads(metrics.read_text())
    result["calibration"]["coverage"]["lai"]["0.5"] = 0.47
    result["scores"]["plots"]["lai"]["coverage90_label"] = 0.88
    metrics.write_text(json.dumps(result))
    draw_coverage(metrics, tmp_path / "x.png")
    [axes] = drawn["figure"].axes
    curves = {line.get_label(): line for line in axes.get_lines()}
    assert dict(zip(*curves["LAI, simulations (n = 100)"].get_data(), strict=True))[0.5] == pytest.approx(
        -0.03
    )
    marks = curves["LAI, field plots (n = 10)"].get_ydata()
    assert marks == pytest.approx([-0.1, -0.1])
    counted = curves["LAI, field plots (n = 10), error of labels counted"]
    assert counted.get_ydata() == pytest.approx([-0.02])
    assert axes.get_ylim()[1] == pytest.approx(-axes.get_ylim()[0]) and 0.1 < axes.get_ylim()[1] < 0.2


def test_the_comparison_says_how_near_the_true_posterior_each_model_is(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(comparison, "save", lambda figure, out: drawn.update(figure=figure))
    models = tmp_path / "models.csv"
    pd.DataFrame({"model": ["truncated_normal", "nsf"], "c2st": [0.86, 0.56]}).to_csv(models, index=False)
    draw_comparison(table(tmp_path), tmp_path / "x.png", models=models)
    axes = drawn["figure"].axes[0]
    assert axes.get_title().startswith("C2ST")
    # The models stand from the top in the order of the alphabet.
    assert axes.get_lines()[0].get_data()[0].tolist() == [0.56, 0.86]
    assert axes.get_lines()[0].get_data()[1].tolist() == [1, 0]
    pd.DataFrame({"model": ["nsf"], "c2st": [np.nan]}).to_csv(models, index=False)
    draw_comparison(table(tmp_path), tmp_path / "x.png", models=models)
    assert len(drawn["figure"].axes) == len(comparison._METRICS)


def test_maps_show_the_truth_and_flagged_pixels(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(retrieval_maps, "save", lambda figure, out: drawn.update(figure=figure))
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00", "2022-05-06T10:00"])
    flags = np.zeros((2, 4, 6), np.uint8)
    flags[0, 1, 2] = MISFIT
    zarr.open_group(store, mode="r+", use_consolidated=False)["flags"][:] = flags
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.5))
    draw_maps([store], tmp_path / "x.png", model="nsf", truth=tmp_path / "truth")
    figure = drawn["figure"]
    assert "(pink: flagged)" in figure.get_suptitle()
    panels = [axes for axes in figure.axes if axes.get_images() and axes.get_label() != "<colorbar>"]
    mean, *_ = panels
    _, marks = mean.get_images()
    assert np.argwhere(~np.ma.getmaskarray(marks.get_array())).tolist() == [[1, 2]]
    last = panels[-1].get_images()[0].get_array()
    assert np.asarray(last) == pytest.approx(np.full((4, 6), 1.5))
    assert len(panels) == 5  # two dates, and the truth of one of them
