"""Training of small modules by losses that take turns: checkpointed, resumable, seeded.

For what is no posterior of a pixel and therefore not of :mod:`canopyflow.training.trainer`: autoencoders of
trajectories, maps from weather, denoisers. Whoever trains says what a batch is and what each player wants;
one player alone is ordinary training. Networks of a few thousand weights that need no checkpoint are fitted
by :func:`canopyflow.models.descent.descent`.

All randomness of a step comes from (seed, step), torch's global generator included: a run that is killed and
resumed ends with the bits of an undisturbed one on the same machine and thread count.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from canopyflow import __version__
from canopyflow.errors import CanopyflowError, ConfigError
from canopyflow.seeds import seed_of
from canopyflow.training import checkpoint as checkpoints
from canopyflow.training.checkpoint import Position, State

log = logging.getLogger("canopyflow")

Batch = TypeVar("Batch")

_RISE = 0.1
"""Share of the steps over which the learning rate rises; it falls to nothing over the others."""

_BAD_LIMIT = 25
"""Consecutive steps without a finite loss and gradient after which a run is given up."""


@dataclass(frozen=True)
class Player(Generic[Batch]):
    """One of those that take turns.

    ``parameters``: what its steps change; every other tensor is held. ``loss(batch, step)``: a scalar.
    ``after(step)`` is called after each of its steps, without gradients, for what is refitted in closed form.
    ``kept``: tensors that ``after`` or ``loss`` change in place (buffers, refitted weights), which a
    checkpoint must hold besides ``parameters``. ``pace``: multiple of the learning rate. ``clip``: largest
    norm of its gradient. ``decay``: weight decay.
    """

    parameters: Sequence[Tensor]
    loss: Callable[[Batch, int], Tensor]
    after: Callable[[int], None] | None = None
    kept: Sequence[Tensor] = ()
    pace: float = 1.0
    clip: float = 10.0
    decay: float = 0.0


def train_plain(
    players: Sequence[Player[Batch]],
    draw_batch: Callable[[int], Batch],
    *,
    steps: int,
    rate: float,
    checkpoint: Path | None = None,
    seed: int = 0,
    digest: str = "",
    log_every: int = 100,
) -> list[dict[str, Any]]:
    """Take ``steps`` of AdamW, step s by player s modulo their number, each on ``draw_batch(s)``.

    The learning rate rises to ``rate`` over a tenth of the steps and falls to zero along a cosine. Returns a
    history: every ``log_every`` steps ``{"step", "losses"}``, the mean loss of each player since the last
    entry (None for a player that had no turn).

    ``checkpoint``: a folder that is replaced every ``log_every`` steps, and from which a run of the same
    ``digest`` (a text that names options and data, see :func:`digest_of`), seed, steps and rate under the
    same version of the code goes on; a finished run returns at once. Remove it with
    :func:`canopyflow.training.checkpoint.remove` when the result is written. ``draw_batch`` and the losses
    may use torch's global generator, which every step seeds by (``seed``, step); the caller's own stream is
    left as it was.

    Raises ConfigError if there is nobody or nothing to train, CanopyflowError if losses stay non-finite; the
    last good checkpoint is then kept.
    """
    if not players or not all(player.parameters for player in players):
        raise ConfigError("training: a player has no parameters", "give each what its steps change")
    run = _Run(players, checkpoint, _identity(players, (digest, seed, steps, rate, __version__)))
    run.resume()
    sums, counts = [0.0] * len(players), [0] * len(players)
    with torch.random.fork_rng():
        for step in range(run.position.epoch, steps):
            torch.manual_seed(seed_of("plain", seed, step))
            turn = step % len(players)
            value = run.step(turn, draw_batch(step), step, rate * _schedule(step, steps))
            if value is not None:
                sums[turn], counts[turn] = sums[turn] + value, counts[turn] + 1
            if (step + 1) % log_every == 0 or step + 1 == steps:
                means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
                run.note(step + 1, means)
                sums, counts = [0.0] * len(players), [0] * len(players)
    return run.position.history


def digest_of(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the types, shapes and values of what is learned from, for a checkpoint's digest."""
    found = hashlib.sha256()
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous().numpy()
        found.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
    return found.hexdigest()


class _Run:
    """State of one training: optimizers, position, checkpoint."""

    def __init__(self, players: Sequence[Player[Batch]], folder: Path | None, identity: str) -> None:
        self.players, self.folder, self.identity = players, folder, identity
        self.optimizers = [
            torch.optim.AdamW(list(player.parameters), lr=0.0, weight_decay=player.decay)
            for player in players
        ]
        self.position = Position()

    def resume(self) -> None:
        state = checkpoints.read(self.folder, self.identity) if self.folder is not None else None
        if state is None:
            return
        with torch.no_grad():
            for name, tensor in _tensors(self.players).items():
                tensor.copy_(state.weights[name])
        checkpoints.restore_optimizers(self.optimizers, state.optimizer)
        self.position = state.position
        log.info("resumed at step %d", self.position.epoch)

    def step(self, turn: int, batch: Any, step: int, rate: float) -> float | None:
        """One step of player ``turn``: its loss, or None if that was not finite and nothing was changed."""
        player, optimizer = self.players[turn], self.optimizers[turn]
        weights = list(player.parameters)
        with torch.enable_grad():
            value = player.loss(batch, step)
            gradients = torch.autograd.grad(value, weights, allow_unused=True)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(weights, player.clip)
        if not (bool(value.isfinite()) and bool(norm.isfinite())):
            self.position.bad_in_a_row += 1
            if self.position.bad_in_a_row >= _BAD_LIMIT:
                raise CanopyflowError(
                    f"training: no finite loss in {_BAD_LIMIT} steps up to step {step}",
                    "lower the learning rate, or look at the data of these steps",
                )
            optimizer.zero_grad(set_to_none=True)
            return None
        self.position.bad_in_a_row = 0
        optimizer.param_groups[0]["lr"] = rate * player.pace
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if player.after is not None:
            with torch.no_grad():
                player.after(step)
        return float(value.detach())

    def note(self, step: int, losses: list[float | None]) -> None:
        """Write history and checkpoint after ``step`` steps."""
        self.position.epoch = step
        self.position.history.append({"step": step, "losses": losses})
        log.info("step %d, losses %s", step, " ".join("-" if x is None else f"{x:.4f}" for x in losses))
        if self.folder is not None:
            optimizer = checkpoints.optimizer_tensors(self.optimizers)
            checkpoints.write(
                self.folder, State(self.position, _tensors(self.players), {}, optimizer), self.identity
            )


def _tensors(players: Sequence[Player[Batch]]) -> dict[str, Tensor]:
    """All tensors that a run changes, by player and place."""
    return {
        f"{number}/{place}": tensor
        for number, player in enumerate(players)
        for place, tensor in enumerate((*player.parameters, *player.kept))
    }


def _schedule(step: int, steps: int) -> float:
    """Share (0, 1] of the learning rate at ``step``."""
    rise = max(1.0, _RISE * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def _identity(players: Sequence[Player[Batch]], words: Sequence[object]) -> str:
    """Digest of what a checkpoint must fit: the caller's words, and the shapes of what is trained."""
    shapes = {name: list(tensor.shape) for name, tensor in _tensors(players).items()}
    return hashlib.sha256(json.dumps([list(map(str, words)), shapes]).encode()).hexdigest()
