"""Ladder: several stochastic layers, each the precision-weighted merger of what comes from above and below.

Auxiliary variables in layers u₁ … u_L above the variables, and y = u₀:

    q(y, u₁ … u_L | x) = q(u_L | x) ∏ᵢ q(uᵢ | uᵢ₊₁, x),    i = L−1 … 0

all diagonal normals. The distribution of a layer is the normalised product of two normals: what a network of
uᵢ₊₁ and the features hands down (for the top layer N(0, 1)), and what a network that climbs from the features
says, so that their locations are averaged by precision. y has no climber, for the coordinates are one.

log q = log q(y, u | x) − Σ log r(uᵢ | uᵢ₊₁, y, x), with unbiased weights whatever the reverse model r is. It
sees all that the posterior of a layer under q depends on, and is not merged with q's layers: a reverse model
that leans on q costs nothing where it says nothing, and in trials of that form training dropped every layer.

``layer_kl()`` of the posterior gives the nats that each layer shares with the variables, (L, *batch), u₁
first: near zero is a layer that is not used. In the linear-Gaussian test of five variables the second layer
stayed all but unused (0.003 nats): one layer suffices there, and ``auxiliary`` is the simpler choice.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._extended import ConditionalNormal, ExtendedFamily, ExtendedPosterior, Normal
from .contract import LogJoint, Posterior, Setting

CLIMB_START, CLIMB_LOG_SCALE = 1.0, (-0.7, 4.0)
"""What climbs starts vague, and may stay so: then a layer is as its upper neighbour has it."""


class Ladder(ExtendedFamily):
    """Options: ``sizes`` of the layers u₁ … u_L from the bottom up, ``hidden`` width of the networks."""

    kin = "auxiliary"
    summary = "ladder of stochastic layers, top-down and bottom-up merged by precision"
    reference = "Sønderby et al. 2016, arXiv:1602.02282"
    cost = "draw: a network pass per layer and the reverse model's; bound: the same"

    def __init__(self, setting: Setting, sizes: Sequence[int] = (6, 3), hidden: int = 64) -> None:
        super().__init__(setting)
        dim, features = self.dim, self.features
        self.climb = Climb(features, sizes, hidden)
        self.reverse = nn.ModuleList(
            ConditionalNormal(dim + above, features, size, hidden)
            for size, above in zip(sizes, (*sizes[1:], 0), strict=True)
        )
        self.descend = nn.ModuleList(
            ConditionalNormal(above, features, below, hidden) for below, above in pairwise((dim, *sizes))
        )

    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        return LadderPosterior(self, h)


class Climb(nn.Module):
    """A deterministic path upwards, (..., inputs) → one :class:`Normal` for each layer, bottom first."""

    def __init__(self, inputs: int, sizes: Sequence[int], hidden: int) -> None:
        super().__init__()
        befores = (inputs, *(hidden,) * (len(sizes) - 1))
        self.steps = nn.ModuleList(nn.Linear(before, hidden) for before in befores)
        self.heads = nn.ModuleList(nn.Linear(hidden, 2 * size) for size in sizes)

    def forward(self, x: Tensor) -> list[Normal]:
        normals = []
        for step, head in zip(self.steps, self.heads, strict=True):
            x = F.silu(step(x))
            normals.append(Normal.bounded(head(x), CLIMB_START, CLIMB_LOG_SCALE))
        return normals


class LadderPosterior(ExtendedPosterior):
    """``evidence``: what climbs from the features to u₁ … u_L."""

    def __init__(self, family: Ladder, h: Tensor) -> None:
        super().__init__(family.coordinates(h))
        self.evidence: list[Normal] = family.climb(h)
        self._reversed = [layer for layer in family.reverse if isinstance(layer, ConditionalNormal)]
        self._reversed_contexts = [layer.context(h) for layer in self._reversed]
        self._descend = [layer for layer in family.descend if isinstance(layer, ConditionalNormal)]
        self._contexts = [layer.context(h) for layer in self._descend]

    def layer_kl(self, samples: int = 100, generator: torch.Generator | None = None) -> Tensor:
        """Nats that each auxiliary layer shares with the variables, (L, *batch), bottom layer first.

        The mean over draws of KL(r(uᵢ | uᵢ₊₁, y, x) ‖ q(uᵢ | uᵢ₊₁, x)). Zero is a layer without use: the
        variables say nothing of it.
        """
        with torch.no_grad():
            u, normals = self._draw((samples,), generator)
            pairs = zip(self._guesses(u), normals[1:], strict=True)
            return torch.stack([guess.kl(normal).mean(0) for guess, normal in pairs])

    def _top(self) -> Normal:
        evidence = self.evidence[-1]
        return evidence.merged(Normal(torch.zeros_like(evidence.loc), torch.zeros_like(evidence.loc)))

    def _below(self, i: int, above: Tensor) -> Normal:
        """q(uᵢ | uᵢ₊₁, x)."""
        normal: Normal = self._descend[i](self._contexts[i], above)
        return normal.merged(self.evidence[i - 1]) if i else normal

    def _guess(self, i: int, y: Tensor, above: Sequence[Tensor]) -> Normal:
        """r(uᵢ | uᵢ₊₁, y, x), of the layers ``above`` the next one."""
        known = torch.cat([y, *above[:1]], -1)
        return self._reversed[i - 1](self._reversed_contexts[i - 1], known)

    def _guesses(self, u: Sequence[Tensor]) -> list[Normal]:
        """r of u₁ … u_L, given y, u₁ … u_L."""
        return [self._guess(i, u[0], u[i + 1 :]) for i in range(1, len(u))]

    def _draw(
        self, shape: Sequence[int], generator: torch.Generator | None
    ) -> tuple[list[Tensor], list[Normal]]:
        """y, u₁ … u_L, each (*shape, *batch, size), and the normals they were drawn from."""
        normals = [self._top()]
        u = [normals[0].transform(self._noise((*shape, *normals[0].loc.shape), generator))]
        for i in reversed(range(len(self._descend))):
            normals.insert(0, self._below(i, u[0]))
            u.insert(0, normals[0].transform(self._noise(normals[0].loc.shape, generator)))
        return u, normals

    def _forward(self, shape: Sequence[int], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        u, normals = self._draw(shape, generator)
        return u[0], _log_ratio(u, normals, self._guesses(u))

    def _reverse(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        u, normals, guesses = list[Tensor](), [self._top()], list[Normal]()
        for i in reversed(range(1, len(self._reversed) + 1)):
            guesses.insert(0, self._guess(i, y, u))
            u.insert(0, guesses[0].transform(self._noise(guesses[0].loc.shape, generator)))
            normals.insert(0, self._below(i - 1, u[0]))
        return _log_ratio([y, *u], normals, guesses)


def _log_ratio(u: Sequence[Tensor], normals: Sequence[Normal], guesses: Sequence[Normal]) -> Tensor:
    """log q(y, u | x) − log r(u | y, x), given q of y, u₁ … u_L and r of u₁ … u_L."""
    total = normals[0].log_prob(u[0])
    for layer, normal, guess in zip(u[1:], normals[1:], guesses, strict=True):
        total = total + normal.log_prob(layer) - guess.log_prob(layer)
    return total


FAMILY = Ladder
