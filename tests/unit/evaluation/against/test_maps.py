"""Products against reference maps on the same ground."""

import numpy as np
import pytest
from synthetic_product import PIXEL, write_product, write_truth

from canopyflow.errors import DataError
from canopyflow.evaluation.against.maps import evaluate_maps


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
    assert lai["rmse"] == pytest.approx(0.5, abs=1e-4)
    assert lai["bias"] == pytest.approx(-0.5, abs=1e-4)
    assert (lai["coverage50"], lai["coverage90"]) == (0.0, 1.0)
    assert lai["width90"] == pytest.approx(1.6, abs=1e-4)
    assert lai["rmse_constant"] == pytest.approx(np.std(np.arange(6)), abs=1e-4)


def test_scores_of_statistics_that_were_not_mapped_are_not_a_number(tmp_path):
    store = write_product(tmp_path / "p.zarr", ["2022-05-01T10:00"], statistics=("q95", "std", "mean", "q05"))
    write_truth(tmp_path / "truth", "S2A_32TMT_2022-05-01", "lai", np.full((4, 6), 1.2), PIXEL)
    lai = evaluate_maps([store], tmp_path / "truth")["lai"]
    assert lai["n"] == 24 and lai["coverage90"] == 1.0
    assert lai["width90"] == pytest.approx(1.6, abs=1e-4)
    assert np.isnan([lai["crps"], lai["coverage50"], lai["width50"]]).all()


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
