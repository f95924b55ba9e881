"""The whole domain: no draw gives nonsense, and what lies outside is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.physics import VARIABLES, Prosail, prosail
from canopyflow.physics.bands import LEAF_MODELS
from canopyflow.physics.prosail import ANGLES
from canopyflow.vocabulary import Variable

CHUNK = 2_000
AT_A_BOUND = 0.2


def corners(known: tuple[Variable, ...], n: int, g: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Uniform draws, each value at its lower or upper bound with probability AT_A_BOUND."""
    lower, upper = (
        torch.tensor([getattr(v, e) for v in known], dtype=torch.float64) for e in ("lower", "upper")
    )
    unit = torch.rand(n, len(known), generator=g, dtype=torch.float64)
    unit = ((unit - AT_A_BOUND / 2) / (1.0 - AT_A_BOUND)).clamp(0.0, 1.0)
    return (lower + (upper - lower) * unit).to(dtype)


def geometries(n: int, g: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Likewise; every tenth has the sun exactly behind the sensor."""
    angles = corners(ANGLES, n, g, dtype)
    angles[::10, 1], angles[::10, 2] = angles[::10, 0], 0.0
    return angles


def assert_finite(model: Prosail, n: int, dtype: torch.dtype, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    for _ in range(n // CHUNK):
        variables = corners(VARIABLES, CHUNK, g, dtype).requires_grad_()
        angles = geometries(CHUNK, g, dtype).requires_grad_()
        value = model(variables, angles)
        value.sum().backward()
        assert value.isfinite().all() and (value >= 0).all()
        for gradient in (variables.grad, angles.grad):
            assert gradient is not None and gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [60_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_no_draw_gives_nonsense(n: int, dtype: torch.dtype) -> None:
    assert_finite(Prosail(), n, dtype, seed=8)


@pytest.mark.parametrize("leaf", sorted(LEAF_MODELS))
def test_no_draw_of_either_leaf_gives_nonsense(leaf: str) -> None:
    for dtype in (torch.float32, torch.float64):
        assert_finite(Prosail(leaf=leaf), CHUNK, dtype, seed=9)


def middle(known: tuple[Variable, ...]) -> Tensor:
    return torch.tensor([(v.lower + v.upper) / 2 for v in known])


VIEW = torch.tensor([30.0, 5.0, 90.0])


@pytest.mark.parametrize("end", ["lower", "upper"])
@pytest.mark.parametrize("variable", VARIABLES, ids=[v.name for v in VARIABLES])
def test_out_of_bounds_is_named(variable: Variable, end: str) -> None:
    values = middle(VARIABLES).expand(2, 3, 11).clone()
    at, width = VARIABLES.index(variable), variable.upper - variable.lower
    values[1, 2, at] = getattr(variable, end) + 1e-4 * width * (1 if end == "upper" else -1)
    bounds = rf"\[{variable.lower:g}, {variable.upper:g}\]"
    wanted = rf"^{variable.name} is .* in 1 of 6 samples — it must lie in {bounds}"
    with pytest.raises(DataError, match=wanted):
        Prosail()(values, VIEW)
    with pytest.raises(DataError, match=wanted):
        Prosail().spectrum(values, VIEW)
    assert Prosail(check=False)(values, VIEW).shape == (2, 3, 10)


def test_bounds_are_the_published_ones() -> None:
    """Zérah et al. 2024, table 1: every posterior, prior and product hangs on them."""
    assert {v.name: (v.lower, v.upper) for v in VARIABLES} == {
        "N": (1.2, 1.8),
        "cab": (20.0, 90.0),
        "car": (5.0, 23.0),
        "cbrown": (0.0, 2.0),
        "cw": (0.0075, 0.075),
        "cm": (0.003, 0.011),
        "lai": (0.0, 10.0),
        "lidfa": (30.0, 80.0),
        "hspot": (0.01, 0.5),
        "psoil": (0.0, 1.0),
        "rsoil": (0.3, 3.5),
    }
    assert [(v.lower, v.upper) for v in ANGLES] == [(0.0, 89.0), (0.0, 89.0), (-360.0, 360.0)]


def test_bounds_themselves_are_inside() -> None:
    for end in ("lower", "upper"):
        values = torch.tensor([getattr(v, end) for v in VARIABLES])
        assert Prosail()(values, VIEW).isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_a_number_is_named(bad: float) -> None:
    values = middle(VARIABLES)
    values[6] = bad
    with pytest.raises(DataError, match=r"^lai is -?(nan|inf) in 1 of 1 samples"):
        Prosail()(values, VIEW)
    with pytest.raises(DataError, match=r"^view zenith is -?(nan|inf)"):
        Prosail()(middle(VARIABLES), torch.tensor([30.0, bad, 0.0]))


@pytest.mark.parametrize(("column", "name"), [(0, "sun zenith"), (1, "view zenith")])
@pytest.mark.parametrize("degrees", [90.0, 120.0, -1.0])
def test_the_sun_and_the_sensor_stand_above_the_horizon(column: int, name: str, degrees: float) -> None:
    angles = VIEW.clone()
    angles[column] = degrees
    with pytest.raises(DataError, match=rf"^{name} is {degrees:g} .* \[0, 89\] \(degree\)"):
        Prosail()(middle(VARIABLES), angles)


def test_wrong_last_dimension_lists_what_belongs_there() -> None:
    with pytest.raises(DataError, match=r"variables have shape \(4, 10\) — .* must be 11: N, cab, .* rsoil"):
        Prosail()(torch.zeros(4, 10), VIEW)
    with pytest.raises(DataError, match=r"angles have shape \(2,\) — .* must be 3: sun zenith"):
        Prosail(check=False)(middle(VARIABLES), VIEW[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "S2D"}, "unknown platform 'S2D'.*S2A, S2B, S2C"),
        ({"bands": ["B4"]}, "unknown band 'B4'.*did you mean"),
        ({"leaf": "prospect-e"}, "unknown leaf model 'prospect-e'.*did you mean 'prospect-"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Prosail(**options)  # type: ignore[arg-type]


def test_the_domain_is_checked_once_per_call_and_not_at_all_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked = []
    monkeypatch.setattr(prosail, "check_domain", lambda known, values: checked.append(known))
    for check, wanted in ((True, [VARIABLES, ANGLES]), (False, [])):
        for evaluate in (Prosail(check=check), Prosail(check=check).spectrum):
            checked.clear()
            evaluate(middle(VARIABLES).expand(7, 11), VIEW)
            assert checked == wanted
