"""One training run: its state, and the steps that advance it.

All randomness of a step comes from (seed, phase, epoch, step). A run that is
killed and resumed from its checkpoint therefore ends with the very bits of an
undisturbed run on the same machine and thread count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canopyflow.errors import CanopyflowError, DataError
from canopyflow.models.objectives import Batch, Objective, objective
from canopyflow.models.priors import VampPrior
from canopyflow.models.retrieval import FIT_DRAWS, ModelOptions, RetrievalModel
from canopyflow.models.runtime import seed_of
from canopyflow.training import checkpoint as checkpoints
from canopyflow.training.checkpoint import Position, State
from canopyflow.training.data import (
    Spectra,
    Survey,
    angle_range,
    concatenate,
    draw,
    generator,
    reflectance_range,
)
from canopyflow.training.report import Report

log = logging.getLogger("canopyflow")

_WARM_UP = 100
"""Steps over which a phase's learning rate rises: Adam's second moments are unknown before."""

_VALIDATION = 4096
"""Validation pixels per epoch: enough for 0.03 nats, cheap beside an epoch."""

_BAD_LIMIT = 25
"""Batches without a finite loss in a row before a run is given up."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    ``steps``: batches per epoch, None for one pass over the data; ``options``: the objective's own.
    """

    objective: str
    epochs: int
    learning_rate: float
    data: str = "simulations"
    steps: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def goal(self) -> Objective:
        return objective(self.objective, self.options)


@dataclass(frozen=True)
class Settings:
    """How every phase is run."""

    batch_size: int
    samples: int
    patience: int
    clip_norm: float
    weight_decay: float
    seed: int


class Trainer:
    """The state of one run and the steps that advance it."""

    def __init__(
        self,
        options: ModelOptions,
        settings: Settings,
        phases: Sequence[Phase],
        spectra: dict[str, dict[str, Spectra]],
        device: torch.device,
        checkpoint: Path,
        digest: str,
    ) -> None:
        self.settings = settings
        self.phases = phases
        self.device = device
        self.folder = checkpoint
        self.digest = digest
        self.data = [
            {split: _select(spectra[split], phase.data).to(device) for split in ("train", "validation")}
            for phase in phases
        ]
        torch.manual_seed(seed_of("weights", settings.seed))
        self.model = RetrievalModel(options)
        self.reference = _reference(spectra, self.model)
        seen = self.reference.observe(self.model.noise, generator("reference", settings.seed))
        self.model.encoder.standardise(seen)
        if isinstance(self.model.learned_prior, VampPrior):
            self.model.learned_prior.start(seen, self.reference.angles)
        self.reflectance_range = reflectance_range(seen)
        self.angle_range = angle_range(self.reference.angles)
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

    def fit_threshold(self) -> float:
        """Fit that one noisy simulated spectrum in a thousand exceeds, of as many draws as inference uses.

        Draws of a family without dependence between variables reconstruct less
        well, so the threshold has to be the model's own. Few draws scatter more:
        another number of them would need another threshold.
        """
        rows = self.reference.rows(torch.arange(min(_VALIDATION, len(self.reference)))).to(self.device)
        words = ("fit", self.settings.seed)
        batch = self._batch(rows, *words)
        g = generator("fit draws", *words, device=self.device)
        with torch.no_grad():
            q = self.model.posterior(batch.reflectance, batch.angles, batch.platform)
            z = q.rsample((FIT_DRAWS,), g)
            fit = self.model.fit(z, batch.reflectance, batch.angles, batch.platform)
        return round(float(torch.quantile(fit, 0.999)), 3)

    def _run_phase(self, report: Report) -> None:
        position, phase = self.state.position, self.phases[self.state.position.phase]
        optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=phase.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        if position.epoch:
            checkpoints.restore_optimizer(optimizer, self.state.optimizer)
        watched = self._observed_validation()
        while position.epoch < phase.epochs and position.waited < self.settings.patience:
            line = self._run_epoch(optimizer, report)
            line["validation"] = self._validate(watched)
            report.epoch(line)
            self._remember(line)
            self._checkpoint(optimizer)
        report.skip((phase.epochs - position.epoch) * self._steps(position.phase))
        if not math.isfinite(position.best):
            raise CanopyflowError(
                f"training phase {position.phase + 1} ({phase.objective}) never had a finite validation loss",
                "lower its learning_rate",
            )
        self.model.load_weights(self._on_device(self.state.best_weights))
        position.phase, position.epoch, position.waited, position.best = position.phase + 1, 0, 0, math.inf
        self._checkpoint(None)

    def _run_epoch(self, optimizer: torch.optim.Optimizer, report: Report) -> dict[str, Any]:
        position, s = self.state.position, self.settings
        phase, data = self.phases[position.phase], self.data[position.phase]["train"]
        goal, steps = phase.goal, self._steps(position.phase)
        order = torch.randperm(
            len(data), generator=generator("order", s.seed, position.phase, position.epoch)
        )
        order = order.to(self.device)
        losses: list[float] = []
        for step in range(steps):
            words = ("step", s.seed, position.phase, position.epoch, step)
            done = position.epoch * steps + step
            rate = self._learning_rate(phase, done, phase.epochs * steps)
            rows = data.rows(order[step * s.batch_size : (step + 1) * s.batch_size])
            torch.manual_seed(seed_of("draws", *words))
            loss = self._step(optimizer, goal, self._batch(rows, *words), rate, done)
            self._count(loss, step)
            if loss is not None:
                losses.append(loss)
            report.step()
        return {
            "phase": position.phase + 1,
            "objective": phase.objective,
            "epoch": position.epoch + 1,
            "loss": round(sum(losses) / len(losses), 6) if losses else None,
            "learning_rate": float(f"{rate:.4g}"),
            "skipped": steps - len(losses),
        }

    def _step(
        self, optimizer: torch.optim.Optimizer, goal: Objective, batch: Batch, rate: float, done: int
    ) -> float | None:
        """One step after ``done`` others; None, and weights untouched, if loss or gradient is not finite."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss = goal.loss(self.model, batch, self.settings.samples, done).mean()
        if not torch.isfinite(loss):
            return None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        if not torch.isfinite(norm):
            return None
        optimizer.step()
        return float(loss.detach())

    def _count(self, loss: float | None, step: int) -> None:
        """Warn of a skipped batch; give up after many in a row."""
        position = self.state.position
        if loss is not None:
            position.bad_in_a_row = 0
            return
        position.bad_in_a_row += 1
        name = f"phase {position.phase + 1} ({self.phases[position.phase].objective})"
        log.warning("%s, epoch %d, batch %d: loss is not finite, skipped", name, position.epoch + 1, step + 1)
        if position.bad_in_a_row >= _BAD_LIMIT:
            raise CanopyflowError(
                f"training {name} gave no finite loss for {_BAD_LIMIT} batches in a row",
                "lower its learning_rate; the last good checkpoint is kept",
            )

    def _validate(self, watched: Sequence[Batch]) -> float | None:
        """Mean validation loss, on the same pixels, noise and draws in every epoch; None if not finite."""
        position = self.state.position
        goal = self.phases[position.phase].goal
        torch.manual_seed(seed_of("validation", self.settings.seed, position.phase))
        self.model.eval()
        with torch.no_grad():
            losses = torch.cat([goal.loss(self.model, batch, self.settings.samples) for batch in watched])
        self.model.train()
        finite = losses[torch.isfinite(losses)]
        return round(float(finite.mean()), 6) if len(finite) else None

    def _remember(self, line: dict[str, Any]) -> None:
        """Early stopping: keep the best weights, count the epochs since."""
        position = self.state.position
        position.epoch += 1
        validation = line["validation"]
        if validation is not None and validation < position.best:
            position.best, position.waited = validation, 0
            self.state.best_weights = {k: v.detach().clone() for k, v in self.model.weights().items()}
        else:
            position.waited += 1
        position.history.append(line)

    def _checkpoint(self, optimizer: torch.optim.Optimizer | None) -> None:
        self.state.weights = self.model.weights()
        self.state.optimizer = checkpoints.optimizer_tensors(optimizer) if optimizer is not None else {}
        checkpoints.write(self.folder, self.state, self.digest)

    def _batch(self, rows: Spectra, *words: int | str) -> Batch:
        reflectance = rows.observe(self.model.noise, generator("noise", *words, device=self.device))
        return Batch(reflectance, rows.angles, rows.platform, rows.variables)

    def _observed_validation(self) -> list[Batch]:
        data = self.data[self.state.position.phase]["validation"]
        # Evenly spaced: simulations come first, patches after them, and both must have a say.
        n = min(_VALIDATION, len(data))
        rows = torch.arange(n, device=self.device) * len(data) // n
        pieces = rows.split(self.settings.batch_size)
        seed = self.settings.seed
        return [self._batch(data.rows(piece), "validation", seed, i) for i, piece in enumerate(pieces)]

    def _steps(self, phase: int) -> int:
        """Batches in one epoch; the last, smaller one of a pass is left out unless it is the only one."""
        whole = max(1, len(self.data[phase]["train"]) // self.settings.batch_size)
        return min(whole, self.phases[phase].steps or whole)

    def _steps_before(self, phase: int, epoch: int) -> int:
        done = sum(self.phases[p].epochs * self._steps(p) for p in range(phase))
        return done + (epoch * self._steps(phase) if epoch else 0)

    @staticmethod
    def _learning_rate(phase: Phase, step: int, steps: int) -> float:
        """Short linear rise, then half a cosine down to nothing over the phase."""
        rise = min(1.0, (step + 1) / min(_WARM_UP, max(1, steps // 10)))
        return phase.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / steps))

    def _on_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}


def _select(kinds: dict[str, Spectra], data: str) -> Spectra:
    """The pixels of one phase. Raises DataError if there are none."""
    wanted = ("simulations", "patches") if data == "both" else (data,)
    parts = [kinds[kind] for kind in wanted if len(kinds[kind])]
    if not parts:
        raise DataError(f"the {data} hold no pixels to train on", "widen the search or train on simulations")
    if len(parts) < len(wanted):
        log.warning("a phase on both simulations and patches found no clear pixels: simulations only")
    return concatenate(parts)


def _reference(spectra: dict[str, dict[str, Spectra]], model: RetrievalModel) -> Spectra:
    """Simulations that define normalisation, the physical range, and what a good fit is.

    A run without simulations gets some in the geometry of its patches.
    """
    simulated = spectra["train"].get("simulations")
    if simulated is not None:
        return simulated
    o, seen = model.options, angle_range(spectra["train"]["patches"].angles)
    sun, view = ((seen["lower"][i], seen["upper"][i]) for i in (0, 1))
    return draw(Survey(o.bands, o.platforms, o.leaf, o.prior, sun_zenith=sun, view_zenith=view), 16384, 0)
