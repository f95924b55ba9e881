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
        rows, columns = torch.tril_indices(dim, dim)
        self.register_buffer("place", rows * dim + columns, persistent=False)
        last = shrunk(nn.Linear(hidden, dim + len(rows)))
        self.network = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), last)

    place: Tensor

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Location (..., D) and lower Cholesky factor (..., D, D)."""
        return self.law(self.network(features))

    def law(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The same of raw outputs (..., D + D (D + 1)/2)."""
        loc, entries = raw.split([self.dim, raw.shape[-1] - self.dim], dim=-1)
        flat = raw.new_zeros((*raw.shape[:-1], self.dim**2))
        matrix = flat.index_copy(-1, self.place, entries).unflatten(-1, (self.dim, self.dim))
        diagonal = softly(matrix.diagonal(dim1=-2, dim2=-1), _FARTHEST_SCALE).exp()
        return loc, matrix.tril(-1) + torch.diag_embed(diagonal)


class StepHead(nn.Module):
    """Features of the node, y of its neighbour, the memory of the step and statics → law of an innovation."""

    def __init__(self, width: int, dim: int, statics: int, hidden: int) -> None:
        super().__init__()
        self.from_features = nn.Linear(width, hidden)
        self.from_step = nn.Linear(2 * dim + statics, hidden, bias=False)
        self.head = Head(hidden, dim, hidden)
        # What is linear in a linear model takes no network.
        self.direct = shrunk(nn.Linear(dim, dim))

    def forward(self, features: Tensor, y: Tensor, s: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` (n, hidden): :attr:`from_features` of the node."""
        step = torch.cat([y, rho.expand(y.shape), s], dim=-1)
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
        self.forward_step = StepHead(width, dim, statics, hidden)
        self.backward_step = StepHead(width, dim, statics, hidden)

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
        self._ahead = networks.forward_step.from_features(nodes)
        self._back = networks.backward_step.from_features(nodes)

    def statics(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if self.networks.statics is None:
            none = self.season.new_zeros((count, len(self.season), 0))
            return none, none.sum(-1)
        return self.networks.statics.rsample(self.season.expand(count, *self.season.shape), generator)

    def anchor(self, node: Tensor, s: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.season), device=node.device)
        features = torch.cat([self.nodes[rows, node], s], dim=-1)
        return self.networks.anchor.rsample(features, generator)

    def innovation(
        self, node: int, y: Tensor, s: Tensor, rho: Tensor, forward: bool
    ) -> tuple[Tensor, Tensor]:
        head = self.networks.forward_step if forward else self.networks.backward_step
        return head((self._ahead if forward else self._back)[:, node], y, s, rho)


def _log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
