"""Neural spline flow, coupling form: RQ-NSF (C) of the paper.

Coupling layers as in ``realnvp``, but each moved variable goes through a monotone rational-quadratic spline
on [−5, 5], the identity outside, whose knots and slopes come from a network of the kept variables and the
features:

    y_k = x_k,    y_m = spline(x_m; knots(x_k, h))

It takes one network pass per layer in either direction; the inverse of a spline is the root of a quadratic.
Mass that piles up at a bound with finite density is an ordinary normal tail to the splines, which are zuko's.

It is the first choice where the shape of the posterior matters: skew, edges, several modes and trade-offs.
Separate islands far apart stay joined by a thin bridge.
"""

from collections.abc import Sequence

from ._coupling import coupling_layers
from ._flow import Flow
from ._spline import Spline, spline_parameters
from .contract import Setting


class NeuralSpline(Flow):
    """Options: ``transforms`` layers, ``hidden`` widths of their networks, ``bins`` of each spline.

    Two layers are the least with which every variable is moved once.
    """

    summary = "neural spline flow: coupled rational-quadratic splines, conditional on the pixel"
    reference = "Durkan et al. 2019, arXiv:1906.04032"
    cost = "draw: 1 network pass per layer; density: the same"

    def __init__(
        self, setting: Setting, transforms: int = 3, hidden: Sequence[int] = (64, 64), bins: int = 8
    ) -> None:
        layers = coupling_layers(setting, transforms, hidden, Spline, spline_parameters(bins))
        super().__init__(setting, layers)


FAMILY = NeuralSpline
