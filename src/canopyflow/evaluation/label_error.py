"""How far a field label may be from the truth, where its table does not say.

A plot's label is a handful of photographs or samples in a pixel that differs from them. Where a table gives
a standard uncertainty it is taken; elsewhere a rule stands for it, two numbers: ``hypot(absolute, relative *
value)`` of a leaf area index.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.evaluation.measurands import MEASURANDS

Array = NDArray[np.floating]


class LabelError(NamedTuple):
    """Standard deviation of a label of leaf area index about the truth: ``hypot(absolute, relative *
    value)``."""

    absolute: float = 0.15
    relative: float = 0.12


_EXTINCTION = 0.5
"""Of Beer's law between leaf area and covered or absorbed share, leaves of all directions."""

_CLOSED = 0.98
"""Shares above this count as this one: an error of the area of a closed canopy shows in no share of light."""

_AREAS = ("lai", "gai", "lai_eff")
_LEAVES = ("cab", "car", "cw", "cm")
_CANOPIES = {"ccc": 45.0, "cwc": 0.012}
"""Content of a usual leaf, in the unit of the variable per unit leaf area: a canopy's total of a leaf area
index of 1."""
_SHARES = ("fapar", "fcover")


def _area(value: Array, rule: LabelError) -> Array:
    return np.hypot(rule.absolute, rule.relative * value)


def _share(value: Array, rule: LabelError) -> Array:
    """The error of the area, carried through share = 1 - exp(-k area)."""
    gap = 1.0 - np.clip(value, 0.0, _CLOSED)
    return np.asarray(_EXTINCTION * gap * _area(-np.log(gap) / _EXTINCTION, rule))


def _rule_of(variable: str) -> Callable[[Array, LabelError], Array] | None:
    """From values and rule to standard deviations; None for a variable of which the rule knows nothing."""
    if variable in _AREAS:
        return _area
    if variable in _CANOPIES:
        leaf = _CANOPIES[variable]
        return lambda value, rule: leaf * _area(value / leaf, rule)
    if variable in _SHARES:
        return _share
    if variable in _LEAVES:
        # What is measured on a leaf has no part that is the same for all.
        return lambda value, rule: rule.relative * np.abs(value)
    return None


def label_error(
    variable: str, value: Array, uncertainty: Array | None = None, rule: LabelError | None = None
) -> NDArray[np.float64]:
    """Standard deviation (n,) of each label about the truth, in the unit of ``value`` (n,).

    ``uncertainty`` (n,) is what the table says, NaN or 0 where it says nothing; there the ``rule`` stands:
    for leaf areas as it is; for canopy totals times a usual leaf's content (45 µg cm⁻² chlorophyll, 0.012
    g cm⁻² water); for absorbed and covered shares carried through Beer's law (0.075 of bare ground, 0.056 at
    a half); for what is measured on leaves its relative part. Of any other variable the rule says nothing: 0.
    Raises DataError for a negative uncertainty, and for a rule that is no pair of standard deviations.
    """
    rule = rule or LabelError()
    for part in rule:
        if not 0 <= part < np.inf:
            raise DataError(f"the error of labels is {part:g}", "give standard deviations of at least zero")
    values = np.asarray(value, np.float64)
    given = np.full(values.shape, np.nan) if uncertainty is None else np.asarray(uncertainty, np.float64)
    if (given < 0).any():
        what = MEASURANDS[variable].symbol if variable in MEASURANDS else variable
        raise DataError(
            f"an uncertainty of {what} is {given[given < 0][0]:g}, below zero",
            "give standard uncertainties, empty where unknown",
        )
    of = _rule_of(variable)
    assumed = np.zeros(values.shape) if of is None else of(values, rule)
    return np.where(np.isfinite(given) & (given > 0), given, assumed).astype(np.float64)
