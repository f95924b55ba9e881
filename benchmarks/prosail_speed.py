"""Spectra per second of the decoder, as a ratio to PyPI `prosail` with band convolution, in one run.

    OMP_NUM_THREADS=1 python benchmarks/prosail_speed.py

One thread, S2A, ten bands. Medians of several repetitions in turn, because machines are noisy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import prosail
import torch

from canopyflow.physics import Prosail, prior

BATCH, CALLS, REPETITIONS = 10_000, 100, 7


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    torch.set_num_threads(1)
    model, exact = Prosail(sensor="S2A"), Prosail(sensor="S2A", exact=True)
    z = prior("atbd").sample(BATCH, torch.Generator().manual_seed(0))
    angles = torch.tensor([30.0, 5.0, 90.0]).expand(BATCH, 3)
    few = z[:CALLS].double().numpy()

    def forward() -> None:
        with torch.inference_mode():
            model(z, angles)

    def both_ways() -> None:
        leaf = z.clone().requires_grad_()
        model(leaf, angles).sum().backward()

    def exact_path() -> None:
        with torch.inference_mode():
            exact(z[:1000], angles[:1000])

    def peer() -> None:
        for n, cab, car, cbrown, cw, cm, lai, lidfa, hspot, psoil, rsoil in few:
            prosail.run_prosail(
                n, cab, car, cbrown, cw, cm, lai, lidfa, hspot, 30, 5, 90,
                prospect_version="D", ant=0.0, typelidf=2, rsoil=rsoil, psoil=psoil,
            )  # fmt: skip

    rows = {
        "prosail (PyPI)": (peer, CALLS),
        "forward": (forward, BATCH),
        "forward + backward": (both_ways, BATCH),
        "exact path, 2101 wavelengths": (exact_path, 1000),
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    for work, _ in rows.values():
        work()
    for _ in range(REPETITIONS):
        for name, (work, count) in rows.items():
            times[name].append(count / seconds(work))
    base = statistics.median(times["prosail (PyPI)"])
    for name, rates in times.items():
        rate = statistics.median(rates)
        print(f"{name:30s} {rate:12,.0f} spectra/s   {rate / base:8.1f} x prosail")


if __name__ == "__main__":
    main()
