"""How weights are moved: AdamW all of them, or Muon the matrices among them.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, as in torch.optim) replaces the momentum
of a matrix by the nearest orthogonal one: a step goes as far in directions that gradients rarely point to as
in those that they always do. Models of seasons then need a fraction of the steps (docs/seasons.md), each of
which takes as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from canopyflow.errors import ConfigError
from canopyflow.vocabulary import MUON, OPTIMIZERS

_PACE = 4.0
"""Learning rate of Muon, as a multiple of the one that is given, which is Adam's."""

_LEAST = 16
"""Rows and columns that a matrix must have for Muon; smaller ones have few directions."""


@dataclass(frozen=True)
class Paced:
    """An ``optimizer`` whose learning rate is ``pace`` times the one of the phase."""

    optimizer: torch.optim.Optimizer
    pace: float = 1.0

    def set_rate(self, rate: float) -> None:
        """Move on at the learning ``rate`` of the phase."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.pace


def optimizers(name: str, weights: Iterable[nn.Parameter], rate: float, decay: float) -> list[Paced]:
    """Those that move ``weights`` under the optimizer of this name, at Adam's learning ``rate`` and with this
    weight ``decay``. Raises ConfigError for an unknown name."""
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer {name!r} is unknown", f"known are {', '.join(OPTIMIZERS)}")
    weights = list(weights)
    wide = [w for w in weights if w.ndim == 2 and min(w.shape) >= _LEAST] if name == MUON else []
    taken = {id(w) for w in wide}
    rest = [w for w in weights if id(w) not in taken]
    made = [Paced(torch.optim.AdamW(rest, lr=rate, weight_decay=decay))] if rest else []
    if wide:
        # At this scaling a step is as long as one of Adam's.
        muon = torch.optim.Muon(wide, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        made.append(Paced(muon, _PACE))
    return made
