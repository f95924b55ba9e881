"""Checkpoints: the whole state of a training run in one file, replaced atomically.

One safetensors file holds weights, the best weights so far and the optimizer's tensors; everything else
(where the run is, its history) is JSON in that file's own header. One file and one rename: there is no
instant at which weights and position could disagree.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from canopyflow.atomic import atomic_file

log = logging.getLogger("canopyflow")

_FILE = "state.safetensors"


@dataclass
class Position:
    """Where a run is: the next epoch to run, and what early stopping remembers."""

    phase: int = 0
    epoch: int = 0
    best: float = float("inf")
    waited: int = 0
    bad_in_a_row: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class State:
    """A position with the tensors that belong to it."""

    position: Position
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def write(folder: Path, state: State, options_digest: str) -> None:
    """Replace the checkpoint in ``folder``."""
    tensors = {f"weights/{k}": v for k, v in state.weights.items()}
    tensors |= {f"best/{k}": v for k, v in state.best_weights.items()}
    tensors |= {f"optimizer/{k}": v for k, v in state.optimizer.items()}
    # Clones: safetensors refuses tensors that share memory, as weights and best weights may.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {"position": json.dumps(asdict(state.position)), "options": options_digest}
    with atomic_file(folder / _FILE) as scratch:
        save_file(tensors, scratch, metadata=header)


def read(folder: Path, options_digest: str) -> State | None:
    """The checkpoint in ``folder``; None, with a log line, if there is none that fits these options."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("options") != options_digest:
                log.info("checkpoint %s belongs to other options or data: starting anew", path)
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            position = Position(**json.loads(header["position"]))
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        log.warning("checkpoint %s is damaged (%s): starting anew", path, error)
        return None
    return State(position, *(_below(tensors, part) for part in ("weights/", "best/", "optimizer/")))


def remove(folder: Path) -> None:
    """Delete the checkpoint folder."""
    shutil.rmtree(folder, ignore_errors=True)


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """States of Adam-like optimizers as flat names ``{optimizer}/{parameter}/{quantity}``."""
    return {
        f"{number}/{i}/{name}": tensor
        for number, optimizer in enumerate(optimizers)
        for i, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def restore_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Inverse of :func:`optimizer_tensors`, for optimizers made over the same parameters."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below(tensors, f"{number}/").items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
