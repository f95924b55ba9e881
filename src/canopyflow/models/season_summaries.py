"""Summaries of seasons as a network: what a product says of every date, seen or not, without drawing.

As for pixels (:mod:`canopyflow.models.summaries`), but what the network looks at are the features of a date
that an encoder of its own makes of the whole season: those of the model's encoder are for a date *given* the
one before, and a marginal summary needs others.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from canopyflow.models.encoders.season import SeasonEncoder
from canopyflow.models.phenology import phenology
from canopyflow.models.summaries import Summaries
from canopyflow.observations.observation import Observation, Sample, each_date
from canopyflow.vocabulary import SEASONAL, Variable


class SeasonSummaries(Summaries):
    """From seasons (n, date) to the summaries of all n * date dates, those of a season side by side.

    Options: ``width`` and number of ``layers`` of the network behind the encoder; ``features`` of that
    encoder and its ``blocks``. The fit is one number for a season.
    """

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        variables: Sequence[Variable],
        width: int = 256,
        layers: int = 2,
        features: int = 96,
        blocks: int = 2,
    ) -> None:
        super().__init__(bands, platforms, variables, width, layers, incomplete=True)
        self._read: tuple[Observation, Tensor] | None = None
        self._told: tuple[Observation, tuple[Tensor, Tensor]] | None = None
        self.trunk = SeasonEncoder(bands, platforms, width=features, layers=blocks)
        self.body[0] = nn.Linear(features, width)
        # Of the season itself: from the mean and the largest of each feature over its dates.
        self.whole = Summaries((), platforms, SEASONAL, width, layers)
        self.whole.body[0] = nn.Linear(2 * features, width)
        self.register_load_state_dict_post_hook(_forget)

    def standardise(self, seen: Observation, outputs: Tensor) -> None:
        """Take the scales of inputs and outputs from noisy seasons (n, date) and their ``outputs`` (n, date,
        variables)."""
        super().standardise(_pixels(seen), outputs.flatten(0, 1))
        self.whole.scale_outputs(self.timing(outputs, seen))
        self.trunk.standardise(seen)

    def timing(self, outputs: Tensor, seen: Observation) -> Tensor:
        """:data:`canopyflow.models.phenology.NAMES` (*sample, n, 5) of ``outputs`` (*sample, n, date,
        variables), over the dates of ``seen``."""
        assert seen.day is not None, "a season has days"
        day, order = seen.day.sort(dim=-1)
        lai = outputs[..., self.names.index("lai")]
        return phenology(lai.gather(-1, order.expand(lai.shape)), day)

    def limit(self, seen: Observation) -> None:
        """Take the limits of trust from the observed dates of seasons as the network was trained on."""
        pixels = _pixels(seen)
        super().limit(pixels.rows(pixels.valid.any(-1)))

    def answer(
        self, seen: Observation, names: Sequence[str], levels: Sequence[float]
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Mean and standard deviation (names, n * date), quantiles (levels, names, n * date), log of fit²
        (n,); and whether all observed dates of a season are like those of the training, (n,)."""
        mean, deviation, quantiles, log_fit2 = self(self._features(seen).flatten(0, 1), names, levels)
        of_season = log_fit2.view(seen.valid.shape[:2]).mean(-1)
        inside = self.usual(seen)
        if not torch.is_grad_enabled():
            self._told = seen, (of_season, inside)
        return (mean, deviation, quantiles, of_season), inside

    def judged(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Log of fit² and whether it can be trusted, (n,) both: the last ones of :meth:`answer`."""
        if torch.is_grad_enabled() or self._told is None or self._told[0] is not seen:
            (_, _, _, log_fit2), inside = self.answer(seen, (), ())
            return log_fit2, inside
        return self._told[1]

    def answer_whole(
        self, seen: Observation, names: Sequence[str], levels: Sequence[float], dates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard deviation (names, n), quantiles (levels, names, n) of
        :data:`canopyflow.models.phenology.NAMES` over the dates of ``seen``, or those at these places."""
        h = self._features(seen)
        if dates is not None:
            h = h[:, dates]
        pooled = torch.cat([h.mean(1), h.amax(1)], dim=-1)
        mean, deviation, quantiles, _ = self.whole(pooled, names, levels)
        return mean, deviation, quantiles

    def _features(self, seen: Observation) -> Tensor:
        """Of the encoder, (n, date, features). Those of the last seasons are kept where nothing is learned:
        dates and the season itself are asked about one after the other, and this is most of the work."""
        if torch.is_grad_enabled():
            features: Tensor = self.trunk(seen)
            return features
        if self._read is None or self._read[0] is not seen:
            self._read = seen, self.trunk(seen)
        return self._read[1]

    def train(self, mode: bool = True) -> Self:
        _forget(self)
        return super().train(mode)

    def usual(self, seen: Observation) -> Tensor:
        """Whether all observed dates of a season are like those of the training, (n,)."""
        pixels = _pixels(seen)
        known = pixels.valid.any(-1)
        inside = torch.ones_like(known)
        inside[known] = self.inside(self.inputs(pixels.rows(known)))
        return inside.view(seen.valid.shape[:2]).all(-1)


def _forget(head: nn.Module, _: object = None) -> None:
    """Drop what ``head`` keeps of the last seasons: its weights are no longer those it was made with."""
    head._read = head._told = None  # type: ignore[assignment]


def _pixels(seen: Observation) -> Observation:
    nothing = torch.zeros(len(seen), dtype=torch.bool, device=seen.geometry.device)
    return each_date(Sample(seen, None, nothing)).seen
