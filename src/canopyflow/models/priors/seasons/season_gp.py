"""Gaussian processes: what a pixel keeps all season, and what changes within weeks.

The normal score of variable k is w_k(t) = √c_k a_k + √(1 − c_k) g_k(t): a_k ~ N(0, 1) is the pixel's own
constant, g_k a Matérn-3/2 process of unit variance and length ℓ_k days. Variables are independent of each
other, and every single date keeps exactly the law of the pixel model, so that the posterior of a season of
one date is that of the pixel model.
"""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor

from canopyflow.models.generative.contract import Generative
from canopyflow.models.priors.seasons.contract import SeasonPrior
from canopyflow.options import Table, check_tables

SOIL, STRUCTURE, CONTENTS = (0.97, 60.0), (0.95, 60.0), (0.5, 35.0)

BEHAVIOUR: dict[str, tuple[float, float]] = {
    "lai": (0.1, 28.0),
    "soil_moisture": (0.2, 4.0),
    # The dry share of PROSAIL's soil: partly which soil it is, partly how wet it is.
    "psoil": (0.7, 4.0),
    "rsoil": SOIL,
    "soil_*": SOIL,
    "N": STRUCTURE,
    "cm": STRUCTURE,
    "lidfa": STRUCTURE,
    "hspot": STRUCTURE,
    "dead_N": STRUCTURE,
    "dead_cm": STRUCTURE,
    "clumping": STRUCTURE,
    "cover": STRUCTURE,
    "contrast": STRUCTURE,
    "shade": STRUCTURE,
    "*": CONTENTS,
}
"""Constant share c of the variance and length ℓ in days, by name of the variable; the first pattern that
matches counts. What no other line names changes like pigments and water do. Pigments and water change over a
month and differ between fields as much as within one; leaf area is made anew each season; structure of leaves
and canopy, and the soil, hardly change; the soil's moisture is that of the last rain."""

JITTER = 1e-10
"""Added to the diagonal before it is factored: two dates may fall on the same day."""


OWN = 1e-4
"""Variance of its own that a date has where innovations are told: float32 knows no finer ones."""


class SeasonGP(SeasonPrior):
    """``constant``: share c of the variance, by variable; ``length``: days ℓ, by variable; what they do not
    name is as in :data:`BEHAVIOUR`. Raises ConfigError for a variable that the pixel model lacks, for a share
    outside [0, 1], for a length that is not positive."""

    TABLES: ClassVar[Mapping[str, Table]] = {"constant": {"share": ("*",)}, "length": {"positive": ("*",)}}
    has_density = True
    shares: Tensor
    lengths: Tensor

    def __init__(
        self,
        base: Generative,
        constant: Mapping[str, float] | None = None,
        length: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(base)
        check_tables("season_gp", self.TABLES, {"constant": constant, "length": length}, self.names)
        constant, length, own = constant or {}, length or {}, {}
        for name in self.names:
            c, days = behaviour(name)
            own[name] = (constant.get(name, c), length.get(name, days))
        # Variables that behave alike share a covariance, which is factored once.
        kinds = sorted(set(own.values()))
        self._kind = [kinds.index(own[name]) for name in self.names]
        c, days = torch.tensor(kinds, dtype=torch.float64).T
        self.register_buffer("shares", c.clone(), persistent=False)
        self.register_buffer("lengths", days.clone(), persistent=False)

    def covariance(self, day: Tensor) -> Tensor:
        """Of the normal scores between dates, (n, D, T, T) in float64, for ``day`` (n, T): its diagonal is
        one. Variables are independent."""
        return self._covariances(day)[:, self._kind]

    def root(self, day: Tensor) -> Tensor:
        """Cholesky factors (n, D, T, T) of :meth:`covariance`, in float64."""
        return self._roots(day)[:, self._kind]

    def expected(self, day: Tensor) -> Tensor:
        covariances = self._covariances(day)
        eye = torch.eye(day.shape[-1], dtype=torch.float64, device=day.device)
        return torch.linalg.cholesky((covariances + OWN * eye) / (1.0 + OWN))[:, self._kind]

    def sample(self, day: Tensor, generator: torch.Generator | None = None) -> Tensor:
        n, dates = day.shape
        normal = torch.randn(
            n, len(self.names), dates, generator=generator, dtype=torch.float64, device=day.device
        )
        w = torch.einsum("nkts,nks->ntk", self.root(day), normal)
        return w.to(torch.get_default_dtype())

    def log_prob(self, w: Tensor, day: Tensor) -> Tensor:
        roots = self._roots(day)
        total: Tensor = w.new_zeros(w.shape[:-2], dtype=torch.float64)
        for kind in range(len(self.shares)):
            own = [k for k, other in enumerate(self._kind) if other == kind]
            # (*sample, n, T, variables of this kind)
            white = torch.linalg.solve_triangular(roots[:, kind], w[..., own].double(), upper=False)
            log_det = roots[:, kind].diagonal(dim1=-2, dim2=-1).log().sum(-1)
            total = total - 0.5 * white.square().sum((-2, -1)) - len(own) * log_det
        constant = 0.5 * math.log(2.0 * math.pi) * w.shape[-1] * w.shape[-2]
        return (total - constant).to(w.dtype)

    def _roots(self, day: Tensor) -> Tensor:
        covariance = self._covariances(day)
        eye = torch.eye(day.shape[-1], dtype=torch.float64, device=day.device)
        root: Tensor = torch.linalg.cholesky(covariance + JITTER * eye)
        return root

    def _covariances(self, day: Tensor) -> Tensor:
        """(n, kinds, T, T)."""
        day = day.double()
        apart = (day[:, None, :, None] - day[:, None, None, :]).abs()
        c = self.shares.to(day)[:, None, None]
        scaled = math.sqrt(3.0) * apart / self.lengths.to(day)[:, None, None]
        return c + (1.0 - c) * (1.0 + scaled) * torch.exp(-scaled)


def behaviour(name: str) -> tuple[float, float]:
    """Constant share and length in days of the variable ``name``, see :data:`BEHAVIOUR`."""
    return next(value for pattern, value in BEHAVIOUR.items() if fnmatchcase(name, pattern))


PRIOR = SeasonGP
