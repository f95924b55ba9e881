"""The whole check of a GPU in one call: is it right, how fast is it, how much memory does it take?

    python benchmarks/gpu.py                          six minutes at most
    python benchmarks/gpu.py --device cpu --quick     the very same code on a processor, in a minute

Needs the checkout and torch, no data: spectra are simulated and a small model is trained here. Each part
prints its rows when it ends; a part that fails says why, the others go on, and the exit status is 1. Values
and gradients are held against the processor's. What is drawn cannot be equal, for each kind of device has
random numbers of its own: there the difference is in standard errors, and rates are wall time, the best of
three. `docs/scale.md` takes its figures from here.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from canopyflow.inference.summaries import DRAWN, LEARNED, Wanted, summarise
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.estimators.refined import Refined
from canopyflow.models.estimators.sampled import Sampled
from canopyflow.models.generative.prosail import ProsailPixel
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation
from canopyflow.physics import Prosail, prior
from canopyflow.registry import FAMILIES
from canopyflow.samplers.hmc import Hmc
from canopyflow.training.loop import plan
from canopyflow.training.trainer import Trainer
from canopyflow.vocabulary import BANDS, PLATFORMS

BUDGET = 330.0
"""Seconds after which no further part begins."""

CPU = torch.device("cpu")


@dataclass
class Check:
    """What is measured on, how much of it, and what was found."""

    device: torch.device
    quick: bool
    failed: list[str] = field(default_factory=list)
    trained: Amortised | None = None

    def size(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole

    def row(self, what: str, value: str, good: bool | None = None) -> None:
        """One line of the table; what is not ``good`` fails the check."""
        mark = {None: "", True: "ok", False: "WRONG"}[good]
        print(f"| {what:56s} | {value:42s} | {mark:5s} |", flush=True)
        if good is False:
            self.failed.append(what)

    def finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def best(self, work: Callable[[], object], repetitions: int = 3) -> float:
        """Seconds of the fastest call, after one that is not counted."""
        times = []
        for _ in range(repetitions + 1):
            self.finish()
            begun = time.perf_counter()
            work()
            self.finish()
            times.append(time.perf_counter() - begun)
        return min(times[1:])

    def memory(self, work: Callable[[], object]) -> str:
        """The most that a call allocates, for a row."""
        if self.device.type != "cuda":
            return ""
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        self.finish()
        return f"   {(torch.cuda.max_memory_allocated() - before) / 2**20:,.0f} MiB"


def points(count: int) -> tuple[Tensor, Tensor]:
    """Prior draws (count, 11) and angles (count, 3), the same on each machine."""
    g = torch.Generator().manual_seed(0)
    return prior("atbd").sample(count, g), Survey().angles(count, g)


def both_ways(model: Prosail, z: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Reflectance, and the gradient of the sum of all bands in the variables."""
    leaf = z.clone().requires_grad_()
    value = model(leaf, angles)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def physics(check: Check) -> None:
    """Values and gradients of PROSAIL against those of the processor, in both precisions and both paths.

    Rounding to float32 moves values by 1e-6 and gradients, up to 76 per width of a variable, by 3e-5.
    """
    z, angles = points(check.size(8192, 512))
    width = prior("atbd").upper - prior("atbd").lower
    for exact in (False, True):
        for dtype, value_within, slope_within in ((torch.float32, 1e-5, 1e-3), (torch.float64, 1e-12, 1e-8)):
            few = slice(0, 256 if exact else None)
            model, given = Prosail(exact=exact), (z[few].to(dtype), angles[few].to(dtype))
            ours = both_ways(model, *given)
            theirs = both_ways(copy.deepcopy(model).to(check.device), *(x.to(check.device) for x in given))
            apart = [(a - b.cpu()).abs() for a, b in zip(ours, theirs, strict=True)]
            # A gradient counts per width of its variable.
            value, slope = float(apart[0].max()), float((apart[1] * width).max())
            name = f"PROSAIL {'exact' if exact else 'nodes'} {str(dtype).removeprefix('torch.')}"
            good = value <= value_within and slope <= slope_within
            check.row(f"{name}: value, gradient differ", f"{value:.1e}, {slope:.1e}", good)


def untrained(family: str) -> Amortised:
    torch.manual_seed(0)
    small = {"width": 32, "blocks": 1}
    return (
        Amortised(ModelOptions(family, BANDS, PLATFORMS, encoder_options=small)).requires_grad_(False).eval()
    )


def observed(model: ProsailPixel, count: int, seed: int = 0) -> Observation:
    """Noisy simulated pixels, on the processor."""
    return model.observe(draw(model, Survey(), count, seed), generator("gpu", seed))


def densities(check: Check) -> None:
    """Densities of each family and of the joint, at the same points; draws are finite and inside the box."""
    names = sorted(FAMILIES) if not check.quick else ["nsf", "nsf_ar", "truncated_normal", "mixture"]
    count = check.size(512, 32)
    z = points(count)[0]
    for name in names:
        model = untrained(name)
        seen = observed(model.generative, count)
        there, moved = copy.deepcopy(model).to(check.device), seen.to(check.device)
        q, p = model.posterior(seen), there.posterior(moved)
        g = torch.Generator(check.device).manual_seed(0)
        drawn, log_q = p.rsample_and_log_prob((4,), g)
        low, high = (
            bound.to(check.device) for bound in (model.generative.space.lower, model.generative.space.upper)
        )
        base = p.prior.to_base(drawn)
        slack = 1e-5 * (high - low)
        inside = bool(((base >= low - slack) & (base <= high + slack)).all() and torch.isfinite(log_q).all())
        u = model.generative.prior().to_base(z)
        pairs = [(q.base_log_joint(u), p.base_log_joint(u.to(check.device)))]
        if q.has_density:
            pairs.append((q.log_prob(z), p.log_prob(z.to(check.device))))
        worst = max(float(((a - b.cpu()).abs() / (1.0 + a.abs())).max()) for a, b in pairs)
        what = "density and joint" if q.has_density else "joint"
        check.row(f"{name}: {what} differ, relatively", f"{worst:.1e}", worst <= 2e-3 and inside)


def speed(check: Check, work: Callable[[], object], size: int, compiled: bool) -> str:
    """Rate and memory of a call on ``size`` spectra; small cards do not hold every batch."""
    try:
        begun = time.perf_counter()
        work()
        check.finish()
        first = f"   first call {time.perf_counter() - begun:.0f} s" if compiled else ""
        return f"{size / check.best(work):,.0f} spectra/s{check.memory(work)}{first}"
    except torch.OutOfMemoryError:
        return "does not fit into its memory"


def spectra(check: Check) -> None:
    """Spectra per second and memory of PROSAIL by batch size, as it is and compiled."""
    sizes = [4096] if check.quick else [4096, 65_536, 524_288]
    z, angles = (x.to(check.device) for x in points(sizes[-1]))
    plain = Prosail(check=False).to(check.device)
    for model, name in ((plain, "PROSAIL"), (torch.compile(plain, dynamic=False), "PROSAIL compiled")):
        for size in sizes if name == "PROSAIL" else sizes[-1:]:
            few = z[:size], angles[:size]

            def forward(model: Any = model, few: tuple[Tensor, Tensor] = few) -> None:
                with torch.no_grad():
                    model(*few)

            def both(model: Any = model, few: tuple[Tensor, Tensor] = few) -> None:
                both_ways(model, *few)

            for way, work in (("forward", forward), ("forward and gradient", both)):
                check.row(f"{name}, {way}, batches of {size:,}", speed(check, work, size, model is not plain))
    with torch.no_grad():
        apart = float((torch.compile(plain, dynamic=False)(*few) - plain(*few)).abs().max())
    check.row("PROSAIL compiled differs", f"{apart:.1e}", apart <= 2e-5)


def training(check: Check) -> None:
    """Steps per second of both kinds of objectives, through the trainer with its checkpoints; the model."""
    steps, count, batch = check.size(200, 12), check.size(65_536, 2048), check.size(1024, 128)
    options = ModelOptions(
        "nsf",
        BANDS,
        PLATFORMS,
        encoder_options={"width": 64},
        summaries={"width": 96 if check.quick else 256},
    )
    simulated = [draw(ProsailPixel(BANDS, PLATFORMS), Survey(), n, i) for i, n in enumerate((count, 1024))]
    samples = dict(zip(("train", "validation"), ({"simulations": part} for part in simulated), strict=True))
    for objective in ("elbo", "npe"):
        phase = {"objective": objective, "epochs": 1, "steps": steps, "learning_rate": 2e-3}
        learning = {
            "epochs": 1, "steps": steps, "learning_rate": 2e-3, "data": "simulations", "draws": 16,
            "mixed": 0.0,
            "foreign": 0.0,
        }  # fmt: skip
        learned = learning if objective == "npe" else None
        whole = plan([phase], learned, batch_size=batch, seed=0)
        rest = options if learned else ModelOptions("nsf", BANDS, PLATFORMS, encoder_options={"width": 64})
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(rest, whole, samples, check.device, Path(folder), "gpu")
            begun = time.perf_counter()
            history = trainer.run()
            check.finish()
            taken = time.perf_counter() - begun
            done = sum(whole_phase.steps or 0 for whole_phase in whole.phases)
            kept = Trainer(rest, whole, samples, check.device, Path(folder), "gpu")
        same = all(
            torch.equal(a, kept.state.weights[name].to(a)) for name, a in trainer.model.weights().items()
        )
        loss = ", ".join(f"{line['loss']:.2f}" for line in history)
        check.row(
            f"training by {objective}{' and summaries' if learned else ''}, batches of {batch}",
            f"{done / taken:,.1f} steps/s   loss {loss}", same,
        )  # fmt: skip
    trainer.model.meta = {
        **trainer.set_flags(),
        "summaries": {"passed": True, "fit_trusted": 1e9},
    }
    check.trained = trainer.model.requires_grad_(False).eval()


def summaries(check: Check) -> None:
    """Pixels per second of maps and their equality with the processor's; refinement; a reference."""
    assert check.trained is not None, "needs the trained model"
    there, here = check.trained, copy.deepcopy(check.trained).to(CPU)
    seen = observed(here.generative, check.size(1 << 18, 2048), 1)
    few = seen.rows(slice(0, 128))
    ways: tuple[tuple[str, int], ...] = (
        (LEARNED, check.size(1 << 18, 2048)),
        (DRAWN, check.size(16_384, 1024)),
    )
    for way, count in ways:
        wanted = Wanted(summaries=way, batch_pixels=512 if check.device.type == "cpu" else 16_384)
        some = seen.rows(slice(0, count))
        rate = count / check.best(partial(summarise, there, some, wanted), 2)
        check.row(f"summaries, {way}", f"{rate:,.0f} pixels/s")
        many = Wanted(summaries=way, samples=check.size(2000, 500), statistics=("mean", "std"))
        ours, theirs = summarise(here, few, many), summarise(there, few, many)
        sd = np.maximum(ours.stats[..., 1], 1e-6)
        apart = np.abs(ours.stats[..., 0] - theirs.stats[..., 0]) / sd
        if way == LEARNED:
            check.row("learned means differ, in sd", f"{apart.max():.1e}", bool(apart.max() <= 1e-2))
        else:
            errors = float(apart.max() / np.sqrt(2.0 / many.samples))
            check.row("drawn means differ, in standard errors at worst", f"{errors:.1f}", errors <= 7.0)
    exact(check, there, seen)


def exact(check: Check, model: Amortised, seen: Observation) -> None:
    """Importance refinement and Hamiltonian chains."""
    refined = Refined(model, proposals=check.size(2000, 200))
    count = check.size(1024, 64)
    some, wanted = seen.rows(slice(0, count)), Wanted(summaries=DRAWN)
    rate = count / check.best(lambda: summarise(refined, some, wanted), 1)
    check.row(f"refined by {refined.spectra_per_pixel} proposals", f"{rate:,.1f} pixels/s")
    ess = summarise(refined, some, wanted).ess
    check.row("refined: median effective draws", f"{np.median(ess):.0f}", bool(np.isfinite(ess).all()))
    few = seen.rows(slice(0, check.size(64, 1))).to(check.device)
    sampled = Sampled(model.generative, Hmc(rounds=1))
    begun = time.perf_counter()
    drawn = sampled.posterior(few).draw(check.size(1000, 100), torch.Generator(check.device).manual_seed(0))
    taken = time.perf_counter() - begun
    rhat = float(drawn.diagnosis["rhat"].median())
    good = bool(torch.isfinite(drawn.z).all()) and rhat < 1.2
    check.row("reference, one round", f"{len(few) / taken:,.2f} pixels/s   median R-hat {rhat:.3f}", good)


PARTS = (physics, densities, training, summaries, spectra)
"""Whether it is right comes before how fast it is; compiling, which may take longest, is last."""


def named(device: torch.device) -> Iterator[tuple[str, str]]:
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        yield "device", f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
        yield "capability, driver of torch", f"{found.major}.{found.minor}, CUDA {torch.version.cuda}"
    else:
        yield "device", f"{device.type}, {torch.get_num_threads()} threads"
    yield "torch", torch.__version__


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check a GPU: equality with the CPU, rates, memory.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few families")
    parser.add_argument("--no-compile", action="store_true", help="leave out what needs a compiler")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "there is no GPU that this torch can use; --device cpu --quick runs the same code",
            file=sys.stderr,
        )
        return 2
    begun = time.perf_counter()
    check = Check(torch.device(given.device), given.quick)
    for what, value in named(check.device):
        check.row(what, value)
    for part in PARTS:
        if part is spectra and given.no_compile:
            continue
        if time.perf_counter() - begun > BUDGET:
            check.row(part.__name__, "not begun: time is up", False)
            continue
        try:
            part(check)
        except Exception as error:
            traceback.print_exc()
            check.row(
                part.__name__, f"{type(error).__name__}: {(str(error) or '?').splitlines()[0][:28]}", False
            )
    check.row("seconds in all", f"{time.perf_counter() - begun:.0f}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
