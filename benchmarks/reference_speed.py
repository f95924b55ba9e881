"""Processor seconds of the reference posterior, beside those of another checkout in the same run.

    python benchmarks/reference_speed.py --base CHECKOUT [--pixels 256]

Simulated pixels as `config/campaigns/simulated_benchmark.yaml` asks for (1000 draws, at most 6 rounds, one
thread), in groups of 64, each by both checkouts in turn, because machines are noisy. The last line is JSON.
The means of both, over pixels whose chains have converged in both, are compared in posterior standard
deviations: between two sets of a thousand independent draws the root mean square is .045. So are the
deviations: chains that never reach the tails have the same means and are narrower. Of each variable the mean
ratio over pixels is taken; that of the one farthest from 1 is told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

GROUP, DRAWS, ROUNDS = 64, 1000, 6
HERE = Path(__file__).resolve()


def sample(group: int, size: int, out: Path) -> None:
    """What one checkout, the one that is imported, takes for one group of pixels, and what it finds."""
    from canopyflow.evaluation.against.reference_posterior import ReferenceOptions, sample_posterior
    from canopyflow.models.generative.prosail import ProsailPixel
    from canopyflow.models.runtime import generator
    from canopyflow.models.simulate import Survey, draw
    from canopyflow.vocabulary import BANDS, PLATFORMS

    torch.set_num_threads(1)
    model = ProsailPixel(BANDS, PLATFORMS)
    seen = model.observe(draw(model, Survey(), size, group), generator("reference noise", group))
    begun = time.process_time()
    found = sample_posterior(model, seen, ReferenceOptions(DRAWS, ROUNDS, group))
    seconds = time.process_time() - begun
    draws = found.draws.numpy()
    np.savez(
        out, seconds=seconds, reliable=found.reliable.numpy(), ess=found.ess_bulk.numpy(),
        mean=draws.mean(1), sd=draws.std(1),
    )  # fmt: skip


def measured(checkout: Path, group: int, size: int) -> dict[str, np.ndarray]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        arguments = ["--group", str(group), "--size", str(size), "--out", str(out)]
        subprocess.run([sys.executable, str(HERE), *arguments], env=environment, check=True)
        with np.load(out) as found:
            return dict(found)


def compare(base: Path, pixels: int) -> None:
    sides = {"base": base.resolve(), "here": HERE.parents[1]}
    found: dict[str, list[dict[str, np.ndarray]]] = {side: [] for side in sides}
    for group, first in enumerate(range(0, pixels, GROUP)):
        size = min(GROUP, pixels - first)
        for side, checkout in sides.items():
            one = measured(checkout, group, size)
            found[side].append(one)
            print(
                f"group {group}  {side}  {one['seconds']:7.1f} s  {one['reliable'].sum():3d} of {size} used  "
                f"median effective draws {np.median(one['ess']):,.0f}",
                flush=True,
            )
    seconds = {side: float(sum(one["seconds"] for one in groups)) for side, groups in found.items()}
    one, other = (
        {name: np.concatenate([part[name] for part in groups]) for name in ("mean", "sd", "reliable")}
        for groups in found.values()
    )
    both = one["reliable"] & other["reliable"]
    wide = (other["sd"] / one["sd"])[both].mean(0)
    apart = ((one["mean"] - other["mean"]) / one["sd"])[both]
    print(
        json.dumps({
            "pixels": pixels,
            "seconds": {side: round(value, 1) for side, value in seconds.items()},
            "ratio": round(seconds["here"] / seconds["base"], 3),
            "used": {"base": int(one["reliable"].sum()), "here": int(other["reliable"].sum())},
            "means_apart_rms_sd": round(float(np.sqrt((apart**2).mean())), 3),
            "deviations_ratio": round(float(wide.mean()), 3),
            "deviations_ratio_farthest": round(float(wide[np.abs(wide - 1).argmax()]), 3),
        })
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="The reference posterior's processor seconds.")
    parser.add_argument("--base", type=Path, help="a checkout to measure beside this one")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--group", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.out is not None:
        sample(given.group, given.size, given.out)
    elif given.base is None:
        parser.error("--base is needed")
    else:
        compare(given.base, given.pixels)


if __name__ == "__main__":
    main()
