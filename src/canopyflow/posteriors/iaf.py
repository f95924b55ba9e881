"""Inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934).

Each layer shifts and scales a variable by amounts that depend on the *noise* before it. A draw with its
density is therefore one network pass a layer, and the density at another point as many as there are
variables: made for the evidence lower bound and for maps. ``maf`` is the same flow walked the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._autoregressive import autoregressive_layers
from ._flow import Flow


class InverseAutoregressiveFlow(Flow):
    """Conditional IAF. Options: ``transforms`` layers, ``hidden`` widths of their networks."""

    summary = "inverse autoregressive flow: fast draws, sequential density"
    reference = "Kingma et al. 2016, arXiv:1606.04934"
    cost = "draw: 1 network pass a layer; density: D"

    def __init__(
        self,
        dim: int,
        features: int,
        lower: Tensor,
        upper: Tensor,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        layers = autoregressive_layers(transforms, dim, features, hidden, sequential_push=False)
        super().__init__(dim, features, lower, upper, layers)


FAMILY = InverseAutoregressiveFlow
