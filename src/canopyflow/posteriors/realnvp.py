"""Real NVP (Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803): affine coupling layers.

In each layer some variables are shifted and scaled by amounts that a network of the others and of the
features gives. Shift and scale are bounded, which costs nothing in the range of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._affine import PARAMETERS, affine
from ._coupling import coupling_layers
from ._flow import Flow


class RealNVP(Flow):
    """Conditional affine coupling flow.

    Options: ``transforms`` layers, ``hidden`` widths of their networks.
    """

    summary = "real NVP: coupled shifts and scales, conditional on the pixel"
    reference = "Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803"
    cost = "draw: 1 network pass a layer; density: the same"

    def __init__(
        self,
        dim: int,
        features: int,
        lower: Tensor,
        upper: Tensor,
        transforms: int = 6,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        layers = coupling_layers(transforms, dim, features, hidden, affine, PARAMETERS)
        super().__init__(dim, features, lower, upper, layers)


FAMILY = RealNVP
