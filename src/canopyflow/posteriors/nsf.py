"""Neural spline flow, coupling form: RQ-NSF (C) of Durkan et al. 2019 (arXiv:1906.04032).

In each layer some variables pass through monotone rational-quadratic splines whose knots a network of the
others and of the features gives. A law that piles up at a bound with finite density is an ordinary
normal tail to the splines.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._coupling import coupling_layers
from ._flow import Flow
from ._spline import Spline, spline_parameters


class NeuralSpline(Flow):
    """Conditional spline coupling flow.

    Options: ``transforms`` coupling layers (at least two for every variable to be transformed once),
    ``hidden`` widths of the hidden layers of each, ``bins`` of the splines.
    """

    summary = "neural spline flow: coupled rational-quadratic splines, conditional on the pixel"
    reference = "Durkan et al. 2019, arXiv:1906.04032"
    cost = "draw: 1 network pass a layer; density: the same"

    def __init__(
        self,
        dim: int,
        features: int,
        lower: Tensor,
        upper: Tensor,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
    ) -> None:
        layers = coupling_layers(transforms, dim, features, hidden, Spline, spline_parameters(bins))
        super().__init__(dim, features, lower, upper, layers)


FAMILY = NeuralSpline
