"""Small networks that are fitted beside a model: one descent for all of them.

What a model learns in phases, with checkpoints and early stopping, is trained by
:mod:`canopyflow.training.trainer`. A classifier or a baseline of a few thousand weights needs none of that.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def descent(
    parameters: Iterable[Tensor],
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    rise: float = 0.1,
    decay: float = 0.01,
    clip: float | None = None,
) -> Iterator[float]:
    """Take ``steps`` of AdamW down ``loss(step)``, a scalar, and give its value after each.

    The learning rate rises to ``rate`` over the share ``rise`` of the steps and falls to nothing after it.
    ``decay``: weight decay; ``clip``: largest norm of the gradient.
    """
    weights = list(parameters)
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=rise)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            value = loss(step)
            value.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip)
        optimizer.step()
        schedule.step()
        yield float(value.detach())
