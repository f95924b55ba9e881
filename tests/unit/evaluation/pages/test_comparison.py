"""The table of a campaign: how a number is written, and what is refused."""

import json

import pytest

from canopyflow.errors import DataError
from canopyflow.evaluation.pages.comparison import _cell, compare


def test_a_small_bias_is_no_row_of_zeros():
    assert [_cell("bias", value) for value in (-3.2e-5, 0.00047, 0.0, -0.14)] == [
        "-0.000032", "+0.00047", "+0.0000", "-0.14",
    ]  # fmt: skip


def test_one_model_twice_is_refused(tmp_path):
    result = {"model": "nsf", "scores": {"simulations": {}, "maps": {}, "plots": {}}}
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match="one model"):
        compare([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "t.csv", tmp_path / "t.html")
