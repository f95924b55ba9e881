"""One training run: its state, and the steps that advance it.

All randomness of a step comes from (seed, phase, epoch, step). A run that is killed and resumed from its
checkpoint therefore ends with the very bits of an undisturbed run on the same machine and thread count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from canopyflow.errors import CanopyflowError, DataError
from canopyflow.models.estimators.amortised import FIT_DRAWS, Amortised, ModelOptions, held
from canopyflow.models.missing import hide
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import Progress, SeasonSurvey, Survey, draw, draw_seasons
from canopyflow.models.statistics import check_summaries
from canopyflow.models.summaries import description
from canopyflow.observations.observation import Observation, Sample, View, concatenate, each_date
from canopyflow.progress import track
from canopyflow.registry import SOURCES
from canopyflow.seeds import seed_of
from canopyflow.training import checkpoint as checkpoints
from canopyflow.training.checkpoint import Position, State
from canopyflow.training.domain import FALSE_ALARMS, calibrate, learn_domain
from canopyflow.training.objectives.contract import Objective
from canopyflow.training.objectives.summaries import SummaryScores, disturbed
from canopyflow.training.optimizers import optimizers
from canopyflow.training.phases import Phase, Plan
from canopyflow.training.ranges import angle_range, reflectance_range
from canopyflow.training.report import Report

if TYPE_CHECKING:
    from canopyflow.models.generative._season import Season

log = logging.getLogger("canopyflow")

_WARM_UP = 100
"""Steps over which a phase's learning rate rises: Adam's second moments are unknown before."""

_VALIDATION = 4096
"""Validation pixels per epoch: enough for 0.03 nats, cheap beside an epoch."""

_BAD_LIMIT = 25
"""Consecutive batches without a finite loss after which a run is given up."""

_CHECKED = 1024
"""Pixels on which learned summaries are checked."""

_LIMITS = 200_000
"""Pixels that say where learned summaries can be trusted."""

_GEOMETRIES = 16384
"""Simulations that stand in where a run is given none."""

_HELD_BACK, _FITTED = 2 * 16384, 8192
"""Simulations of no training: half of them set the limits of flags, the others are counted; of each half, how
many are drawn for."""

_SEASON = 4
"""Pixels that a season counts as, wherever pixels are counted here: its dates are not independent, and each
takes as long as a pixel."""

_AT_ONCE = 4096
"""Pixels that are drawn for at a time."""

_MISFITS = 0.002
"""Share of the law's own spectra whose fit counts as bad."""

_UNUSUAL = 0.05
"""Share of seasons by whose fit those of few and of many entries are compared: rarer ones are too few."""

_MOST_FALSE_ALARMS = 0.0125
"""Share of flagged ones among the counted simulations that is reported as a fault: a hundredth, and what so
few of them scatter."""


Samples = Mapping[str, Mapping[str, Sample]]
"""Samples by split, then by source."""


class Trainer:
    """The state of one run and the steps that advance it."""

    def __init__(
        self,
        options: ModelOptions,
        plan: Plan,
        samples: Samples,
        device: torch.device,
        checkpoint: Path,
        digest: str,
    ) -> None:
        self.plan = plan
        self.phases = plan.phases
        self.device = device
        self.folder = checkpoint
        self.digest = digest
        self.data = [
            {split: _select(samples[split], phase).to(device) for split in ("train", "validation")}
            for phase in self.phases
        ]
        torch.manual_seed(seed_of("weights", plan.seed))
        self.model = Amortised(options)
        self.reference = _reference(samples, self.model)
        seen = self.model.generative.observe(self.reference, generator("reference", plan.seed))
        self.model.encoder.standardise(seen)
        if self.model.learned_prior is not None:
            self.model.learned_prior.start(seen)
        self._prepare_summaries(seen)
        self.reflectance_range = reflectance_range(seen.reflectance.flatten(0, -2))
        self.angle_range = angle_range(seen.geometry.flatten(0, -2))
        self.held_back = _held_back(self.model, self.reference, self.angle_range, plan.seed)
        self.model.to(device)
        self.state = checkpoints.read(checkpoint, digest) or State(
            Position(), self.model.weights(), self.model.weights(), {}
        )

    def run(self) -> list[dict[str, Any]]:
        """Run what is left of all phases; the model then holds the best weights. Returns the history."""
        self.model.load_weights(self._on_device(self.state.weights))
        position = self.state.position
        if position.history:
            log.info("resuming at phase %d, epoch %d", position.phase + 1, position.epoch + 1)
        with Report(
            self._steps_before(len(self.phases), 0), self._steps_before(position.phase, position.epoch)
        ) as report:
            while position.phase < len(self.phases):
                self._run_phase(report)
        return position.history

    def check_summaries(self, fit_threshold: float) -> dict[str, Any]:
        """How good the learned summaries are on held-back pixels; nothing for a model without them."""
        if self.model.head is None:
            return {}
        words = ("summaries", self.plan.seed)
        held_back = self.data[-1]["validation"]
        n = min(self._many(_CHECKED), len(held_back))
        rows = torch.arange(n, device=self.device) * len(held_back) // n
        seen = self._noisy(held_back.rows(rows), *words).seen
        of_pixels = self.model.encoder.view is View.PIXEL
        g = generator(*words, device=self.device)
        if not of_pixels:
            seen = self.model.encoder.thinned(seen, generator("hidden", *words, device=self.device))
            seen = seen.rows(seen.valid.flatten(1).any(-1))
        drawn = self._observed(self.held_back.rows(slice(0, n)).to(self.device), *words, "drawn")
        beside = self.model.head.beside_draws(self.model, drawn, g)
        foreign = replace(seen, reflectance=disturbed(seen.reflectance, g))
        found = check_summaries(self.model, seen, foreign, fit_threshold, g, beside)
        if self.model.encoder.hidden and of_pixels:
            partly, odd = hide(seen, 1.0, g), hide(foreign, 1.0, g)
            found["incomplete"] = check_summaries(self.model, partly, odd, fit_threshold, g)
        if not found["passed"]:
            log.warning(
                "learned summaries are not good enough (%s): maps will be drawn, which takes many times as "
                "long; raise %s.summaries.epochs",
                found["worst"],
                "training" if of_pixels else "seasons",
            )
        return {"summaries": {**description(self.model.generative.estimates), **found}}

    def _prepare_summaries(self, reference: Observation) -> None:
        """Scales of the summaries' network, and the limits of what it will be trained on."""
        head, goals = self.model.head, self.phases[-1].goals
        if head is None:
            return
        assert self.reference.truth is not None, "simulations have one"
        head.standardise(
            reference, self.model.generative.outputs(self.reference.truth, reference, head.names)
        )
        data, seed = self.data[-1]["train"], self.plan.seed
        most = min(_LIMITS // reference.geometry[0, ..., 0].numel(), len(data))
        rows = torch.arange(most, device=self.device) * len(data) // most
        seen = self._noisy(data.rows(rows), "limits", seed).seen.to(torch.device("cpu"))
        for goal in goals:
            if isinstance(goal, SummaryScores):
                # Disturbed pixels are there to be known, and not to be trusted.
                seen = replace(goal, foreign=0.0).varied(seen, generator("varied", seed))
        head.limit(seen)

    def set_flags(self) -> dict[str, Any]:
        """Learn what spectra the law holds, and set the thresholds of flags on simulations of no training.

        Returns ``fit_threshold``, the fit that :data:`_MISFITS` of noisy simulated spectra exceed, of as many
        draws as inference uses; and ``flags``: of each flag the share that was aimed at, and the share of
        other simulations that it hits, ``together`` that of both.

        Draws of a family without dependence between variables reconstruct less well, so the threshold has to
        be the model's own. Few draws scatter more: another number of them would need another threshold. Of
        seasons the fit is that of few dates and of many, as clouds leave them.
        """
        domain, seed, held_back = self.model.known_spectra, self.plan.seed, self.held_back.to(self.device)
        torch.manual_seed(seed_of("domain weights", seed))
        domain.start()
        of_pixels = self.model.generative
        if self.model.encoder.view is View.SEASON:
            of_pixels = cast("Season", of_pixels).base
        learn_domain(domain, of_pixels, each_date(self.reference.to(self.device)), seed)
        noisy = self._noisy(held_back, "held back", seed)
        half = len(noisy) // 2
        setting, counted = noisy.rows(slice(0, half)), noisy.rows(slice(half, None))
        calibrate(domain, each_date(setting).seen, seed)
        few = slice(0, self._many(_FITTED))
        judged = self._judged(setting.rows(few).seen, "set")
        threshold = round(float(torch.quantile(judged, 1.0 - _MISFITS)), 3)
        misfit = self._judged(counted.rows(few).seen, "counted") > threshold
        # Of seasons the spectra of the dates are judged one by one, and the fit as a whole.
        outside = domain.outside(each_date(counted).seen).view(len(counted), -1)
        together = float((outside[few] | misfit.unsqueeze(-1)).float().mean())
        if together > _MOST_FALSE_ALARMS:
            log.warning(
                "flags hit %.1f %% of simulations, where less than 1 %% was aimed at", 100.0 * together
            )
        aims = {"out_of_domain": FALSE_ALARMS, "misfit": _MISFITS}
        alarms = {"out_of_domain": outside, "misfit": misfit}
        shares = {name: round(float(found.float().mean()), 5) for name, found in alarms.items()}
        flags = {name: {"aim": aim, "false_alarms": shares[name]} for name, aim in aims.items()}
        return {"fit_threshold": threshold, "flags": {**flags, "together": round(together, 5)}}

    def _many(self, pixels: int) -> int:
        """How many elements of this model's view stand for so many ``pixels``."""
        return pixels // _SEASON if self.model.encoder.view is View.SEASON else pixels

    def _judged(self, seen: Observation, word: str) -> Tensor:
        """Fit (n,) as the threshold judges it; of seasons, of what is left of them under clouds."""
        if self.model.encoder.view is View.SEASON:
            g = generator("clouds", self.plan.seed, word, device=self.device)
            seen = self.model.encoder.thinned(seen, g)
        return self.model.comparable(self._fit(seen), seen)

    def _fit(self, seen: Observation) -> Tensor:
        """Fit (n,) of as many draws as inference takes."""
        g = generator("fit draws", self.plan.seed, device=self.device)
        with torch.no_grad():
            parts = [
                self.model.fit(self.model.posterior(part).rsample((FIT_DRAWS,), g), part)
                for part in seen.split(self._many(_AT_ONCE))
            ]
        return torch.cat(parts)

    def fit_by_bands(self) -> dict[str, list[float] | float]:
        """Factors by which a fit of 1, 2, ... all bands is to be multiplied before it is held against the
        threshold; nothing for a model that needs all. Of seasons the power of the number of entries by which
        :data:`_UNUSUAL` of those with few and of those with many exceed the same.

        The fewer bands, the less they say of each other, and the larger is the fit that :data:`_MISFITS` of
        simulated spectra exceed."""
        if self.model.encoder.view is View.SEASON:
            return {"fit_by_entries": round(self._power(), 4)}
        if not self.model.encoder.hidden:
            return {}
        rows = self.held_back.rows(slice(0, _VALIDATION)).to(self.device)
        seen = self._noisy(rows, "by bands", self.plan.seed).seen

        def usual(lost: int) -> float:
            g = generator("bands lost", self.plan.seed, lost, device=self.device)
            some = hide(seen, 1.0, g, lost) if lost else seen
            return float(torch.quantile(self._fit(some), 1.0 - _MISFITS))

        bands, whole = len(self.model.bands), usual(0)
        return {"fit_by_bands": [*(round(whole / usual(bands - left), 4) for left in range(1, bands)), 1.0]}

    def _power(self) -> float:
        """By which power of the number of entries the fit of held-back seasons is larger for few of them."""
        rows = self.held_back.rows(slice(0, self._many(_FITTED))).to(self.device)
        g = generator("entries lost", self.plan.seed, device=self.device)
        seen = self.model.encoder.thinned(self._noisy(rows, "by entries", self.plan.seed).seen, g)
        seen = seen.rows(seen.valid.flatten(1).any(-1))
        fit, count = self._fit(seen), seen.valid.flatten(1).sum(-1).to(torch.float32)
        few = count <= count.median()
        if bool(few.all()):
            return 0.0
        usual = [torch.quantile(fit[part], 1.0 - _UNUSUAL).log() for part in (few, ~few)]
        between = count[~few].log().mean() - count[few].log().mean()
        return max(0.0, float((usual[0] - usual[1]) / between))

    def _run_phase(self, report: Report) -> None:
        position, phase = self.state.position, self.phases[self.state.position.phase]
        players = [_Player(goal, self.model, phase, self.plan) for goal in phase.goals]
        if position.epoch:
            checkpoints.restore_optimizers(_optimizers(players), self.state.optimizer)
        watched = self._observed_validation()
        while position.epoch < phase.epochs and position.waited < self.plan.patience:
            line = self._run_epoch(players, report)
            line["validation"] = self._validate(players, watched)
            report.epoch(line)
            self._remember(line)
            self._checkpoint(players)
        report.skip((phase.epochs - position.epoch) * self._steps(position.phase))
        if not math.isfinite(position.best):
            raise CanopyflowError(
                f"training phase {position.phase + 1} ({phase.name}) never had a finite validation loss",
                "lower its learning_rate",
            )
        self.model.load_weights(self._on_device(self.state.best_weights))
        position.phase, position.epoch, position.waited, position.best = position.phase + 1, 0, 0, math.inf
        self._checkpoint([])

    def _run_epoch(self, players: Sequence[_Player], report: Report) -> dict[str, Any]:
        position, s = self.state.position, self.plan
        phase, data = self.phases[position.phase], self.data[position.phase]["train"]
        steps = self._steps(position.phase)
        order = torch.randperm(
            len(data), generator=generator("order", s.seed, position.phase, position.epoch)
        )
        order = order.to(self.device)
        losses: list[float] = []
        at_once = max(player.goal.at_once(self.model.encoder.view) for player in players)
        for first in range(0, steps, at_once):
            words = ("step", s.seed, position.phase, position.epoch, first)
            many = min(at_once, steps - first) * s.batch_size
            rows = data.rows(order[first * s.batch_size : first * s.batch_size + many])
            torch.manual_seed(seed_of("draws", *words))
            begun = position.epoch * steps + first
            player = players[begun % len(players)]
            for step, loss in enumerate(player.losses(self._observed(rows, *words), begun), start=first):
                rate = self._learning_rate(phase, position.epoch * steps + step, phase.epochs * steps)
                value = player.step(loss, rate)
                self._count(value, step)
                if value is not None:
                    losses.append(value)
                report.step()
        return {
            "phase": position.phase + 1,
            "objective": phase.name,
            "epoch": position.epoch + 1,
            "loss": round(sum(losses) / len(losses), 6) if losses else None,
            "learning_rate": float(f"{rate:.4g}"),
            "skipped": steps - len(losses),
        }

    def _count(self, loss: float | None, step: int) -> None:
        """Warn of a skipped batch; give up after many in a row."""
        position = self.state.position
        if loss is not None:
            position.bad_in_a_row = 0
            return
        position.bad_in_a_row += 1
        name = f"phase {position.phase + 1} ({self.phases[position.phase].name})"
        log.warning("%s, epoch %d, batch %d: loss is not finite, skipped", name, position.epoch + 1, step + 1)
        if position.bad_in_a_row >= _BAD_LIMIT:
            raise CanopyflowError(
                f"training {name} gave no finite loss for {_BAD_LIMIT} batches in a row",
                "lower its learning_rate; the last good checkpoint is kept",
            )

    def _validate(self, players: Sequence[_Player], watched: Sequence[Sample]) -> float | None:
        """Mean validation loss, on the same pixels, noise and draws in every epoch; None if not finite.

        The loss of a cycle is the mean over its objectives.
        """
        position = self.state.position
        self.model.eval()
        means = []
        for player in players:
            torch.manual_seed(seed_of("validation", self.plan.seed, position.phase))
            with torch.no_grad():
                losses = torch.cat(
                    [player.goal.loss(self.model, sample, self.plan.samples) for sample in watched]
                )
            finite = losses[torch.isfinite(losses)]
            means.append(float(finite.mean()) if len(finite) else math.nan)
        self.model.train()
        mean = sum(means) / len(means)
        return round(mean, 6) if math.isfinite(mean) else None

    def _remember(self, line: dict[str, Any]) -> None:
        """Early stopping: keep the best weights, count the epochs since; or the last ones of a finite
        loss."""
        position = self.state.position
        position.epoch += 1
        validation = line["validation"]
        last = not all(goal.stops_early for goal in self.phases[position.phase].goals)
        if validation is not None and (last or validation < position.best):
            position.best, position.waited = validation, 0
            self.state.best_weights = {k: v.detach().clone() for k, v in self.model.weights().items()}
        else:
            position.waited += 1
        position.history.append(line)

    def _checkpoint(self, players: Sequence[_Player]) -> None:
        self.state.weights = self.model.weights()
        self.state.optimizer = checkpoints.optimizer_tensors(_optimizers(players))
        checkpoints.write(self.folder, self.state, self.digest)

    def _noisy(self, rows: Sample, *words: int | str) -> Sample:
        g = generator("noise", *words, device=self.device)
        return Sample(self.model.generative.observe(rows, g), rows.truth, rows.noise_free)

    def _observed(self, rows: Sample, *words: int | str) -> Sample:
        """With noise, and for an encoder that reads what lacks some with bands or dates hidden."""
        noisy, g = self._noisy(rows, *words), generator("hidden", *words, device=self.device)
        return replace(noisy, seen=self.model.encoder.thinned(noisy.seen, g))

    def _observed_validation(self) -> list[Sample]:
        data = self.data[self.state.position.phase]["validation"]
        # Evenly spaced: simulations come first, patches after them, and both must have a say.
        n = min(self._many(_VALIDATION), len(data))
        rows = torch.arange(n, device=self.device) * len(data) // n
        pieces = rows.split(self.plan.batch_size)
        seed = self.plan.seed
        return [self._observed(data.rows(piece), "validation", seed, i) for i, piece in enumerate(pieces)]

    def _steps(self, phase: int) -> int:
        """Batches in one epoch; the last, smaller one of a pass is left out unless it is the only one."""
        whole = max(1, len(self.data[phase]["train"]) // self.plan.batch_size)
        return min(whole, self.phases[phase].steps or whole)

    def _steps_before(self, phase: int, epoch: int) -> int:
        done = sum(self.phases[p].epochs * self._steps(p) for p in range(phase))
        return done + (epoch * self._steps(phase) if epoch else 0)

    @staticmethod
    def _learning_rate(phase: Phase, step: int, steps: int) -> float:
        """Learning rate at ``step``: a short linear rise, then half a cosine down to zero."""
        rise = min(1.0, (step + 1) / min(_WARM_UP, max(1, steps // 10)))
        return phase.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / steps))

    def _on_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}


class _Player:
    """One objective with the optimizer of the parts that it trains; all other parts are held meanwhile."""

    def __init__(self, goal: Objective, model: Amortised, phase: Phase, plan: Plan) -> None:
        self.goal, self.model, self.plan = goal, model, plan
        parts = dict(model.named_children())
        self._held = [part for name, part in parts.items() if name not in goal.trains]
        self._trained = [
            parameter
            for name, parameter in model.named_parameters()
            if name.split(".")[0] in goal.trains and parameter.requires_grad
        ]
        self.optimizers = optimizers(phase.optimizer, self._trained, phase.learning_rate, plan.weight_decay)

    def losses(self, sample: Sample, done: int) -> Iterator[Callable[[], Tensor]]:
        """One for each step that ``sample`` is for, after ``done`` others."""
        return self.goal.turns(self.model, sample, self.plan.samples, done, self.plan.batch_size)

    def step(self, computed: Callable[[], Tensor], rate: float) -> float | None:
        """One step by a loss; None, and weights untouched, if loss or gradient is not finite."""
        for each in self.optimizers:
            each.set_rate(rate)
            each.optimizer.zero_grad(set_to_none=True)
        with held(*self._held):
            loss = computed().mean()
        if not torch.isfinite(loss):
            return None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self.plan.clip_norm)
        if not torch.isfinite(norm):
            return None
        for each in self.optimizers:
            each.optimizer.step()
        return float(loss.detach())


def _optimizers(players: Sequence[_Player]) -> list[torch.optim.Optimizer]:
    return [each.optimizer for player in players for each in player.optimizers]


def _select(sources: Mapping[str, Sample], phase: Phase) -> Sample:
    """The samples of one phase. Raises DataError if there are none."""
    wanted = phase.sources
    parts = [sources[source] for source in wanted if len(sources[source])]
    if not parts:
        raise DataError(
            f"the {phase.data} hold nothing to train on", "widen the search or train on simulations"
        )
    if len(parts) < len(wanted):
        empty = ", ".join(source for source in wanted if not len(sources[source]))
        log.warning("a phase on %s: %s hold nothing clear, the others alone are used", phase.data, empty)
    return concatenate(parts)


def _reference(samples: Samples, model: Amortised) -> Sample:
    """Simulations that define normalisation, the physical range, and what a good fit is.

    A run without simulations gets some in the geometry of what it observed.
    """
    known = {name: sample for name, sample in samples["train"].items() if "truth" in SOURCES[name].gives}
    if known:
        return next(iter(known.values()))
    observed = next(iter(samples["train"].values()))
    geometry = observed.seen.geometry
    if observed.seen.view is View.SEASON:
        # Where nothing was seen no angle is known.
        geometry = geometry[observed.seen.valid.any(-1)]
    angles = angle_range(geometry.flatten(0, -2))
    return _drawn(model, observed, angles, _GEOMETRIES, 0)


def _held_back(model: Amortised, like: Sample, angles: Mapping[str, Sequence[float]], seed: int) -> Sample:
    """Noise-free simulations in the same geometries, at dates ``like`` those, that no training sees."""
    return _drawn(model, like, angles, _HELD_BACK, seed_of("held back", seed), _silently)


def _drawn(
    model: Amortised,
    like: Sample,
    angles: Mapping[str, Sequence[float]],
    pixels: int,
    seed: int,
    progress: Progress = track,
) -> Sample:
    """Simulations that count as so many ``pixels``, in the range of these ``angles``; of seasons with dates
    ``like`` those, as far as their number and the window go."""
    sun, view = ((angles["lower"][i], angles["upper"][i]) for i in (0, 1))
    day = like.seen.day
    if day is None:
        return draw(model.generative, Survey(sun_zenith=sun, view_zenith=view), pixels, seed, progress)
    # Dates that only fill up a season may lie far behind the year.
    seen = day[like.seen.valid.any(-1)]
    survey = SeasonSurvey(
        sun_zenith=sun, view_zenith=view, dates=day.shape[-1], window=(float(seen.min()), float(seen.max()))
    )
    return draw_seasons(cast("Season", model.generative), survey, pixels // _SEASON, seed, progress)


def _silently(batches: Sequence[int], what: str) -> Iterable[int]:
    return batches
