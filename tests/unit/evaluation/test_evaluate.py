"""Calibration on simulations, scores on maps, and the tables made of them."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
import xarray as xr
from rasterio.transform import from_origin
from synthetic_product import EPSG, NORTH, PIXEL, WEST, write_product

from canopyflow.errors import DataError
from canopyflow.evaluation.against import simulations as calibration
from canopyflow.evaluation.against.maps import evaluate_maps
from canopyflow.evaluation.evaluate import evaluate
from canopyflow.evaluation.figures.calibration_curves import draw_coverage
from canopyflow.evaluation.figures.comparison import draw_comparison
from canopyflow.evaluation.pages.comparison import METRICS, _cell, compare, format_table
from canopyflow.evaluation.pages.models import BLOCKS, COLUMNS, compare_families
from canopyflow.vocabulary import NAMES

NOISE = 0.3


class LinearModel:
    """Reflectance = the first two variables + noise; all variables standard normal a priori.

    Its posterior is known, so its calibration must be perfect; ``scale`` makes it dishonest.
    S2B sees variables with the opposite sign, so a wrong platform index shows.
    """

    bands, platforms = ("B02", "B03"), ("S2A", "S2B")

    def __init__(self, scale=1.0):
        self.scale = scale
        self.noise = SimpleNamespace(sample=lambda r, g: r + NOISE * torch.randn(r.shape, generator=g))

    def posterior(self, reflectance, angles, platform):
        sign = torch.where(platform == 1, -1.0, 1.0)[:, None]
        location = torch.zeros(len(reflectance), len(NAMES))
        spread = torch.ones(len(NAMES))
        location[:, :2] = sign * reflectance / (1 + NOISE**2)
        spread[:2] = NOISE / np.sqrt(1 + NOISE**2)
        return SimpleNamespace(
            rsample=lambda shape, generator: (
                location + self.scale * spread * torch.randn(*shape, *location.shape, generator=generator)
            )
        )


@pytest.fixture
def simulations(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, len(NAMES))).astype(np.float32)
    platform = rng.integers(0, 2, 2000)
    reflectance = z[:, :2] * np.where(platform == 0, -1.0, 1.0)[:, None]
    store = xr.Dataset(
        {
            "variables": (("sample", "variable"), z),
            "angles": (("sample", "angle"), np.zeros((2000, 3), np.float32)),
            "platform": (("sample",), platform.astype(np.uint8)),
            "reflectance": (("sample", "band"), reflectance[:, ::-1].astype(np.float32)),
        },
        attrs={"bands": ["B03", "B02"], "platforms": ["S2B", "S2A"]},
    )
    store.to_zarr(tmp_path / "test.zarr", zarr_format=3, consolidated=False)
    return tmp_path / "test.zarr"


def run(monkeypatch, simulations, model, **options):
    monkeypatch.setattr(calibration, "model_of", lambda folder: model)
    settings = {"n": 2000, "samples": 199, "seed": 0} | options
    return calibration.evaluate_simulations(simulations.parent, simulations, **settings)


def test_an_exact_posterior_is_calibrated(monkeypatch, simulations):
    result = run(monkeypatch, simulations, LinearModel())
    for name in ("N", "cab", "rsoil", "ccc"):
        for level, share in result["coverage"][name].items():
            assert share == pytest.approx(float(level), abs=0.045), (name, level)
        assert sum(result["ranks"][name]) == 2000
        assert max(abs(c - 100) for c in result["ranks"][name]) < 45
    exact = NOISE / np.sqrt(1 + NOISE**2)
    assert result["scores"]["N"]["rmse"] == pytest.approx(exact, rel=0.06)
    assert result["scores"]["N"]["width90"] == pytest.approx(2 * 1.645 * exact, rel=0.03)
    assert result["scores"]["rsoil"]["r2"] == pytest.approx(0.0, abs=0.02)


def test_a_posterior_too_sure_of_itself_is_found_out(monkeypatch, simulations):
    result = run(monkeypatch, simulations, LinearModel(scale=0.5))
    assert result["scores"]["N"]["coverage90"] < 0.7
    ranks = result["ranks"]["N"]
    assert ranks[0] > 200 < ranks[-1]


def test_same_seed_same_scores_and_the_caller_keeps_its_random_state(monkeypatch, simulations):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = run(monkeypatch, simulations, LinearModel(), n=300)
    assert torch.rand(1) == expected
    assert run(monkeypatch, simulations, LinearModel(), n=300) == first
    assert run(monkeypatch, simulations, LinearModel(), n=300, seed=1) != first


def test_simulations_without_a_band_of_the_model(monkeypatch, simulations):
    model = LinearModel()
    model.bands = ("B02", "B8A")
    with pytest.raises(DataError, match="band B8A"):
        run(monkeypatch, simulations, model)


def test_coverage_is_exact_for_few_draws():
    rng = np.random.default_rng(1)
    truth, draws = rng.standard_normal(40_000), rng.standard_normal((19, 40_000))
    scores, coverage, _ = calibration.calibrate(truth, draws, "lai")
    assert coverage["0.9"] == scores["coverage90"] == pytest.approx(0.9, abs=0.006)


def test_ranks_of_a_perfect_posterior_are_flat_for_any_number_of_draws():
    rng = np.random.default_rng(2)
    for k in (5, 47, 100):
        counts = calibration.rank_histogram(rng.random(40_000), rng.random((k, 40_000)))
        assert sum(counts) == 40_000
        assert max(counts) / min(counts) < 1.2


def write_truth(folder, item, name, values, pixel, west=WEST):
    (folder / item).mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(
        folder / item / f"{name}.tif",
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="float32",
        crs=f"EPSG:{EPSG}",
        transform=from_origin(west, NORTH, pixel, pixel),
        nodata=np.nan,
    ) as target:
        target.write(values.astype(np.float32), 1)


def test_maps_against_a_finer_truth(tmp_path):
    masked = np.zeros((2, 4, 6), bool)
    masked[0, 0] = True
    mean = np.broadcast_to(np.arange(1.0, 7.0), (2, 4, 6))
    store = write_product(
        tmp_path / "32TMT" / "2022-05.zarr",
        ["2022-05-01T10:00", "2022-05-06T10:00"],
        mean=mean,
        masked=masked,
    )
    coarse = np.broadcast_to(np.arange(1.0, 7.0) + 0.5, (4, 6))
    fine = coarse.repeat(2, 0).repeat(2, 1) + np.tile([[-0.2, 0.2], [0.2, -0.2]], (4, 6))
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", fine, PIXEL / 2)
    scores = evaluate_maps([store], tmp_path / "truth")
    assert set(scores) == {"lai"}  # no truth for ccc, none for the second scene
    lai = scores["lai"]
    assert lai["n"] == 18
    assert lai["rmse"] == pytest.approx(0.5, abs=1e-5)
    assert lai["bias"] == pytest.approx(-0.5, abs=1e-5)
    assert (lai["coverage50"], lai["coverage90"]) == (0.0, 1.0)
    assert lai["width90"] == pytest.approx(1.6, abs=1e-5)
    assert lai["rmse_constant"] == pytest.approx(np.std(np.arange(6)), abs=1e-5)


def test_maps_of_one_pixel(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-01T10:00"], shape=(1, 1))
    fine = np.full((4, 4), 5.0)
    fine[1:3, 1:3] = 1.0
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", fine, PIXEL / 4)
    assert evaluate_maps([store], tmp_path / "truth")["lai"]["bias"] == pytest.approx(1.0 - 4.0)


def test_item_id_that_leads_out_of_the_reference_maps_is_refused(tmp_path):
    write_truth(tmp_path, "secret", "lai", np.full((4, 6), 1.0), PIXEL)
    (tmp_path / "truth").mkdir()
    store = write_product(tmp_path / "p.zarr", ["2022-05-01T10:00"], items=["../secret"])
    with pytest.raises(DataError, match="cannot name a file"):
        evaluate_maps([store], tmp_path / "truth")


def test_maps_without_truth(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-01T10:00"])
    assert evaluate_maps([store], tmp_path / "nothing") == {}


def matchups(path, rows=20):
    value = np.linspace(1, 5, rows)
    frame = pd.DataFrame(
        {
            "variable": "lai",
            "value": value,
            "status": "ok",
            "mean": value + 0.5,
            "std": 0.3,
            "q05": value - 0.5,
            "q25": value + 0.2,
            "q50": value + 0.5,
            "q75": value + 0.8,
            "q95": value + 1.0,
            "uncertainty": np.nan,
        }
    )
    frame.loc[0, ["status", "mean"]] = ["outside every scene", 99.0]
    frame.to_parquet(path)
    return path


def seed_file(path, simulations, seed=0):
    """What ``score_seed`` writes, without a reference posterior."""
    result = calibration.evaluate_simulations(simulations.parent, simulations, n=400, samples=99, seed=seed)
    laws = {"simulations": result.pop("joint")}
    scores = result.pop("scores")
    path.write_text(json.dumps({"bundle_sha256": "b", "calibration": result, "scores": scores, "laws": laws}))
    return path


def test_seeds_are_joined_to_mean_and_spread(monkeypatch, tmp_path, simulations):
    monkeypatch.setattr(calibration, "model_of", lambda folder: LinearModel(1.0))
    seeds = [seed_file(tmp_path / f"seed{i}.json", simulations, seed=i) for i in range(3)]
    result = evaluate(
        "nsf", seeds=seeds, products=[], matchups=None, truth=None,
        out_json=tmp_path / "nsf.json", out_csv=tmp_path / "nsf.csv",
    )  # fmt: skip
    each = [json.loads(path.read_text())["scores"]["lai"]["rmse"] for path in seeds]
    assert result["scores"]["simulations"]["lai"]["rmse"] == pytest.approx(np.mean(each))
    assert result["spread"]["lai"]["rmse"] == pytest.approx(np.std(each, ddof=1))
    costs = [tmp_path / "nsf" / f"seed{i}.json" for i in range(3)]
    costs[0].parent.mkdir()
    for i, path in enumerate(costs):
        path.write_text(json.dumps({"parameters": 7.0, "seconds_per_million": 10.0 + i}))
    compare_families([tmp_path / "nsf.json"], costs, tmp_path / "f.csv", tmp_path / "f.html")
    row = pd.read_csv(tmp_path / "f.csv").iloc[0]
    assert (row["seeds"], row["seconds_per_million"], row["seconds_per_million_sd"]) == (3, 11.0, 1.0)
    assert row["lai_rmse"] == pytest.approx(np.mean(each), rel=1e-5)
    assert np.isnan(row["c2st"])
    assert "11 ± 1" in (tmp_path / "f.html").read_text(encoding="utf-8")


def test_the_page_of_families_shows_every_column_once():
    order = list(COLUMNS)
    shown = [c for first, last in BLOCKS.values() for c in order[order.index(first) : order.index(last) + 1]]
    assert shown == order


def test_a_small_bias_is_no_row_of_zeros():
    assert [_cell("bias", value) for value in (-3.2e-5, 0.00047, 0.0, -0.14)] == [
        "-0.000032", "+0.00047", "+0.0000", "-0.14",
    ]  # fmt: skip


def test_evaluate_and_compare_from_end_to_end(monkeypatch, tmp_path, simulations):
    store = write_product(tmp_path / "products" / "32TMT" / "2022-05.zarr", ["2022-05-01T10:00"])
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.0), PIXEL)
    files = []
    for family, scale in (("truncated_normal", 0.5), ("nsf", 1.0)):
        monkeypatch.setattr(calibration, "model_of", lambda folder, scale=scale: LinearModel(scale))
        files.append(tmp_path / f"{family}.json")
        evaluate(
            family,
            seeds=[seed_file(tmp_path / "seed0.json", simulations)],
            products=[store],
            matchups=matchups(tmp_path / "m.parquet"),
            truth=tmp_path / "truth",
            out_json=files[-1],
            out_csv=tmp_path / f"{family}.csv",
        )
    plots = json.loads(files[0].read_text())["scores"]["plots"]["lai"]
    assert (plots["n"], plots["coverage50"], plots["coverage90"]) == (19, 0.0, 1.0)
    assert plots["rmse"] == pytest.approx(0.5)
    long = pd.read_csv(tmp_path / "nsf.csv")
    assert list(long.columns) == ["family", "source", "variable", "metric", "value"]
    assert long["value"].notna().all()

    table = compare(files, tmp_path / "table.csv", tmp_path / "table.html")
    assert list(table.columns) == ["source", "variable", "family", *METRICS]
    assert table["source"].unique().tolist() == ["simulations", "maps", "plots"]
    lai = table[(table["source"] == "simulations") & (table["variable"] == "lai")]
    assert lai["family"].tolist() == ["nsf", "truncated_normal"]
    text = format_table(tmp_path / "table.csv")
    assert "Field plots" in text and "truncated_normal" in text
    assert "µg cm⁻²" in (tmp_path / "table.html").read_text(encoding="utf-8")
    before = (tmp_path / "table.csv").read_bytes()
    compare(files[::-1], tmp_path / "table.csv", tmp_path / "table.html")
    assert (tmp_path / "table.csv").read_bytes() == before


def test_a_campaign_without_a_clear_pixel_is_scored_on_simulations(
    monkeypatch, tmp_path, simulations, caplog
):
    masked = np.ones((1, 4, 6), bool)
    store = write_product(tmp_path / "32TMT" / "2022-05.zarr", ["2022-05-01T10:00"], masked=masked)
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.0), PIXEL)
    monkeypatch.setattr(calibration, "model_of", lambda folder: LinearModel(1.0))
    with caplog.at_level("INFO", logger="canopyflow"):
        evaluate(
            "nsf",
            seeds=[seed_file(tmp_path / "seed0.json", simulations)],
            products=[store],
            matchups=None,
            truth=tmp_path / "truth",
            out_json=tmp_path / "nsf.json",
            out_csv=tmp_path / "nsf.csv",
        )
    assert "nsf on maps, lai: no clear pixel to compare" in caplog.text
    assert "nan" not in caplog.text
    maps = json.loads((tmp_path / "nsf.json").read_text())["scores"]["maps"]["lai"]
    assert maps.pop("n") == 0
    assert set(maps.values()) == {None}
    compare([tmp_path / "nsf.json"], tmp_path / "table.csv", tmp_path / "table.html")
    assert "–" in format_table(tmp_path / "table.csv")
    draw_comparison(tmp_path / "table.csv", tmp_path / "families.png")
    draw_coverage(tmp_path / "nsf.json", tmp_path / "coverage.png")


def test_one_family_twice_is_refused(tmp_path):
    result = {"family": "nsf", "scores": {"simulations": {}, "maps": {}, "plots": {}}}
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match="one family"):
        compare([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "t.csv", tmp_path / "t.html")
