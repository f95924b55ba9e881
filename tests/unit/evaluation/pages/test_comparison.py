"""The table of a campaign: how a number is written, and what is refused."""

import json

import pytest

from canopyflow.errors import DataError
from canopyflow.evaluation.pages.comparison import _cell, compare, format_table


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


def test_coverage_with_the_error_of_labels_stands_where_there_are_labels(tmp_path):
    plots = {"lai": {"n": 9.0, "rmse": 1.0, "coverage90": 0.61, "coverage90_label": 0.87, "crps_label": 0.5}}
    simulated = {"lai": {"n": 9.0, "rmse": 1.0, "coverage90": 0.9}}
    scores = {"simulations": simulated, "maps": {}, "plots": plots}
    (tmp_path / "a.json").write_text(json.dumps({"model": "nsf", "scores": scores}))
    compare([tmp_path / "a.json"], tmp_path / "t.csv", tmp_path / "t.html")
    simulations, fields = format_table(tmp_path / "t.csv").split("\n\n")
    assert "label" not in simulations and "cover 90, label" in fields
    assert "0.61" in fields and "0.87" in fields
    page = (tmp_path / "t.html").read_text()
    assert page.count("<th>cover 90, label</th>") == 1 and "<td>0.87</td>" in page


def test_simulated_seasons_are_not_compared_with_simulated_dates(tmp_path):
    """Where dates were hidden a model of seasons stands beside others, on simulations of its own prior."""
    lai = {"lai": {"n": 9.0, "rmse": 1.0, "coverage90": 0.9}}
    for name, hidden in (("nsf", {}), ("season", lai)):
        scores = {"simulations": lai, "hidden": hidden, "maps": lai, "clouded": hidden, "plots": {}}
        (tmp_path / f"{name}.json").write_text(json.dumps({"model": name, "scores": scores}))
    files = [tmp_path / "nsf.json", tmp_path / "season.json"]
    for some, said in ((files, 1), (files[:1], 0)):
        compare(some, tmp_path / "t.csv", tmp_path / "t.html")
        for text in (format_table(tmp_path / "t.csv"), (tmp_path / "t.html").read_text()):
            assert text.count("of models of seasons they are seasons of their own prior") == said


def test_raw_and_corrected_stand_side_by_side_with_their_tests(tmp_path):
    raw = {"gai": {"n": 9.0, "rmse": 1.0, "coverage90_label": 0.61}}
    test = {"method": "variance", "variable": "gai", "value": -0.05, "low": -0.1, "high": None, "p": 0.004}
    result = {
        "model": "nsf",
        "scores": {"simulations": {}, "maps": {}, "plots": raw},
        "corrections": {
            "scores": {"variance": {"gai": {"n": 9.0, "rmse": 1.0, "coverage90_label": 0.88}}},
            "tests": [test | {"loss": "crps", "clusters": 7}],
            "refused": {"ccc": "labels of 2 sites, fewer than 3"},
        },
    }
    (tmp_path / "a.json").write_text(json.dumps(result))
    table = compare([tmp_path / "a.json"], tmp_path / "t.csv", tmp_path / "t.html")
    assert table["source"].tolist() == ["plots", "plots"]
    assert table.set_index("model")["coverage90_label"].to_dict() == {"nsf": 0.61, "nsf, variance": 0.88}
    page = (tmp_path / "t.html").read_text()
    assert "<td>variance</td><td>CRPS</td><td>-0.0500</td><td>-0.10 to –</td><td>0.004</td><td>7</td>" in page
    assert "CCC [µg cm⁻²], nsf: not corrected, labels of 2 sites, fewer than 3." in page
    result["corrections"] = {"scores": {}, "tests": [], "refused": {}}
    (tmp_path / "a.json").write_text(json.dumps(result))
    compare([tmp_path / "a.json"], tmp_path / "t.csv", tmp_path / "t.html")
    assert "orrected" not in (tmp_path / "t.html").read_text()
