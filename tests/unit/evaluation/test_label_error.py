"""How far a label may be from the truth."""

import numpy as np
import pytest

from canopyflow.errors import DataError
from canopyflow.evaluation.label_error import LabelError, label_error


def test_areas_by_the_rule_and_where_the_table_says_by_the_table():
    value = np.array([0.0, 2.0, 5.0])
    for name in ("lai", "gai", "lai_eff"):
        np.testing.assert_allclose(label_error(name, value), np.hypot(0.15, 0.12 * value))
    # No label is exact: an uncertainty of 0 is one that nobody wrote down.
    given = np.array([np.nan, 0.0, 0.4])
    rule = LabelError(0.3, 0.2)
    assert label_error("lai", value, given, rule).tolist() == [0.3, 0.5, 0.4]


def test_totals_are_areas_times_a_leaf():
    np.testing.assert_allclose(label_error("ccc", np.array([90.0])), 45 * np.hypot(0.15, 0.24))
    np.testing.assert_allclose(label_error("cwc", np.array([0.0])), 0.012 * 0.15)
    np.testing.assert_allclose(label_error("cab", np.array([50.0])), 6.0)


@pytest.mark.parametrize("name", ["fapar", "fcover"])
def test_shares_by_the_error_of_the_area_that_they_see(name):
    """Carried through Beer's law: a small change of the area and what it does to the share."""
    area = np.array([0.0, 1.0, 3.0])
    step = 1e-6
    slope = (np.exp(-0.5 * area) - np.exp(-0.5 * (area + step))) / step
    np.testing.assert_allclose(
        label_error(name, 1 - np.exp(-0.5 * area)), slope * np.hypot(0.15, 0.12 * area), rtol=1e-5
    )
    full = label_error(name, np.array([0.98, 1.0]))
    assert full[0] == full[1] > 0.005


def test_nothing_is_assumed_of_other_variables():
    assert label_error("N", np.array([1.5])).tolist() == [0.0]
    assert label_error("lidfa", np.array([57.0]), np.array([4.0])).tolist() == [4.0]


def test_a_negative_uncertainty_is_refused():
    with pytest.raises(DataError, match=r"uncertainty of GAI is -0\.1"):
        label_error("gai", np.ones(2), np.array([0.1, -0.1]))


@pytest.mark.parametrize("part", [-0.1, np.nan, np.inf])
def test_a_rule_that_is_no_standard_deviation_is_refused(part):
    for rule in (LabelError(0.1, part), LabelError(part, 0.1)):
        with pytest.raises(DataError, match=f"error of labels is {part}"):
            label_error("gai", np.ones(2), rule=rule)
