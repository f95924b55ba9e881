"""Coupling layers (Dinh et al. 2017): some variables are transformed, as a network of the rest prescribes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.nn import MLP

from ._bounds import shrunk
from ._flow import Layer, Step
from .contract import Setting

Univariate = Callable[[Tensor], Transform]
"""Raw parameters (..., d, P) → an elementwise transform of (..., d)."""


def coupling_layers(
    setting: Setting, number: int, hidden: Sequence[int], univariate: Univariate, parameters: int
) -> list[Layer]:
    """``number`` layers in pairs of complements, so that every second one moves the rest."""
    splits = (split(setting.dim, i) for i in range(number))
    return [Coupling(*each, setting.features, hidden, univariate, parameters) for each in splits]


class Coupling(Layer):
    """Transforms the variables ``moved`` as a network of the variables ``kept`` and the features prescribes.

    The features' share of the first hidden layer is computed once per pixel, not once per draw.
    """

    moved: Tensor
    kept: Tensor
    back: Tensor

    def __init__(
        self,
        moved: Tensor,
        kept: Tensor,
        features: int,
        hidden: Sequence[int],
        univariate: Univariate,
        parameters: int,
    ) -> None:
        super().__init__()
        self.univariate = univariate
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("back", torch.argsort(torch.cat([moved, kept])), persistent=False)
        first, *others = hidden
        self.from_features = nn.Linear(features, first)
        self.from_kept = nn.Linear(len(kept), first, bias=False) if len(kept) else None
        self.network = MLP(first, len(moved) * parameters, others)
        shrunk(self.network[-1])

    def forward(self, h: Tensor) -> Step:
        return CouplingStep(self, self.from_features(h))

    def transform(self, context: Tensor, kept: Tensor) -> Any:
        """The transform of the moved variables, one of torch's to which zuko adds ``call_and_ladj``."""
        hidden = context if self.from_kept is None else context + self.from_kept(kept)
        return self.univariate(self.network(torch.relu(hidden)).unflatten(-1, (len(self.moved), -1)))


class CouplingStep(Step):
    """``context`` (*batch, hidden) is the features' share of the first hidden layer."""

    def __init__(self, layer: Coupling, context: Tensor) -> None:
        self.layer, self.context = layer, context

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layer, kept = self.layer, x[..., self.layer.kept]
        moved, log_slope = layer.transform(self.context, kept).call_and_ladj(x[..., layer.moved])
        return torch.cat([moved, kept], -1)[..., layer.back], log_slope.sum(-1)

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        layer, kept = self.layer, y[..., self.layer.kept]
        transform = layer.transform(self.context, kept)
        moved = transform._inverse(y[..., layer.moved])
        log_slope = transform.call_and_ladj(moved)[1]
        return torch.cat([moved, kept], -1)[..., layer.back], log_slope.sum(-1)


def split(dim: int, layer: int) -> tuple[Tensor, Tensor]:
    """Indices moved and kept by coupling layer number ``layer``.

    Each pair of layers splits by another binary digit of the index, so that sooner or later any two
    variables stand on opposite sides. A single variable always moves.
    """
    index = torch.arange(dim)
    if dim == 1:
        return index, index[:0]
    side = (index >> (layer // 2 % (dim - 1).bit_length())) % 2 == layer % 2
    return index[side], index[~side]
