"""Which weights are moved by what, and how fast."""

import pytest
import torch
from torch import nn

from canopyflow.errors import ConfigError
from canopyflow.training.optimizers import optimizers


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 24), nn.SiLU(), nn.Linear(24, 3))


def moved(name: str, decay: float = 0.0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights of a net before and after a step at the rate .01, of a loss with gradients of any size."""
    model = net()
    before = [w.detach().clone() for w in model.parameters()]
    made = optimizers(name, model.parameters(), 0.5, decay)
    x = torch.randn(64, 20, generator=torch.Generator().manual_seed(1))
    (1000.0 * model(x).square().mean()).backward()
    for each in made:
        each.set_rate(0.01)
        each.optimizer.step()
    return before, [w.detach() for w in model.parameters()]


def test_muon_moves_wide_matrices_along_all_directions_and_adam_the_rest() -> None:
    made = optimizers("muon", net().parameters(), 1e-3, 0.0)
    kinds = [type(each.optimizer).__name__ for each in made]
    shapes = [[tuple(w.shape) for w in each.optimizer.param_groups[0]["params"]] for each in made]
    assert kinds == ["AdamW", "Muon"]
    assert shapes == [[(24,), (3, 24), (3,)], [(24, 20)]]
    (first, *_), (then, *_) = moved("muon")
    values = torch.linalg.svdvals(then - first)
    # Nearly orthogonal: the singular values of the step are alike, whatever those of the gradient.
    assert values.max() < 2.0 * values.min()
    (first, *_), (then, *_) = moved("adamw")
    assert torch.linalg.svdvals(then - first).max() > 5.0 * torch.linalg.svdvals(then - first).min()


def test_both_take_steps_of_their_rate() -> None:
    before, after = moved("adamw")
    for one, two in zip(before, after, strict=True):
        assert float((two - one).abs().max()) == pytest.approx(0.01, rel=1e-3)
    (first, *_), (then, *_) = moved("muon")
    # Root mean square of .2 of the rate, four times as fast as Adam.
    assert float((then - first).square().mean().sqrt()) == pytest.approx(0.2 * 4.0 * 0.01, rel=0.2)


def test_unknown_ones_are_refused_and_nets_of_one_kind_have_one() -> None:
    with pytest.raises(ConfigError, match=r"'sgd' is unknown.*adamw, muon"):
        optimizers("sgd", net().parameters(), 1e-3, 0.0)
    assert len(optimizers("adamw", net().parameters(), 1e-3, 0.0)) == 1
    assert len(optimizers("muon", nn.Linear(20, 20, bias=False).parameters(), 1e-3, 0.0)) == 1
