"""Maps of a page: what is read, how it is rounded, and that whole campaigns stay small."""

import base64
import zlib

import numpy as np
import pandas as pd
import pytest
from synthetic_product import write_product, write_truth
from tiny_campaign import SHAPE, inputs, write_campaign

from canopyflow.evaluation.pages import maps_data
from canopyflow.evaluation.pages.maps_data import Acquisition, chosen, map_layers, rounded, survey


def unpacked(text, shape):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    return inputs(write_campaign(tmp_path_factory.mktemp("tiny"))).products


def test_flags_are_counted_of_all_pixels(products):
    flags, scenes = survey(products)
    assert list(flags.columns) == list(maps_data.COLUMNS)
    rows = flags.set_index("model")
    clear = 3 * SHAPE[0] * SHAPE[1] - 4 * SHAPE[0]
    assert (rows["clear"] == clear).all()
    assert rows.loc["good", ["doubtful", "misfit", "out_of_domain"]].tolist() == [1, 1, 0]
    assert rows.loc["wide", ["doubtful", "misfit", "out_of_domain"]].tolist() == [1, 0, 1]
    assert [round(scene.clear, 3) for scene in scenes] == [1.0, 0.75, 1.0]
    assert all(scene.stores.keys() == {"good", "wide"} for scene in scenes)


def test_what_is_shown_is_what_the_product_holds(products):
    _, scenes = survey(products)
    shown = map_layers(scenes, ["good", "wide"])
    [tile] = shown["tiles"]
    assert (tile["height"], tile["width"], tile["step"]) == (*SHAPE, 1)
    lai = shown["variables"][0]
    assert (lai["name"], lai["unit"]) == ("lai", "m² m⁻²")
    layers = tile["dates"][1]["layers"]["good"]
    mean, width = (unpacked(text, SHAPE) for text in layers["lai"])
    assert (mean[:, :4] == 0).all() and (mean[:, 4:] > 0).all()
    value = lai["low"] + (mean.astype(float) - 1) / 254 * (lai["high"] - lai["low"])
    expected = 2 + 0.1 * np.arange(12)[:, None] + 0.01 * np.arange(16)
    step = (lai["high"] - lai["low"]) / 254
    np.testing.assert_allclose(value[:, 4:], expected[:, 4:], atol=0.51 * step + 2e-4)
    wide = (width[:, 4:].astype(float) - 1) / 254 * lai["width"]
    np.testing.assert_allclose(wide, 1.6, atol=0.51 * lai["width"] / 254 + 2e-4)
    flags = unpacked(tile["dates"][0]["layers"]["good"]["flags"], SHAPE)
    assert flags[0, 8] == 128 and shown["doubtful"] & 128
    assert shown["left_out"] == [] and shown["words"] == ["mean", "90 % width"] and not shown["truth"]


def test_nothing_clear_is_no_map(tmp_path):
    store = write_product(
        tmp_path / "32TMT" / "c.zarr", ["2022-05-01T10:00"], masked=np.ones((1, 4, 6), bool)
    )
    flags, scenes = survey({"nsf": [store]})
    assert flags["clear"].sum() == 0
    assert map_layers(scenes, ["nsf"]) is None
    assert map_layers([], []) is None


def test_truth_is_shown_where_there_is_some(tmp_path):
    store = write_product(tmp_path / "32TMT" / "t.zarr", ["2022-05-01T10:00", "2022-05-06T10:00"])
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.5))
    _, scenes = survey({"nsf": [store]})
    shown = map_layers(scenes, ["nsf"], tmp_path / "truth")
    first, second = shown["tiles"][0]["dates"]
    assert shown["truth"] and "truth" not in second["layers"]
    lai = shown["variables"][0]
    truth = unpacked(first["layers"]["truth"]["lai"], (4, 6))
    value = lai["low"] + (truth.astype(float) - 1) / 254 * (lai["high"] - lai["low"])
    np.testing.assert_allclose(value, 1.5, atol=(lai["high"] - lai["low"]) / 254)


def test_maps_fit_their_budget_and_say_what_is_left_out(tmp_path):
    days = [f"2022-05-{day:02d}T10:00" for day in range(1, 31)]
    mean = np.random.default_rng(0).uniform(0, 5, (30, 64, 48))
    store = write_product(tmp_path / "32TMT" / "m.zarr", days, mean=mean, shape=(64, 48))
    _, scenes = survey({"a": [store], "b": [store], "c": [store], "d": [store]})
    shown = map_layers(scenes, ["a", "b", "c", "d"], budget=60_000)
    [tile] = shown["tiles"]
    bytes_shown = len(tile["dates"]) * tile["height"] * tile["width"] * 3 * 5
    assert bytes_shown <= 60_000
    assert tile["step"] > 1 and len(tile["dates"]) == maps_data.DATES[-1]
    assert shown["left_out"] == [
        "3 of 4 models (the best); not d",
        "5 of 30 dates with a clear pixel, the clearest of each part of the period",
        f"every {tile['step']}th row and column",
    ]
    whole = map_layers(scenes, ["a"])
    assert whole["left_out"][0].startswith("1 of 4 models")
    assert len(whole["tiles"][0]["dates"]) == 30 and whole["tiles"][0]["step"] == 1


def test_dates_are_the_clearest_of_each_part_of_the_period():
    shares = [0.1, 0.9, 0.2, 0.3, 0.0, 0.8, 0.5]
    days = pd.date_range("2022-05-01", periods=7)
    scenes = [
        Acquisition("T", str(i), "S2A", day, s) for i, (day, s) in enumerate(zip(days, shares, strict=True))
    ]
    assert [scene.item for scene in chosen(scenes, 3)] == ["1", "3", "5"]
    assert [scene.item for scene in chosen(scenes, 9)] == ["0", "1", "2", "3", "5", "6"]


def test_what_is_not_finite_is_nothing():
    values = np.array([np.nan, -np.inf, 0.0, 0.5, 1.0, 2.0])
    assert rounded(values, 0.0, 1.0).tolist() == [0, 0, 1, 128, 255, 255]
