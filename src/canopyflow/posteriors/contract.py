"""What every posterior family is: a map from features to a distribution over a box.

A :class:`Family` is a module; calling it on encoder features gives a :class:`Posterior`, in the manner of
``torch.distributions``. Callers never ask which family they hold.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from canopyflow.errors import DensityError

LogJoint = Callable[[Tensor], Tensor]
"""z (K, *batch, D) → log p(x, z) (K, *batch) of the batch the features came from; differentiable in z."""

EDGE = 1e-6
"""Samples keep this share of the width from either bound, so they are strictly inside also in float32."""


class Posterior(abc.ABC):
    """A distribution over (D,) variables inside their bounds, for each element of a batch.

    ``like`` (*batch, D) is any tensor of the posterior's, whose type and device its draws have.
    """

    has_density: bool = True
    """Whether :meth:`log_prob` is the exact density of :meth:`rsample`'s draws; else it has only a bound."""

    quantile_samples = 1000

    def __init__(self, like: Tensor) -> None:
        self._like = like

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the features without their last dimension."""
        return self._like.shape[:-1]

    @property
    def device(self) -> torch.device:
        """Where draws are made; a generator must live there too."""
        return self._like.device

    @abc.abstractmethod
    def rsample_and_log_prob(
        self, shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws (*shape, *batch, D), differentiable in the features, and their log q (*shape, *batch).

        For a family with auxiliary randomness log q is the extended-space term, for which
        E[p(x, z) / q] is still p(x), and E[log p(x, z) − log q] therefore a lower bound of log p(x).
        Without a ``generator`` torch's global one is used.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Exact log density (...) at ``z`` (..., D) in physical units; −inf outside the bounds.

        The leading dimensions of ``z`` broadcast with the batch. Raises DensityError for a family
        without an exact density (``has_density`` is false).
        """
        raise DensityError(
            f"{type(self).__name__} has no exact density",
            "use log_prob_bound, or the log q that comes with the draws of rsample_and_log_prob",
        )

    def log_prob_bound(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log density (...) at ``z`` (..., D), or one random draw of a lower bound of it; −inf outside.

        Exactly :meth:`log_prob` where the family has a density. Elsewhere the auxiliary variables are
        drawn from the reverse model, so that E[exp(bound)] = q(z) and E[bound] ≤ log q(z).
        """
        return self.log_prob(z)

    def kl_uniform(self) -> Tensor | None:
        """KL divergence (*batch, D) of each variable from the uniform distribution on its bounds, in nats.

        Only in closed form and where the variables are independent, so that the sum over variables is the
        divergence of all variables together; None elsewhere.
        """
        return None

    def rsample(self, shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draws (*shape, *batch, D), in physical units, differentiable in the features."""
        return self.rsample_and_log_prob(shape, generator)[0]

    def quantile(self, p: float | Tensor) -> Tensor:
        """Marginal quantiles: (*batch, D) for a number, (P, *batch, D) for a vector of P levels in (0, 1).

        A family without a closed form takes those of a thousand draws from a fixed seed.
        """
        generator = torch.Generator(device=self.device).manual_seed(0)
        with torch.no_grad():
            draws = self.rsample((self.quantile_samples,), generator)
        return torch.quantile(draws, torch.as_tensor(p, dtype=draws.dtype, device=draws.device), dim=0)

    def _noise(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Standard normal numbers of ``shape``."""
        return standard_normal(shape, self._like, generator)


def standard_normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of ``shape`` in the type and on the device of ``like``."""
    return torch.randn(tuple(shape), generator=generator, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Setting:
    """What every family is built for: ``dim`` variables within ``lower``, ``upper`` (dim,).

    ``features`` is the length of the encoder's output.
    """

    dim: int
    features: int
    lower: Tensor
    upper: Tensor


class Family(nn.Module, abc.ABC):
    """Features (*batch, features) → :class:`Posterior` over ``dim`` variables within ``lower``, ``upper``.

    The bounds are buffers outside the state dict, because the bundle's ``model.json`` holds them. A family's
    class attributes describe it: ``kin`` names the construction that it shares with others, ``summary`` is
    one line, ``reference`` says where it was published, ``cost`` what a draw and a density take, and
    ``has_density`` whether its ``log_prob`` is exact.
    """

    kin: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    cost: ClassVar[str]
    has_density: ClassVar[bool] = True
    lower: Tensor
    upper: Tensor

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.dim, self.features = setting.dim, setting.features
        self.register_buffer("lower", setting.lower.detach().clone(), persistent=False)
        self.register_buffer("upper", setting.upper.detach().clone(), persistent=False)

    @property
    def box(self) -> Box:
        """The map between the unit cube and the bounds."""
        return Box(self.lower, self.upper)

    @abc.abstractmethod
    def forward(self, h: Tensor, log_joint: LogJoint | None = None) -> Posterior:
        """The posterior given features ``h``; families that follow the target use ``log_joint``."""


class Box:
    """The affine map between the unit cube and the bounds, safe against rounding."""

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self.lower, self.width = lower, upper - lower
        self.log_volume = self.width.log().sum()
        # Where the bounds are large against their distance, EDGE vanishes in rounding.
        self._first = torch.nextafter(lower, upper)
        self._last = torch.nextafter(upper, lower)

    def outward(self, unit: Tensor) -> Tensor:
        """Points of the unit cube to physical units, strictly inside the bounds."""
        z = self.lower + self.width * unit
        return torch.maximum(torch.minimum(z, self._last), self._first)

    def inward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Physical points to the cube, kept ``EDGE`` from its faces, and whether each was within (...)."""
        unit = (z - self.lower) / self.width
        within = ((unit >= 0.0) & (unit <= 1.0)).all(-1)
        return unit.clamp(EDGE, 1.0 - EDGE), within
