"""Spectra per second of the decoder, as ratios to its peers, in one run on one thread.

    OMP_NUM_THREADS=1 python benchmarks/prosail_speed.py

S2A, ten bands, batches of 10,000. The peer is PyPI `prosail` followed by the convolution with the response
functions. Rates are per second of processor time, medians of repetitions in turn, because machines
are noisy. The peak of the machine is that of a float32 matrix product in the same run; the
operations of a spectrum are an estimate (see FLOPS).
On a GPU, where there is one: wall time, and the memory a spectrum takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import prosail
import torch
from torch import Tensor

from canopyflow.physics import Prosail, prior
from canopyflow.physics.bands import spectral_data

BATCH, CALLS, REPETITIONS = 10_000, 100, 9
FLOPS = 29 * 300 + 18 * 140 + 19 * 80 + 20 * 70
"""Arithmetic of one spectrum, each transcendental function counted as 20: 29 nodes of leaf and canopy,
18 leaf-angle classes seen from sun and sensor, 19 class edges, 20 hot-spot steps."""


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    work()
    return clock() - begun


def forward(model: Prosail, z: Tensor, angles: Tensor) -> Callable[[], object]:
    def work() -> object:
        with torch.inference_mode():
            return model(z, angles)

    return work


def both_ways(model: Prosail, z: Tensor, angles: Tensor) -> Callable[[], object]:
    leaf, ones = z.clone().requires_grad_(), torch.ones(len(z), 10, device=z.device)
    return lambda: torch.autograd.grad(model(leaf, angles), leaf, ones)


def prosail_peer(z: Tensor) -> Callable[[], object]:
    few, response = z[:CALLS].double().numpy(), spectral_data().response[0].T.copy()

    def work() -> None:
        for n, cab, car, cbrown, cw, cm, lai, lidfa, hspot, psoil, rsoil in few:
            spectrum = prosail.run_prosail(
                n, cab, car, cbrown, cw, cm, lai, lidfa, hspot, 30, 5, 90,
                prospect_version="D", ant=0.0, typelidf=2, rsoil=rsoil, psoil=psoil,
            )  # fmt: skip
            spectrum @ response

    return work


def rates(rows: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in rows}
    for work, _ in rows.values():
        work(), work()
    for _ in range(REPETITIONS):
        for name, (work, count) in rows.items():
            times[name].append(count / seconds(work, time.process_time))
    return {name: statistics.median(values) for name, values in times.items()}


def on_gpu(model: Prosail, z: Tensor, angles: Tensor) -> None:
    count = 1 << 20
    model, z, angles = (
        model.cuda(),
        z[:1].expand(count, 11).contiguous().cuda(),
        angles[:1].expand(count, 3).cuda(),
    )
    for name, work in (("forward", forward(model, z, angles)), ("both", both_ways(model, z, angles))):

        def finished(work: Callable[[], object] = work) -> None:
            work()
            torch.cuda.synchronize()

        finished()
        torch.cuda.reset_peak_memory_stats()
        rate = count / min(seconds(finished, time.perf_counter) for _ in range(REPETITIONS))
        memory = torch.cuda.max_memory_allocated() / count
        print(f"GPU {name:26s} {rate:13,.0f} spectra/s   {memory:8,.0f} bytes a spectrum")


def main() -> None:
    torch.set_num_threads(1)
    z = prior("atbd").sample(BATCH, torch.Generator().manual_seed(0))
    angles = torch.tensor([70.0, 12.0, 180.0]) * torch.rand(
        BATCH, 3, generator=torch.Generator().manual_seed(1)
    )
    fused, plain, exact = (
        Prosail("S2A", check=False, compile=c, exact=e) for c, e in ((1, 0), (0, 0), (0, 1))
    )
    square = torch.rand(1024, 1024)
    found = rates({
        "prosail (PyPI) and bands": (prosail_peer(z), CALLS),
        "compiled": (forward(fused, z, angles), BATCH),
        "compiled, with gradient": (both_ways(fused, z, angles), BATCH),
        "uncompiled": (forward(plain, z, angles), BATCH),
        "uncompiled, with gradient": (both_ways(plain, z, angles), BATCH),
        "exact path": (forward(exact, z[:1000], angles[:1000]), 1000),
        "matrix product": (lambda: square @ square, 2 * 1024**3),
    })  # fmt: skip
    peak, base = found.pop("matrix product"), found["prosail (PyPI) and bands"]
    for name, rate in found.items():
        print(f"{name:30s} {rate:12,.0f} spectra/s   {rate / base:8.1f} x prosail")
    print(f"forward + backward / forward: {found['compiled'] / found['compiled, with gradient']:.2f}")
    print(f"peak {peak / 1e9:.0f} Gflop/s; compiled forward at {found['compiled'] * FLOPS / peak:.0%} of it")
    if torch.cuda.is_available():
        on_gpu(Prosail("S2A", check=False, compile=True), z, angles)


if __name__ == "__main__":
    main()
