"""What a posterior of seasons reads: features of every date, observed or only asked about.

Tokens are nodes of the path. Those with a valid band are read by all; the others (hidden dates, the origin)
read and are not read. What stands under an invalid entry changes nothing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canopyflow.models.longitudinal.law import year
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import PLATFORMS

_HARMONICS = 4
_HEADS = 4
_FAR = 400.0
"""Days that stand for a neighbour that does not exist."""


class Reader(nn.Module):
    """Seasons in order of day → features (n, T + 1, width) of the origin and of each date, and of the season.

    ``context``: whether dates know of each other; without, z_j ~ q(· | x_j) as published. ``mean`` and
    ``deviation`` (band) of the training data are set by :meth:`standardise`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, bands: Sequence[str], width: int = 64, layers: int = 2, context: bool = True) -> None:
        super().__init__()
        self.bands, self.width, self.context = tuple(bands), width, context
        count = len(self.bands)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        own = 2 * count + 1 + 3 + len(PLATFORMS) + 2 * _HARMONICS
        around = 2 * (count + 1) if context else 0
        self.embed = nn.Sequential(nn.Linear(own + around, width), nn.SiLU(), nn.Linear(width, width))
        self.season = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers if context else 0))
        self.norm = nn.LayerNorm(width)

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Set mean and deviation to those of the valid entries of ``seen``."""
        valid, value = seen.valid.flatten(0, -2), seen.reflectance.flatten(0, -2)
        count = valid.sum(0).clamp(min=2)
        mean = torch.where(valid, value, 0.0).sum(0) / count
        square = torch.where(valid, value - mean, 0.0).square().sum(0) / (count - 1)
        self.mean.copy_(mean)
        self.deviation.copy_(square.sqrt().clamp(min=1e-6))

    def forward(self, seen: Observation, origin: float) -> tuple[Tensor, Tensor]:
        """Features (n, T + 1, width) of the nodes, and (n, width) of the season. Dates must be in order."""
        assert seen.day is not None
        day = F.pad(seen.day.to(self.mean), (1, 0), value=origin)
        valid = F.pad(seen.valid, (0, 0, 1, 0), value=False)
        value = F.pad(seen.reflectance, (0, 0, 1, 0)).to(self.mean)
        value = torch.where(valid, (value - self.mean) / self.deviation, 0.0)
        known = valid.any(-1)
        where = known[..., None]
        geometry = F.pad(seen.geometry, (0, 0, 1, 0)).to(self.mean)
        platform = F.one_hot(F.pad(seen.platform, (1, 0)).clamp(0, len(PLATFORMS) - 1), len(PLATFORMS))
        parts = [
            value,
            valid.to(value),
            where.to(value),
            torch.where(where, geometry.deg2rad().cos(), 0.0),
            torch.where(where, platform, 0).to(value),
            year(day, _HARMONICS),
        ]
        if self.context:
            parts += _around(value, day, known)
        tokens = self.embed(torch.cat(parts, dim=-1))
        tokens = torch.cat([self.season.expand(len(tokens), 1, -1), tokens], dim=1)
        read = F.pad(known, (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, read)
        tokens = self.norm(tokens)
        return tokens[:, 1:], tokens[:, 0]


class Block(nn.Module):
    """Attention of all tokens to those that are read, and a network for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        given = self.before(tokens)
        tokens = tokens + self.attention(given, given, given, key_padding_mask=~read, need_weights=False)[0]
        return tokens + self.network(self.between(tokens))


def _around(value: Tensor, day: Tensor, known: Tensor) -> list[Tensor]:
    """For each node the nearest known spectra before and after it, not its own, and how far they are.

    ``value`` (n, nodes, band), ``day`` and ``known`` (n, nodes). Distances as logarithms.
    """
    place = torch.arange(known.shape[-1], device=known.device).expand(known.shape)
    last = torch.where(known, place, -1).cummax(-1).values
    before = F.pad(last[:, :-1], (1, 0), value=-1)
    following = torch.where(known, place, known.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    after = F.pad(following[:, 1:], (0, 1), value=known.shape[-1])
    after = torch.where(after == known.shape[-1], -1, after)
    parts = []
    for index in (before, after):
        there, at = index >= 0, index.clamp(min=0)
        spectrum = value.gather(1, at[..., None].expand(value.shape))
        away = torch.where(there, (day - day.gather(1, at)).abs(), _FAR)
        parts += [torch.where(there[..., None], spectrum, 0.0), torch.log1p(away / 10.0)[..., None]]
    return parts
