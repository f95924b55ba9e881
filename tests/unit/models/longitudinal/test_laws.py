"""Laws of paths: what holds for each of them."""

import pytest
import torch

from canopyflow.models.longitudinal.flow import FlowLaw
from canopyflow.models.longitudinal.mapping import MappingLaw

LAWS = {
    "affine": lambda: FlowLaw(3, -60.0, layers=0),
    "flow": lambda: FlowLaw(3, -60.0, layers=3, hidden=8),
    "still flow": lambda: FlowLaw(3, -60.0, innovations=False, layers=3, hidden=8),
    "mapping": lambda: MappingLaw(3, -60.0),
}


@pytest.fixture(params=LAWS)
def law(request):
    """A law in double precision whose weights are not those of the start."""
    torch.manual_seed(0)
    built = LAWS[request.param]().double()
    with torch.no_grad():
        for weight in built.parameters():
            if weight is not built.log_memory:
                weight.add_(0.3 * torch.randn_like(weight))
    return built.requires_grad_(False)


@pytest.fixture
def drawn(law):
    """z (5, 4, D), statics and two days of four seasons."""
    g = torch.Generator().manual_seed(1)
    z = torch.randn(5, 4, law.dim, generator=g, dtype=torch.float64)
    s = torch.randn(5, 4, law.statics, generator=g, dtype=torch.float64)
    days = torch.rand(2, 4, generator=g, dtype=torch.float64) * 40 + torch.tensor([[50.0], [120.0]])
    return z, s, days[0], days[1]


def test_from_a_date_to_itself_nothing_changes(law, drawn) -> None:
    z, s, day, _ = drawn
    same, log_det = law.step(z, s, day, day)
    assert torch.allclose(same, z, atol=1e-9) and log_det.abs().max() < 1e-9


def test_two_steps_are_one_and_back_is_the_inverse(law, drawn) -> None:
    z, s, start, end = drawn
    there, log_det = law.step(z, s, start, end)
    middle, first = law.step(z, s, start, 0.3 * start + 0.7 * end)
    twice, second = law.step(middle, s, 0.3 * start + 0.7 * end, end)
    assert torch.allclose(twice, there, atol=1e-8) and torch.allclose(first + second, log_det)
    back, inverse = law.step(there, s, end, start)
    assert torch.allclose(back, z, atol=1e-8) and torch.allclose(inverse, -log_det)
    assert (there - z).abs().max() > 0.05


def test_determinant_is_that_of_the_jacobian(law, drawn) -> None:
    z, s, start, end = (each[..., :1, :] if each.ndim == 3 else each[:1] for each in drawn)
    log_det = law.step(z[0], s[0], start, end)[1]
    jacobian = torch.autograd.functional.jacobian(
        lambda x: law.step(x[None], s[0], start, end)[0][0], z[0, 0]
    )
    assert torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, log_det[0], atol=1e-8)


def test_memory_over_no_time_has_a_gradient() -> None:
    law = FlowLaw(2, 0.0, layers=0)
    rho, spread = law.memory(torch.tensor([0.0, 10.0]))
    (rho.sum() + spread.sum()).backward()
    assert torch.equal(rho[0], torch.ones(2)) and torch.equal(spread[0], torch.zeros(2))
    assert law.log_memory.grad.isfinite().all() and (law.log_memory.grad != 0).all()
    assert torch.allclose(rho.square() + spread.square(), torch.ones(2, 2))


def test_drawn_paths_start_from_the_law_of_the_first_state() -> None:
    """A date at the origin itself: standard normal whatever the flow does."""
    torch.manual_seed(3)
    law = FlowLaw(2, -60.0, layers=3, hidden=8).requires_grad_(False)
    for weight in law.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    z = law.sample(torch.tensor([[-60.0, 90.0]]).expand(20_000, 2), torch.Generator().manual_seed(0))
    assert z[:, 0].mean(0).abs().max() < 0.03 and (z[:, 0].std(0) - 1.0).abs().max() < 0.03
    assert (z[:, 1].mean(0).abs().max() > 0.1) or ((z[:, 1].std(0) - 1.0).abs().max() > 0.1)


def test_a_season_of_twice_the_speed_is_at_a_stage_in_half_the_time() -> None:
    law = MappingLaw(2, -60.0).requires_grad_(False)
    double = torch.log(torch.tensor(2.0)) / law.log_spread[1].exp()
    slow, fast = torch.zeros(1, 3), torch.tensor([[0.0, float(double), 0.0]])
    assert torch.isclose(law.speed(fast), torch.tensor(2.0)).all()
    tau = law.emergence(slow)
    assert torch.allclose(law.line(fast, tau + 20.0), law.line(slow, tau + 40.0), atol=1e-5)
    assert torch.allclose(law.line(slow, tau), torch.zeros(1, 2), atol=1e-6)
