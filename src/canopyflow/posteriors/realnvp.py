"""Real NVP: affine coupling layers.

In each layer some variables (k) are kept and the others (m) are shifted and scaled:

    y_k = x_k,    y_m = x_m · exp(s(x_k, h)) + t(x_k, h)

where a network of the kept variables and the features h gives s and t. Successive layers swap the roles, and
pairs of layers split the variables differently, so that any two of them meet. Shifts stay within ±6 and
scales within [0.01, 100], in units of the noise. log |∂y/∂x| = Σ s. The affine map is zuko's.

It is a cheaper ``nsf``: both directions cost the same, so it trains on simulations and on the bound alike.
Given the kept variables, a layer leaves the others normal: sharp edges, several modes and heavy skew take
many layers.
"""

from collections.abc import Sequence

from ._affine import PARAMETERS, affine
from ._coupling import coupling_layers
from ._flow import Flow
from .contract import Setting


class RealNVP(Flow):
    """Options: ``transforms`` layers, ``hidden`` widths of their networks."""

    summary = "real NVP: coupled shifts and scales, conditional on the pixel"
    reference = "Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803"
    cost = "draw: 1 network pass per layer; density: the same"

    def __init__(self, setting: Setting, transforms: int = 6, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(setting, coupling_layers(setting, transforms, hidden, affine, PARAMETERS))


FAMILY = RealNVP
