"""What is shown of a product: statistics, thinned layers, and reference maps on its grid."""

import numpy as np
import pytest
from synthetic_product import write_product, write_truth

from canopyflow.errors import DataError
from canopyflow.evaluation.shown import (
    centre_and_width,
    shown_statistics,
    step_for,
    thinned,
    truth_of,
    words,
)
from canopyflow.inference.stored import open_product, statistics_of


@pytest.mark.parametrize(
    ("there", "shown", "told"),
    [
        (["mean", "std", "q05", "q50", "q95"], ("mean", ("q05", "q95")), ("mean", "90 % width")),
        (["q25", "q50", "q75"], ("q50", ("q25", "q75")), ("median", "50 % width")),
        (["mean", "std"], ("mean", ("", "std")), ("mean", "standard deviation")),
        (["q95"], ("q95", ("", "q95")), ("q95", "q95")),
    ],
)
def test_what_there_is_decides_what_is_shown(there, shown, told):
    assert shown_statistics(there) == shown
    assert words(there) == told


@pytest.fixture
def product(tmp_path):
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00"], shape=(11, 7))
    with open_product(store) as product:
        yield product


@pytest.mark.parametrize(("side", "step"), [(11, 1), (20, 1), (6, 2), (5, 3), (1, 11)])
def test_every_so_many_rows_and_columns_are_shown(product, side, step):
    layer = product["lai"].isel(time=0)
    assert step_for(layer, side) == step
    shown = thinned(layer, step)
    np.testing.assert_array_equal(shown.values, layer.values[:, ::step, ::step])


def test_strips_are_thinned_as_one_layer(product, monkeypatch):
    """The first row of a strip is not shown because it is the first of its strip."""
    layer = product["lai"].isel(time=0)
    layer.encoding["chunks"] = (7, 4, 7)
    np.testing.assert_array_equal(thinned(layer, 3).values, layer.values[:, ::3, ::3])


def test_centre_and_width(product):
    mean, width = centre_and_width(product["lai"].isel(time=0), statistics_of(product), 2)
    assert mean.shape == width.shape == (6, 4)
    assert mean[1, 1] == pytest.approx(1.022, abs=2e-4)
    assert width[1, 1] == pytest.approx(1.6, abs=4e-4)


def test_truth_stands_on_the_grid_of_the_product(product, tmp_path):
    values = np.arange(77.0).reshape(11, 7)
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", values)
    np.testing.assert_allclose(truth_of(product, 0, "lai", tmp_path / "truth", 2), values[::2, ::2])
    assert truth_of(product, 0, "ccc", tmp_path / "truth", 2) is None
    assert truth_of(product, 0, "lai", None, 2) is None


def test_an_id_leads_out_of_no_folder(tmp_path):
    store = write_product(tmp_path / "32TMT" / "m.zarr", ["2022-05-01T10:00"], items=["../../etc"])
    with open_product(store) as product, pytest.raises(DataError, match="cannot name a file"):
        truth_of(product, 0, "lai", tmp_path, 1)
