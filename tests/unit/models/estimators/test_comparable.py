"""A fit of few numbers is judged as one of many that would be as rare."""

import pytest
import torch
from scipy.stats import chi2

from canopyflow.models.estimators.contract import _as_rare


@pytest.mark.parametrize("count", [10, 24, 60, 240, 700])
@pytest.mark.parametrize("rare", [0.1, 0.01, 0.002])
def test_a_fit_that_chi_square_exceeds_as_seldom_counts_as_much(count: int, rare: float) -> None:
    own, wanted = ((chi2.isf(rare, n) / n) ** 0.5 for n in (count, 240))
    found = _as_rare(torch.tensor([own]), torch.tensor([count]), 240)
    assert float(found) == pytest.approx(wanted, rel=0.004)


def test_order_is_kept_and_a_perfect_fit_is_no_number_below_zero() -> None:
    fit = torch.tensor([0.0, 0.3, 0.9, 1.0, 2.0, 50.0])
    found = _as_rare(fit, torch.full((6,), 20), 240)
    assert (found.diff() >= 0).all() and found.isfinite().all() and (found >= 0).all()
    torch.testing.assert_close(_as_rare(fit, torch.full((6,), 240), 240), fit, rtol=1e-4, atol=1e-4)
