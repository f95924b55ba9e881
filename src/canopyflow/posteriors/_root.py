"""Inverse of an increasing function of one variable, where algebra has none."""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_STEPS = 128
"""At worst every second step halves the bracket, which in double precision takes 55 halvings."""

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x → f(x) and its derivative, which is positive; elementwise."""


def invert(function: Increasing, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The x in [``low``, ``high``] with f(x) = ``y``, elementwise, to the rounding of its dtype.

    It must lie there: f(low) ≤ y ≤ f(high). Gradients, with respect to ``y`` and all that ``function``
    depends on, are those of the implicit function theorem: only one last Newton step is on the tape.
    """
    with torch.no_grad():
        x = _search(function, y, low, high)
    value, slope = function(x)
    return x - (value - y) / slope.detach()


def _search(function: Increasing, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Newton's method, bisecting where it leaves the bracket or stops halving its steps.

    As in Press et al., Numerical Recipes, chapter 9.4.
    """
    x = torch.minimum(torch.maximum(y, low), high)
    last_step = high - low
    # The caller's Newton step, from this close, squares the error down to rounding.
    near = torch.finfo(y.dtype).eps ** 0.5
    for _ in range(MOST_STEPS):
        value, slope = function(x)
        error = value - y
        low, high = torch.where(error < 0.0, x, low), torch.where(error > 0.0, x, high)
        step = -error / slope
        newton = x + step
        good = (newton >= low) & (newton <= high) & (2.0 * step.abs() <= last_step)
        # Each element stops for itself: its result does not depend on its neighbours'.
        settled = torch.minimum(step.abs(), high - low) <= near * (1.0 + x.abs())
        if bool(settled.all()):
            break
        x = torch.where(settled, x, torch.where(good, newton, 0.5 * (low + high)))
        # After a bisection any Newton step inside the bracket is welcome.
        last_step = torch.where(good, step.abs(), 2.0 * (high - low))
    return x
