"""What each posterior family costs, as a ratio to the truncated normal of the same run.

    OMP_NUM_THREADS=1 python benchmarks/families_cost.py [FAMILY ...]

One thread, eleven variables, 128 features, default options, a target that costs nothing. A *draw* is
what maps take: 64 pixels, 100 draws each, no gradient. A training step is forwards and backwards, one
point for each of 1024 pixels: for the *bound* at the family's own draw, for *npe* at a given point.
Least processor times of several repetitions in turn, because machines are noisy.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from canopyflow.posteriors import FAMILIES, build

DIM, FEATURES, BATCH, REPETITIONS = 11, 128, 1024, 7
PIXELS, DRAWS = 64, 100


def log_joint(z: Tensor) -> Tensor:
    return -8.0 * (z - 0.5).square().sum(-1)


def works(name: str) -> list[Callable[[], object]]:
    """Draws, a step of the bound, a step of npe."""
    torch.manual_seed(0)
    family = build(name, DIM, FEATURES, [0.0] * DIM, [1.0] * DIM)
    h = torch.randn(BATCH, FEATURES)
    z = 0.1 + 0.8 * torch.rand(1, BATCH, DIM)

    def draw() -> None:
        with torch.no_grad():
            family(h[:PIXELS], log_joint).rsample((DRAWS,))

    def bound() -> None:
        z, log_q = family(h, log_joint).rsample_and_log_prob((1,))
        (log_q - log_joint(z)).mean().backward()

    def npe() -> None:
        (-family(h, log_joint).log_prob_bound(z).mean()).backward()

    return [draw, bound, npe]


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(FAMILIES)
    tasks = {name: works(name) for name in dict.fromkeys(["truncated_normal", *names])}
    for task in tasks.values():
        for work in task:
            work()
    times: dict[str, list[float]] = {name: [float("inf")] * 3 for name in tasks}
    for _ in range(REPETITIONS):
        for name, task in tasks.items():
            times[name] = [min(least, seconds(work)) for least, work in zip(times[name], task, strict=True)]
    base = times["truncated_normal"]
    micro = [1e6 * base[0] / (PIXELS * DRAWS), 1e6 * base[1] / BATCH, 1e6 * base[2] / BATCH]
    print("truncated_normal, µs: a draw {:.2f}, bound {:.2f}, npe {:.2f}".format(*micro))
    print(f"{'family':28s} {'draw':>8s} {'bound':>8s} {'npe':>8s}")
    for name, row in times.items():
        print(f"{name:28s} " + " ".join(f"{t / b:8.1f}" for t, b in zip(row, base, strict=True)))


if __name__ == "__main__":
    main()
