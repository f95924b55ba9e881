"""Summaries of seasons as a network: what a product says of every date, seen or not, without drawing.

As for pixels (:mod:`canopyflow.models.summaries`), but the law of a date is given the dates before it, and a
summary is of all that these may have been. So what the network learns is a filter along the season: a state
that goes from date to date, reads there what the model's encoder says of the date, and stands for all
trajectories so far, as the state of a hidden Markov model does. It is the same step at every date, and is
learned from every date. Dates that were not seen are read from the state of the last one that was, and leave
it as it is: who asks about further dates gets no other answer about these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from canopyflow.models.encoders.season import SeasonEncoder
from canopyflow.models.generative._season import nearest_geometry
from canopyflow.models.phenology import phenology
from canopyflow.models.summaries import Summaries
from canopyflow.models.trajectory import TELLS_GAP, fading
from canopyflow.observations.observation import Observation, Sample, each_date
from canopyflow.vocabulary import SEASONAL, Variable

if TYPE_CHECKING:
    from canopyflow.models.estimators.amortised import Amortised

Numbers = tuple[Tensor, Tensor, Tensor]
"""Mean, standard deviation, quantiles."""

Answer = tuple[Tensor, Tensor, Tensor, Tensor]
"""These and the log of fit²."""

Features = tuple[Tensor, Tensor, Tensor]
"""What dates and what seasons are told by, and the order of the dates: see ``_features``."""

_BEFORE = 2
"""Seen dates before one, of which it is told how long ago they were."""


class SeasonSummaries(Summaries):
    """From seasons (n, date) to the summaries of all n * date dates, those of a season side by side.

    ``encoder``: that of the model; it is read and not trained. Options: ``width`` and number of ``layers`` of
    the network behind the filter, ``state``: numbers that go from date to date. The fit is one number for a
    season.
    """

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        variables: Sequence[Variable],
        width: int = 192,
        layers: int = 2,
        state: int = 96,
        *,
        encoder: SeasonEncoder,
    ) -> None:
        super().__init__(bands, platforms, variables, width, layers, incomplete=True)
        self._read: tuple[Observation, Features] | None = None
        self._told: tuple[Observation, tuple[Tensor, Tensor]] | None = None
        # In a tuple: the encoder is the model's part, not this one's.
        self._encoder = (encoder,)
        bodily = self.body[0]
        assert isinstance(bodily, nn.Linear)
        self._of_date = bodily.in_features
        self.forth = nn.GRU(encoder.features + _BEFORE * TELLS_GAP, state, batch_first=True)
        self.body[0] = nn.Linear(state + encoder.features + self._of_date, width)
        # Of the season itself, back from its end: when it peaked is known when it is over.
        self.back = nn.GRU(state, state // 2, batch_first=True)
        self.whole = Summaries((), platforms, SEASONAL, width, layers)
        self.whole.body[0] = nn.Linear(state + 3 * (state // 2), width)
        self.register_load_state_dict_post_hook(_forget)

    def standardise(self, seen: Observation, outputs: Tensor) -> None:
        """Take the scales of inputs and outputs from noisy seasons (n, date) and their ``outputs`` (n, date,
        variables)."""
        super().standardise(_pixels(seen), outputs.flatten(0, 1))
        self.whole.scale_outputs(self.timing(outputs, seen))

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

    def beside_draws(
        self, model: Amortised, drawn: Sample, generator: torch.Generator
    ) -> dict[str, float] | None:
        from canopyflow.models.season_check import beside_draws

        assert drawn.truth is not None, "drawn seasons have one"
        return beside_draws(model, drawn.seen, drawn.truth, generator)

    def answer(
        self, seen: Observation, names: Sequence[str], levels: Sequence[float]
    ) -> tuple[Answer, Tensor]:
        """Mean and standard deviation (names, n * date), quantiles (levels, names, n * date), log of fit²
        (n,); and whether all observed dates of a season are like those of the training, (n,)."""
        return self._of_dates(seen, self._features(seen), names, levels)

    def answer_both(self, seen: Observation, levels: Sequence[float]) -> tuple[Answer, Numbers]:
        """:meth:`answer` and :meth:`answer_whole` of all names, by one look at the season."""
        features = self._features(seen)
        (numbers, _) = self._of_dates(seen, features, self.names, levels)
        return numbers, self._of_season(features, self.whole.names, levels, None)

    def _of_dates(
        self, seen: Observation, features: Features, names: Sequence[str], levels: Sequence[float]
    ) -> tuple[Answer, Tensor]:
        mean, deviation, quantiles, log_fit2 = self(features[0], names, levels)
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
    ) -> Numbers:
        """Mean and standard deviation (names, n), quantiles (levels, names, n) of
        :data:`canopyflow.models.phenology.NAMES` over the dates of ``seen``, or those at these places."""
        return self._of_season(self._features(seen), names, levels, dates)

    def _of_season(
        self, features: Features, names: Sequence[str], levels: Sequence[float], dates: Tensor | None
    ) -> Numbers:
        _, gone, order = features
        if dates is not None:
            # Those of these places, in the order of their days.
            asked = torch.isin(order, dates).nonzero()[:, 1].view(len(order), -1)
            gone = gone.gather(1, _wide(asked, gone))
        come, _ = self.back(gone.flip(1))
        pooled = torch.cat([come.mean(1), come.amax(1), come[:, -1], gone[:, -1]], dim=-1)
        mean, deviation, quantiles, _ = self.whole(pooled, names, levels)
        return mean, deviation, quantiles

    def _features(self, seen: Observation) -> Features:
        """What is said of dates by, (n * date, inputs); what is said of seasons by, (n, date, numbers) in the
        order of their days; and that order (n, date).

        Those of the last seasons are kept where nothing is learned: dates and the season itself are asked
        about one after the other, and this is most of the work."""
        if torch.is_grad_enabled():
            return self._filtered(seen)
        if self._read is None or self._read[0] is not seen:
            self._read = seen, self._filtered(seen)
        return self._read[1]

    def _filtered(self, seen: Observation) -> Features:
        assert seen.day is not None, "a season has days"
        with torch.no_grad():
            h = self._encoder[0](seen)
        day, order = seen.day.to(h.dtype).sort(dim=-1, stable=True)
        known = seen.valid.any(-1).gather(1, order)
        ordered = h.gather(1, _wide(order, h))
        # The seen dates one after the other, and how many of them lie before each date.
        first = (~known).to(torch.uint8).argsort(dim=-1, stable=True)
        before = known.cumsum(-1) - known.to(torch.long)
        gaps = []
        for lag in range(1, _BEFORE + 1):
            there = before >= lag
            gap = day - day.gather(1, first).gather(1, (before - lag).clamp_min(0))
            gaps.append(fading(gap, there))
        told = torch.cat([ordered, *gaps], dim=-1)
        most = max(1, int(known.sum(-1).max())) if len(known) else 1
        states, _ = self.forth(told.gather(1, _wide(first[:, :most], told)))
        # All begin with a state of nothing, so that the state before a date is at its number.
        states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
        now = states.gather(1, _wide(before + known.to(torch.long), states))
        unseen = ~known
        if bool(unseen.any()):
            ahead, _ = self.forth(told[unseen].unsqueeze(1), now[unseen].unsqueeze(0))
            now = now.masked_scatter(unseen.unsqueeze(-1), ahead)
        back = _wide(order.argsort(-1), now)
        parts = [now.gather(1, back), h, self._own(seen)]
        return torch.cat(parts, dim=-1).flatten(0, 1), now, order

    def _own(self, seen: Observation) -> Tensor:
        """Spectrum and angles of each date itself (n, date, inputs). Of one that nobody saw the angles by
        which light is told there, and that all bands are missing."""
        pixels, known = _pixels(seen), seen.valid.any(-1)
        own = pixels.reflectance.new_zeros(*known.shape, self._of_date)
        bands = pixels.valid.shape[-1]
        own[..., bands : bands + 3] = self.cosines(nearest_geometry(seen, known))
        own[..., -bands:] = 1.0
        own[known] = self.inputs(pixels.rows(known.flatten()))
        return own

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


def _wide(places: Tensor, values: Tensor) -> Tensor:
    """``places`` (n, date), for all numbers of ``values`` (n, date, numbers)."""
    return places.unsqueeze(-1).expand(*places.shape, values.shape[-1])


def _pixels(seen: Observation) -> Observation:
    nothing = torch.zeros(len(seen), dtype=torch.bool, device=seen.geometry.device)
    return each_date(Sample(seen, None, nothing)).seen
