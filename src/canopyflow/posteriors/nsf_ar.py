"""Neural spline flow, autoregressive form: RQ-NSF (AR) of the paper.

This is the chain rule taken literally: each variable, given those before it and the features h, has one
spline of its own:

    q(y | h) = Π q(yᵢ | y₁ … yᵢ₋₁, h),    εᵢ = splineᵢ((yᵢ − tᵢ) / sᵢ)

Shift tᵢ, scale sᵢ and the knots of spline i come from network i (two hidden layers), which sees y₁ … yᵢ₋₁
and h. There is one layer and no permutation: any distribution has such factors, so none is needed. All
factors of a density are evaluated at once; a draw takes them one after another, each once, which is the same
arithmetic in D smaller pieces. (A masked network, as in ``maf``, would be evaluated whole D times.) The
splines are zuko's.

It is the choice when draws are to be refined by importance weights or compared with the true posterior:
trained on simulations it comes closest to it, and a draw costs about twice as much as one of ``nsf``. What
remains is the error of the networks, which grows along the order of the variables. Separate islands far
apart stay joined by a thin bridge.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._affine import PARAMETERS, affine
from ._flow import Flow, Layer, Step
from ._spline import Spline, spline_parameters
from .contract import Setting


class AutoregressiveSpline(Flow):
    """Options: ``hidden`` width of both hidden layers of each variable's network, ``bins`` of the splines."""

    summary = "autoregressive neural spline flow: one spline for each variable given those before it"
    reference = "Durkan et al. 2019, arXiv:1906.04032"
    cost = "draw: 1 small network per variable, one after another; density: the same, all at once"

    def __init__(self, setting: Setting, hidden: int = 64, bins: int = 12) -> None:
        super().__init__(setting, [Conditionals(setting.dim, setting.features, hidden, bins)])


class Conditionals(Layer):
    """D networks side by side: network i sees the features and the variables before the i-th."""

    before: Tensor

    def __init__(self, dim: int, features: int, hidden: int, bins: int) -> None:
        super().__init__()
        self.dim, self.hidden = dim, hidden
        numbers = PARAMETERS + spline_parameters(bins)
        self.from_features = nn.Linear(features, dim * hidden)
        self.from_before = nn.Parameter(_linear(dim, dim, hidden))
        self.middle = nn.Parameter(_linear(dim, hidden, hidden))
        self.middle_bias = nn.Parameter(torch.zeros(dim, hidden))
        # Small, so that the layer starts near the identity; not zero, so that everything gets a gradient.
        self.last = nn.Parameter(0.1 * _linear(dim, hidden, numbers))
        self.last_bias = nn.Parameter(torch.zeros(dim, numbers))
        before = torch.ones(dim, dim).tril(-1).unsqueeze(-1)
        self.register_buffer("before", before, persistent=False)

    def forward(self, h: Tensor) -> Step:
        context = self.from_features(h).unflatten(-1, (self.dim, self.hidden))
        return ConditionalsStep(self, context.movedim(-2, 0))

    def at_once(self, context: Tensor, y: Tensor) -> Tensor:
        """Raw parameters (..., D, P) of every factor at ``y`` (..., D); ``context`` (D, *batch, hidden)."""
        first = torch.einsum("...j,ijh->i...h", y, self.from_before * self.before)
        # Draws of the same pixel share its context.
        first = first + context.reshape(self.dim, *(1,) * (first.ndim - context.ndim), *context.shape[1:])
        flat = F.silu(first).reshape(self.dim, -1, self.hidden)
        flat = F.silu(torch.baddbmm(self.middle_bias.unsqueeze(1), flat, self.middle))
        raw = torch.baddbmm(self.last_bias.unsqueeze(1), flat, self.last)
        return raw.reshape(*first.shape[:-1], -1).movedim(0, -2)

    def one(self, i: int, context: Tensor, before: list[Tensor]) -> Tensor:
        """Raw parameters (..., P) of factor ``i`` given the variables ``before`` it."""
        first = context[i]
        if before:
            first = first + torch.stack(before, -1) @ self.from_before[i, :i]
        hidden = F.silu(F.silu(first) @ self.middle[i] + self.middle_bias[i])
        return hidden @ self.last[i] + self.last_bias[i]


class ConditionalsStep(Step):
    """Noise x_i = spline(y_i scaled and shifted), its shape given y_<i: pulls at once, pushes in turn."""

    def __init__(self, layer: Conditionals, context: Tensor) -> None:
        self.layer, self.context = layer, context

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        done: list[Tensor] = []
        log_det = torch.zeros_like(x[..., 0])
        for i, noise in enumerate(x.unbind(-1)):
            raw = self.layer.one(i, self.context, done)
            raw = raw.expand(*noise.shape, raw.shape[-1])
            scale, spline = affine(raw[..., :PARAMETERS]), Spline(raw[..., PARAMETERS:])
            inner = spline._inverse(noise)
            y = scale(inner)
            done.append(y)
            log_det = log_det + scale.log_abs_det_jacobian(inner, y) - spline.call_and_ladj(inner)[1]
        return torch.stack(done, -1), log_det

    def pull(self, y: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.layer.at_once(self.context, y)
        scale, spline = affine(raw[..., :PARAMETERS]), Spline(raw[..., PARAMETERS:])
        inner = scale._inverse(y)
        x, log_slope = spline.call_and_ladj(inner)
        return x, (scale.log_abs_det_jacobian(inner, y) - log_slope).sum(-1)


def _linear(dim: int, inputs: int, outputs: int) -> Tensor:
    """Weights (dim, inputs, outputs) as those of a new ``nn.Linear``."""
    return (2.0 * torch.rand(dim, inputs, outputs) - 1.0) / math.sqrt(inputs)


FAMILY = AutoregressiveSpline
