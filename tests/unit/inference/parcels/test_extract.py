"""Rows of a tile and month: the right pixels, their posterior, and nothing that depends on other parcels."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Transformer
from synthetic_scenes import scene_store
from untrained import untrained, untrained_bundle

from canopyflow.errors import DataError
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.inference.parcels import extract as module
from canopyflow.inference.parcels.columns import COLUMNS
from canopyflow.inference.parcels.extract import ExtractOptions, Month, extract
from canopyflow.inference.parcels.law import Correlations, Design
from canopyflow.inference.stored import open_product
from canopyflow.vocabulary import MASKED

WEST, NORTH, SIDE = 399_995.0, 5_200_005.0, 10.0
NAMES = ("lai", "ccc")
RHO = Correlations({"lai": 0.7, "ccc": 0.5}, {"lai": 0.01, "ccc": 0.01}, Design())
OPTIONS = ExtractOptions(samples=60, most_pixels=40, seed=3)


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    scenes, masks = scene_store(folder)
    infer(
        untrained_bundle(folder / "model"),
        scenes,
        masks,
        folder / "2022-05.zarr",
        MapOptions(outputs=NAMES, samples=40, summaries="drawn"),
    )
    return Month(folder / "2022-05.zarr", scenes, masks)


def parcel(x0, y0, x1, y1):
    """A box in pixels from the corner of the grid, in degrees."""
    shape = shapely.box(WEST + x0 * SIDE, NORTH - y1 * SIDE, WEST + x1 * SIDE, NORTH - y0 * SIDE)
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    return shapely.transform(shape, lambda points: np.stack(to_degrees.transform(*points.T), axis=1))


def parcels(**shapes):
    return gpd.GeoDataFrame({"parcel": list(shapes)}, geometry=list(shapes.values()), crs=4326)


FIELDS = {"a": parcel(0, 0, 3, 6), "b": parcel(2.5, 2.5, 6.5, 8), "edge": parcel(-4, 4, 1, 6)}


def run(month, shapes=None, options=OPTIONS, **more):
    return extract(untrained(), month, parcels(**(shapes or FIELDS)), RHO, options, **more)


def test_rows_say_which_pixels_they_are_of(month):
    table = run(month)
    assert list(table.columns) == list(COLUMNS)
    assert table.groupby(["parcel", "item"]).size().eq(2).all()
    with open_product(month.product) as product:
        clear = (product["flags"].values & MASKED) == 0
    of_a = table[(table["parcel"] == "a") & (table["variable"] == "lai")].set_index("item")
    assert of_a["pixels"].to_dict() == {"first": clear[0, :6, :3].sum(), "second": clear[1, :6, :3].sum()}
    assert of_a.loc["first", "clear_share"] == pytest.approx(clear[0, :6, :3].mean(), abs=1e-3)
    edge = table[(table["parcel"] == "edge") & (table["item"] == "second")].iloc[0]
    assert edge["pixels"] == 2 and edge["clear_share"] == pytest.approx(0.2, abs=1e-3)
    assert (table["q05"] <= table["q50"]).all() and (table["q50"] <= table["q95"]).all()
    width, apart, all_one = (
        table[f"{way}q95"] - table[f"{way}q05"] for way in ("", "independent_", "averaged_")
    )
    many = table["pixels"] > 5
    assert (apart < width)[many].all() and (width <= all_one * 1.001)[many].all()


@pytest.mark.parametrize("inner", [True, False], ids=["pixels wholly within", "all, by their share"])
def test_the_mean_is_that_of_the_map_with_the_weights_of_the_pixels(month, inner):
    """Against the product's own means, which are of other draws."""
    place = (2.5, 2.5, 6.5, 8) if inner else (2.5, 5.25, 5.5, 7)
    found = run(month, {"b": parcel(*place)}, ExtractOptions(samples=3000, seed=1), times=[1])
    with open_product(month.product) as product:
        of_pixels, spread = (product["lai"].sel(statistic=name).values[1] for name in ("mean", "std"))
    share = np.zeros((9, 7))
    if inner:
        share[3:8, 3:6] = 1
    else:
        share[5, 2:6], share[6, 2:6] = [0.375, 0.75, 0.75, 0.375], [0.5, 1, 1, 0.5]
    w = share * np.isfinite(of_pixels)
    row = found[found["variable"] == "lai"].iloc[0]
    assert row["pixels"] == (w > 0).sum()
    assert row["edge_share"] == pytest.approx(0.0 if inner else 1 - 2 / share.sum(), abs=1e-3)
    w /= w.sum()
    error = float(np.sqrt(np.nansum((w * spread) ** 2) / 40))
    assert row["mean"] == pytest.approx(float(np.nansum(w * of_pixels)), abs=4 * error)


def test_neither_order_nor_other_parcels_nor_a_second_time_change_anything(month):
    table = run(month)
    backwards = run(month, dict(reversed(FIELDS.items())))
    pd.testing.assert_frame_equal(backwards, table)
    alone = run(month, {"b": FIELDS["b"]})
    pd.testing.assert_frame_equal(alone, table[table["parcel"] == "b"].reset_index(drop=True))
    assert not run(month, options=ExtractOptions(60, 40, seed=4))["mean"].equals(table["mean"])


def test_few_pixels_in_memory_give_the_same(month, monkeypatch):
    table = run(month)
    monkeypatch.setattr(module, "_PIXELS", 1)
    pd.testing.assert_frame_equal(run(month), table)


def test_a_parcel_of_one_pixel_has_the_posterior_of_the_pixel(month):
    one = run(month, {"one": parcel(5, 7, 6, 8)}, ExtractOptions(samples=5000))
    assert (one["pixels"] == 1).all()
    assert one["q05"].tolist() == pytest.approx(one["independent_q05"].tolist())
    with open_product(month.product) as product:
        q50, std = (float(product["lai"].sel(statistic=name).values[1, 7, 5]) for name in ("q50", "std"))
    found = one[(one["item"] == "second") & (one["variable"] == "lai")].iloc[0]
    assert found["q50"] == pytest.approx(q50, abs=std) and found["std"] == pytest.approx(std, rel=0.5)


def test_of_a_large_parcel_some_pixels_are_drawn_and_the_map_says_the_rest(month):
    """The mean moves with the map's over all pixels: nearer to that of all draws than these pixels alone."""
    whole = run(month, {"w": parcel(0, 0, 7, 9)}, ExtractOptions(samples=2000, most_pixels=63))
    some = run(month, {"w": parcel(0, 0, 7, 9)}, ExtractOptions(samples=2000, most_pixels=8))
    assert some["pixels"].tolist() == whole["pixels"].tolist()
    np.testing.assert_allclose(some["mean"], whole["mean"], rtol=0.06)
    np.testing.assert_allclose(some["std"], whole["std"], rtol=0.35)


def test_some_acquisitions_alone(month):
    table = run(month)
    one = run(month, times=[1])
    pd.testing.assert_frame_equal(one, table[table["item"] == "second"].reset_index(drop=True))


def test_parcels_elsewhere_have_no_rows(month):
    table = run(month, {"far": shapely.affinity.translate(FIELDS["a"], 3.0)})
    assert len(table) == 0 and list(table.columns) == list(COLUMNS)


def test_stores_of_other_scenes_are_refused(month, tmp_path):
    scenes, masks = scene_store(tmp_path / "other", items=("third", "fourth"))
    with pytest.raises(DataError, match="is not of the scenes"):
        run(Month(month.product, scenes, masks))
    with pytest.raises(DataError, match="no correlation of 'ccc'"):
        extract(
            untrained(), month, parcels(**FIELDS), Correlations({"lai": 0.5}, {"lai": 0.1}, Design()), OPTIONS
        )
