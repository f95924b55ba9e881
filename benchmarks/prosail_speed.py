"""Spectra per second of the decoder, as ratios to its peers, in one run on one thread.

    OMP_NUM_THREADS=1 python benchmarks/prosail_speed.py

S2A, ten bands, batches of 10,000. The peers are PyPI `prosail` and `torchrtm` (batched, the better of two
sizes), each followed by the convolution with the response functions. Rates are per second of processor time,
medians of repetitions in turn, because machines are noisy. The peak of the machine is that of a float32
matrix product in the same run. The operations of a spectrum are counted while one batch runs, each element
of a pointwise operation as one, be it a sum or an exponential (`torch.utils.flop_counter` knows matrix
products only): a lower bound. Memory is the most that one call held at once beyond its
inputs, from the allocations that torch's profiler records. All outputs of a product, FAPAR and FCOVER among
them, are timed beside the spectra, a hundred states per pixel. On a GPU, where there is one: wall time and
memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import prosail
import torch
import torchrtm.models.models as torchrtm
from torch import Tensor
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.observations.observation import Given
from canopyflow.physics import Prosail, prior
from canopyflow.physics.bands import spectral_data
from canopyflow.vocabulary import BANDS, DERIVED, NAMES, PLATFORMS

BATCH, CALLS, REPETITIONS = 10_000, 100, 9
FEW = 1000
"""Spectra per repetition of the slow ones."""


class Operations(TorchDispatchMode):
    """Counts arithmetic: elements of pointwise operations and of sums, two per term of a matrix product."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mm.default:
            self.count += 2 * args[0].numel() * args[1].shape[1]
        elif torch.Tag.pointwise in function.tags:
            self.count += result.numel()
        elif function is torch.ops.aten.sum.dim_IntList:
            self.count += args[0].numel()
        return result


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    work()
    return clock() - begun


def forward(model: Callable[..., Tensor], z: Tensor, angles: Tensor) -> Callable[[], object]:
    def work() -> object:
        with torch.inference_mode():
            return model(z, angles)

    return work


def both_ways(model: Prosail, z: Tensor, angles: Tensor) -> Callable[[], object]:
    leaf, ones = z.clone().requires_grad_(), torch.ones(len(z), 10, device=z.device)
    return lambda: torch.autograd.grad(model(leaf, angles), leaf, ones)


def every_output(z: Tensor, angles: Tensor) -> Callable[[], object]:
    """The eleven variables and all that follows from them, of a hundred states per pixel."""
    model, pixels = ProsailPixel(BANDS, PLATFORMS), len(z) // 100
    given = Given(geometry=angles[:pixels], platform=torch.zeros(pixels, dtype=torch.long), bands=BANDS)
    z = z.reshape(100, pixels, -1)
    names = (*NAMES, *(variable.name for variable in DERIVED))

    def work() -> object:
        with torch.inference_mode():
            return model.outputs(z, given, names)

    return work


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


def torchrtm_peer(z: Tensor, angles: Tensor, batch: int) -> Callable[[], Tensor]:
    """Its soil has no brightness and its leaf angles 13 classes: the same work, not quite the same value."""
    n, cab, car, cbrown, cw, cm, lai, lidfa, hspot, psoil, _ = z[:FEW].T.contiguous()
    traits = torch.stack([cab, car, cbrown, cw, cm, torch.zeros_like(n)], 1)
    sun, view, azimuth = angles[:FEW].T.contiguous()
    response = torch.from_numpy(spectral_data().response[0].T.copy()).float()

    def work() -> Tensor:
        spectra = torchrtm.prosail(
            traits, n, lidfa, torch.zeros_like(n), lai, hspot, sun, view, azimuth, torch.full_like(n, 40.0),
            psoil, batch_size=batch, prospect_type="prospect5d", lidtype=2,
        )  # fmt: skip
        return spectra[3].T @ response

    return work


def held(work: Callable[[], object], count: int) -> float:
    """Bytes per spectrum at the call's peak."""
    work()
    with profile(profile_memory=True) as record:
        work()
    now = most = 0
    events = record.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / count


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


def count_operations(model: Prosail, z: Tensor, angles: Tensor) -> float:
    with Operations() as operations, torch.no_grad():
        model(z, angles)
    return operations.count / len(z)


def report(found: dict[str, float], operations: float) -> None:
    peak, base = found.pop("matrix product"), found["prosail (PyPI) and bands"]
    peer = max(rate for name, rate in found.items() if name.startswith("torchrtm"))
    for name, rate in found.items():
        print(
            f"{name:30s} {rate:12,.0f} spectra/s {rate / base:8.1f} x prosail {rate / peer:8.1f} x torchrtm"
        )
    print(f"forward + backward / forward: {found['forward'] / found['with gradient']:.2f}")
    print(f"the check takes {found['forward'] / found['checked'] - 1:.0%} of a forward")
    print(
        f"{operations:,.0f} operations a spectrum, peak {peak / 1e9:.0f} Gflop/s; "
        f"forward at {found['forward'] * operations / peak:.0%} of it"
    )


def main() -> None:
    torch.set_num_threads(1)
    z = prior("atbd").sample(BATCH, torch.Generator().manual_seed(0))
    angles = torch.tensor([70.0, 12.0, 180.0]) * torch.rand(
        BATCH, 3, generator=torch.Generator().manual_seed(1)
    )
    plain, checked, exact = (
        Prosail(check=c, exact=e) for c, e in ((False, False), (True, False), (False, True))
    )
    square, white = torch.rand(1024, 1024), torch.cat([z[:FEW, :10], torch.ones(FEW, 1)], 1)
    agreed = (torchrtm_peer(z, angles, 100)() - exact(white, angles[:FEW])).abs()
    print(f"torchrtm and the exact path differ by {agreed.median():.1e} in the median of bands")
    found = rates({
        "prosail (PyPI) and bands": (prosail_peer(z), CALLS),
        "torchrtm by 100 and bands": (torchrtm_peer(z, angles, 100), FEW),
        "torchrtm by 1000 and bands": (torchrtm_peer(z, angles, FEW), FEW),
        "forward": (forward(plain, z, angles), BATCH),
        "checked": (forward(checked, z, angles), BATCH),
        "with gradient": (both_ways(plain, z, angles), BATCH),
        "all outputs": (every_output(z, angles), BATCH),
        "exact path": (forward(exact, z[:FEW], angles[:FEW]), FEW),
        # One kernel for batches of one size, after a first call of half a minute; needs a C++ compiler.
        "forward compiled by torch": (forward(torch.compile(plain, dynamic=False), z, angles), BATCH),
        "matrix product": (lambda: square @ square, 2 * 1024**3),
    })  # fmt: skip
    report(found, count_operations(plain, z, angles))
    for name, work in (
        ("forward", forward(plain, z, angles)),
        ("with gradient", both_ways(plain, z, angles)),
    ):
        print(f"{name:30s} {held(work, BATCH):12,.0f} bytes a spectrum")
    if torch.cuda.is_available():
        on_gpu(plain, z, angles)


if __name__ == "__main__":
    main()
