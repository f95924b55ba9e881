"""Masked affine autoregressive layers: earlier variables and the features shift and scale each variable."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform
from zuko.nn import MaskedLinear, MaskedMLP
from zuko.transforms import AutoregressiveTransform

from canopyflow.errors import ConfigError

from ._affine import PARAMETERS, affine
from ._bounds import shrunk
from ._flow import Flow, Layer, Step
from .contract import Setting


class AutoregressiveFlow(Flow):
    """``transforms`` layers, every second one in the reverse order of the variables.

    ``sequential_push``: drawing takes D passes and the density one; otherwise the other way round.
    """

    sequential_push: ClassVar[bool]

    def __init__(self, setting: Setting, transforms: int = 3, hidden: Sequence[int] = (64, 64)) -> None:
        dim, how = setting.dim, (setting.features, hidden, self.sequential_push)
        if min(hidden) < dim:
            raise ConfigError(
                f"hidden layers of widths {tuple(hidden)} are narrower than the {dim} variables",
                "make each at least as wide: every variable needs units of its own that see the features",
            )
        orders = (torch.arange(dim), torch.arange(dim).flip(0))
        super().__init__(setting, (Autoregressive(orders[i % 2], *how) for i in range(transforms)))


class Autoregressive(Layer):
    """``order`` (D,) is the rank of each variable. The features reach every output."""

    def __init__(self, order: Tensor, features: int, hidden: Sequence[int], sequential_push: bool) -> None:
        super().__init__()
        self.dim, self.sequential_push = len(order), sequential_push
        sees = torch.cat([order[:, None] > order, torch.ones(self.dim, features, dtype=torch.bool)], dim=1)
        self.network = MaskedMLP(sees.repeat_interleave(PARAMETERS, dim=0), hidden)
        shrunk(self.network[-1])

    def forward(self, h: Tensor) -> Step:
        first: MaskedLinear = self.network[0]
        # The features' share of the first hidden layer is computed once per pixel, not once per draw.
        from_variables, from_features = (first.mask * first.weight).split([self.dim, h.shape[-1]], dim=1)
        context = F.linear(h, from_features, first.bias)
        step = AutoregressiveStep(
            AutoregressiveTransform(partial(self._transform, from_variables, context), passes=self.dim)
        )
        return Reversed(step) if self.sequential_push else step

    def _transform(self, from_variables: Tensor, context: Tensor, x: Tensor) -> Transform:
        hidden = context + F.linear(x, from_variables)
        for layer in list(self.network)[1:]:
            hidden = layer(hidden)
        return affine(hidden.unflatten(-1, (self.dim, PARAMETERS)))


class AutoregressiveStep(Step):
    """y_i = shift_i(x_<i) + scale_i(x_<i) · x_i: one pass forward, D passes back."""

    def __init__(self, transform: AutoregressiveTransform) -> None:
        self.transform = transform

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.transform.call_and_ladj(x)
        return y, log_slope.sum(-1)

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = self.transform._inverse(y)
        return x, self.transform.log_abs_det_jacobian(x, y).sum(-1)


class Reversed(Step):
    """The inverse of a step."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.step.pull(x)
        return y, -log_det

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.step.push(y)
        return x, -log_det
