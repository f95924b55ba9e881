"""A season of acquisitions: self-attention over the dates that were seen, read by all dates asked about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.encoders._spectra import SpectralEncoder
from canopyflow.models.missing import check_share, hide, hide_dates
from canopyflow.observations.observation import Observation, View
from canopyflow.registry import SEASON_PRIORS

if TYPE_CHECKING:
    from canopyflow.models.generative._season import Season
    from canopyflow.models.generative.contract import Generative
    from canopyflow.models.season_summaries import SeasonSummaries
    from canopyflow.posteriors.contract import Family

_FREQUENCIES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Oscillations a year by which a date is told: half a one tells the winter before from the winter after, and
the fastest takes three weeks."""

_YEAR = 365.25

_REACHES = (10.0, 30.0, 100.0, 1000.0)
"""Days within which a head of the attention looks at first; heads beyond the fourth start over."""

_LEAST = 0.05
"""Least share of the dates of a season that is kept in training."""


class SeasonEncoder(SpectralEncoder):
    """Maps a season (*batch, date, band) to features of each of its dates (*batch, date, features).

    A date with a valid band is read: its whitened stretched bands, the cosines of its angles, its platform,
    its day, and which bands it lacks. Every date, seen or not, asks: it attends to the dates that are read,
    in every layer, and a date that was not seen is read by nobody. So the features of a date do not depend on
    which other dates are asked about, nor on the order of the acquisitions.

    Options: ``width`` of the features, number of ``layers``, ``heads`` of the attention; ``hidden``: share of
    the dates that lose some of their bands in training, 0 for an encoder that takes complete spectra only;
    ``single``: share of the seasons of which training keeps one date. Of all others training keeps from a
    twentieth to all of the dates. Raises ConfigError for a share that is none, and for a width that is no
    multiple of the heads.
    """

    SHARES: ClassVar[tuple[str, ...]] = ("hidden", "single")
    view: ClassVar[View] = View.SEASON

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        width: int = 96,
        layers: int = 3,
        heads: int = 4,
        hidden: float = 0.1,
        single: float = 0.1,
    ) -> None:
        super().__init__(bands, platforms)
        check_share(hidden)
        check_share(single, "single")
        if width % heads:
            raise ConfigError(f"width {width} of the encoder 'season' is no multiple of its {heads} heads")
        self.hidden, self.single, self.features = hidden, single, width
        self.spectrum = nn.Linear(2 * len(bands) + 3 + self.platforms, width)
        self.unseen = nn.Parameter(0.02 * torch.randn(width))
        self.day = nn.Linear(2 * len(_FREQUENCIES), width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def thinned(self, seen: Observation, generator: torch.Generator | None = None) -> Observation:
        kept = hide_dates(seen, self.single, _LEAST, generator)
        if not self.hidden:
            return kept
        # A date without a band has none to lose, and one without any more would not be a date.
        return hide(kept, self.hidden, generator)

    # Imported late: the summaries of seasons have an encoder like this one.

    def generative(self, pixel: Generative, dynamics: str, options: Mapping[str, Any]) -> Generative:
        from canopyflow.models.generative._season import Season

        return Season(pixel, SEASON_PRIORS.build(dynamics, pixel, **options))

    def law(self, family: Family, generative: Generative) -> nn.Module:
        from canopyflow.models.trajectory import Chain

        return Chain(family, season=cast("Season", generative))

    @classmethod
    def summaries(cls) -> type[SeasonSummaries]:
        from canopyflow.models.season_summaries import SeasonSummaries

        return SeasonSummaries

    def beside_summaries(self) -> dict[str, Any]:
        # It reads what this encoder says, and lacks no more than this one does.
        return {"encoder": self}

    def forward(self, seen: Observation) -> Tensor:
        assert seen.day is not None, "a season has days"
        batch, (dates, bands) = seen.valid.shape[:-2], seen.valid.shape[-2:]
        valid, observed = seen.valid.reshape(-1, dates, bands), seen.valid.any(-1).reshape(-1, dates)
        day = seen.day.reshape(-1, dates).to(self.mean.dtype)
        h = self.unseen.expand(*observed.shape, -1).clone()
        h[observed] = self._spectra(seen, valid[observed])
        phase = (2.0 * math.pi / _YEAR) * day.unsqueeze(-1) * day.new_tensor(_FREQUENCIES)
        h = h + self.day(torch.cat([phase.sin(), phase.cos()], dim=-1))
        apart = (day.unsqueeze(-1) - day.unsqueeze(-2)).abs()
        for block in self.blocks:
            h = block(h, apart, observed)
        out: Tensor = self.last(h)
        return out.reshape(*batch, dates, self.features)

    def _spectra(self, seen: Observation, valid: Tensor) -> Tensor:
        """What the dates with a valid band say, (m, width); ``valid`` (m, band) of these dates."""
        observed = seen.valid.any(-1)
        complete = bool(valid.all())
        if not (complete or self.hidden):
            raise DataError(
                "a date lacks some of its bands, and the encoder 'season' was trained on complete spectra",
                "leave out such dates, or train with the encoder's option hidden",
            )
        parts = self.described(
            seen.reflectance[observed],
            None if complete else valid,
            seen.geometry[observed],
            seen.platform[observed],
        )
        out: Tensor = self.spectrum(torch.cat([*parts, (~valid).to(parts[0].dtype)], dim=-1))
        return out


class Block(nn.Module):
    """Attention and a plain network, each beside a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor, apart: Tensor, read: Tensor) -> Tensor:
        h = h + self.attention(h, apart, read)
        out: Tensor = h + self.body(h)
        return out


class Attention(nn.Module):
    """All dates look at those that are read, the nearer ones first.

    Weights fall with the days between two dates, at a rate that each head learns (in ALiBi, Press et al.
    2022, arXiv:2108.12409, the rates are fixed). Beside the dates there is always a place to look at where
    nothing stands, so that a season without any observed date has features too, those of the prior.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.nothing = nn.Parameter(0.02 * torch.randn(2, width))
        reaches = [_REACHES[i % len(_REACHES)] for i in range(heads)]
        self.log_reach = nn.Parameter(torch.tensor(reaches).log())

    def forward(self, h: Tensor, apart: Tensor, read: Tensor) -> Tensor:
        """What each date of ``h`` (n, date, width) finds; ``apart`` (n, date, date) days between two dates,
        ``read`` (n, date) bool."""
        n, _, width = h.shape
        x = self.norm(h)
        key, value = (
            torch.cat([nothing.expand(n, 1, width), layer(x)], dim=1)
            for nothing, layer in zip(self.nothing, (self.key, self.value), strict=True)
        )
        bias = -apart.unsqueeze(1) / self.log_reach.exp().view(-1, 1, 1)
        bias = bias.masked_fill(~read[:, None, None, :], -math.inf)
        bias = nn.functional.pad(bias, (1, 0))
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.query(x), key, value)
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


ENCODER = SeasonEncoder
