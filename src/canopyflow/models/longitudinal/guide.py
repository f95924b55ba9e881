"""The posterior of paths: anchor, innovations and statics from what a reader says."""

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError
from canopyflow.models.longitudinal.law import LOG_2PI
from canopyflow.posteriors._autoregressive import Autoregressive
from canopyflow.posteriors._bounds import shrunk, softly
from canopyflow.posteriors.contract import standard_normal

POSTERIORS = ("gaussian", "iaf")
_IAF_LAYERS = 2
_FARTHEST_SCALE = 6.0


class Head(nn.Module):
    """Features → a normal law with a full covariance over ``dim`` coordinates, standard at the start."""

    def __init__(self, features: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        # A whole matrix, half of which is not used: steps are many and small, and so is this.
        last = shrunk(nn.Linear(hidden, dim * (dim + 1)))
        self.network = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Location (..., D) and lower Cholesky factor (..., D, D)."""
        raw = self.network(features).unflatten(-1, (self.dim + 1, self.dim))
        loc, matrix = raw[..., 0, :], raw[..., 1:, :]
        diagonal = softly(matrix.diagonal(dim1=-2, dim2=-1), _FARTHEST_SCALE).exp()
        return loc, matrix.tril(-1) + torch.diag_embed(diagonal)


class StepHead(nn.Module):
    """Features of the node, y of its neighbour, the memory of the step and statics → law of an innovation.

    Both directions share all but what is read of the features, and are computed at once.
    """

    def __init__(self, width: int, dim: int, statics: int, hidden: int) -> None:
        super().__init__()
        self.ahead, self.back = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.from_step = nn.Linear(2 * dim + statics, hidden, bias=False)
        self.head = Head(hidden, dim, hidden)
        # What is linear in a linear model takes no network.
        self.direct = shrunk(nn.Linear(dim, dim))

    def forward(self, features: Tensor, y: Tensor, s: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` (2, 1, n, hidden): what is read of the nodes; y (2, K, n, D), s (K, n, S), rho (2, n,
        D)."""
        parts = [y, rho[:, None].expand(y.shape), s.expand(2, *s.shape)]
        step = torch.cat(parts, dim=-1)
        loc, factor = self.head(torch.nn.functional.silu(features + self.from_step(step)))
        return loc + self.direct(y), factor


class GuideNetwork(nn.Module):
    """The networks of a guide; called on features it gives the guide of one batch.

    ``posterior``: "gaussian" for normal laws of anchor and statics, "iaf" to put inverse autoregressive
    layers on them. Raises ConfigError for another.
    """

    def __init__(self, width: int, dim: int, statics: int, posterior: str = "iaf", hidden: int = 64) -> None:
        super().__init__()
        if posterior not in POSTERIORS:
            raise ConfigError(
                f"posterior {posterior!r} of paths is unknown", f"known: {', '.join(POSTERIORS)}"
            )
        layers = _IAF_LAYERS if posterior == "iaf" else 0
        self.anchor = Law(width + statics, dim, layers, hidden)
        self.statics = Law(width, statics, layers, hidden) if statics else None
        self.step = StepHead(width, dim, statics, hidden)

    def forward(self, nodes: Tensor, season: Tensor) -> "BatchGuide":
        return BatchGuide(self, nodes, season)


class Law(nn.Module):
    """Features → a normal law and ``layers`` inverse autoregressive ones on it."""

    def __init__(self, features: int, dim: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.head = Head(features, dim, hidden)
        width = (max(hidden, dim),) * 2
        orders = (torch.arange(dim), torch.arange(dim).flip(0))
        self.layers = nn.ModuleList(
            Autoregressive(orders[i % 2], features, width, sequential_push=False) for i in range(layers)
        )

    def rsample(self, features: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """A draw (..., D) for each of ``features`` (..., F), and its log density (...)."""
        loc, factor = self.head(features)
        noise = standard_normal(loc.shape, loc, generator)
        log_q = -0.5 * (noise.square() + LOG_2PI).sum(-1) - _log_det(factor)
        x = loc + (factor @ noise[..., None])[..., 0]
        for layer in self.layers:
            x, log_det = layer(features).push(x)
            log_q = log_q - log_det
        return x, log_q

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """Log density (...) at ``z`` (..., D); ``features`` (..., F) broadcast with it."""
        total = torch.zeros_like(z[..., 0])
        for layer in reversed(self.layers):
            z, log_det = layer(features).pull(z)
            total = total - log_det
        loc, factor = self.head(features)
        noise = torch.linalg.solve_triangular(factor, (z - loc)[..., None], upper=False)[..., 0]
        return total - 0.5 * (noise.square() + LOG_2PI).sum(-1) - _log_det(factor)


class BatchGuide:
    """The guide of features ``nodes`` (n, T + 1, F) and ``season`` (n, F); see :mod:`.paths`."""

    def __init__(self, networks: GuideNetwork, nodes: Tensor, season: Tensor) -> None:
        self.networks, self.nodes, self.season = networks, nodes, season
        # Of all nodes at once: the steps are many and small.
        self._read = torch.stack([networks.step.ahead(nodes), networks.step.back(nodes)])

    def statics(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if self.networks.statics is None:
            none = self.season.new_zeros((count, len(self.season), 0))
            return none, none.sum(-1)
        return self.networks.statics.rsample(self.season.expand(count, *self.season.shape), generator)

    def anchor(self, node: Tensor, s: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.season), device=node.device)
        features = torch.cat([self.nodes[rows, node], s], dim=-1)
        return self.networks.anchor.rsample(features, generator)

    def innovations(self, nodes: tuple[int, int], y: Tensor, s: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        ahead, back = nodes
        features = torch.stack([self._read[0, :, ahead], self._read[1, :, back]])
        law: tuple[Tensor, Tensor] = self.networks.step(features[:, None], y, s, rho)
        return law


def _log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
