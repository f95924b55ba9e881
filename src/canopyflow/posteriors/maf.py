"""Masked autoregressive flow (Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057).

Each layer shifts and scales a variable by amounts that depend on the *variables* before it. The density
at a point is therefore one network pass a layer, and a draw as many as there are variables: trained on
simulations it is cheap, drawing maps from it is not. ``iaf`` is the same flow walked the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._autoregressive import autoregressive_layers
from ._flow import Flow


class MaskedAutoregressiveFlow(Flow):
    """Conditional MAF. Options: ``transforms`` layers, ``hidden`` widths of their networks."""

    summary = "masked autoregressive flow: fast density, sequential draws"
    reference = "Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057"
    cost = "draw: D network passes a layer; density: 1"

    def __init__(
        self,
        dim: int,
        features: int,
        lower: Tensor,
        upper: Tensor,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        layers = autoregressive_layers(transforms, dim, features, hidden, sequential_push=True)
        super().__init__(dim, features, lower, upper, layers)


FAMILY = MaskedAutoregressiveFlow
