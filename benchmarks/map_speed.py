"""Maps at the speed of reading: learned summaries beside many draws, `infer` beside a bare network.

    OMP_NUM_THREADS=1 python benchmarks/map_speed.py --model results/demo/models/nsf/seed0
    OMP_NUM_THREADS=1 python benchmarks/map_speed.py --model FOLDER FOLDER --size 2048 --scenes 2

First, for each model, the summaries that its network has learned: of nine variables, held against 10,000
draws of the same posterior beside those of 100 draws; the share of simulated truths inside the learned
intervals; pixels per second of one core, of those that are trusted; and which share is not and would be drawn
at two hundred times the cost: of simulated pixels, and of such with 5 % noise in each band, which no state
explains. Then the job, with the first model. A scene store and its masks are written, as a campaign has them:
spectra that the physics simulates from states which vary smoothly over the ground, with noise of its own in
every pixel, all clear. The job runs with the default outputs, and in turn with it, under the same reading and
writing, a network of the size of the Sentinel-2 toolbox's (eleven inputs, five tanh units, one output): with
as many layers written, and with one. Medians of the repetitions.
The last line is JSON.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from canopyflow.atomic import content_digest
from canopyflow.cubes.layout import NODATA, SCALE, array_of, empty, in_strips, write_template
from canopyflow.inference.allocation import Allocation
from canopyflow.inference.blocks import Job, MapOptions, Mapper, computed_statistics
from canopyflow.inference.maps import infer, write_maps
from canopyflow.inference.stored import open_product
from canopyflow.inference.summaries import Summary, Wanted, summarise
from canopyflow.models.bundle import load, read_description
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.simulate import Survey, draw
from canopyflow.models.statistics import errors_of_summaries
from canopyflow.observations.observation import Observation, pixels
from canopyflow.vocabulary import STATISTICS

NINE = ("lai", "cab", "car", "cw", "cm", "N", "lidfa", "ccc", "cwc")
"""Variables whose summaries are held against draws."""
TILE = 5490
"""Side of a tile at 20 m, pixels."""
PATCH, SMOOTH, PIXEL = 512, 12.0, 20
"""Side of the simulated ground, which is repeated as in mirrors, and how far it is alike, pixels; metres."""
ANGLES = {"sun_zenith": 35.0, "sun_azimuth": 155.0, "view_zenith": 5.0, "view_azimuth": 285.0}
TOOLBOX = ("B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Bands of the toolbox's network; the cosines of three angles come with them."""


def ground(model: Amortised, generator: torch.Generator) -> Tensor:
    """States (PATCH, PATCH, D) of the prior, alike nearby: sorted draws in the order of smooth fields."""
    rng = np.random.default_rng(0)
    base = model.generative.prior().to_base(model.generative.prior().sample(PATCH**2, generator))
    for i in range(base.shape[1]):
        field = gaussian_filter(rng.normal(size=(PATCH, PATCH)), SMOOTH, mode="mirror")
        order = torch.from_numpy(field.ravel().argsort())
        base[order, i] = base[:, i].sort().values
    return model.generative.prior().to_physical(base)


def write_scenes(folder: Path, model: Amortised, size: int, scenes: int) -> tuple[Path, Path]:
    """Scene and mask store of ``scenes`` clear acquisitions of ``size`` x ``size`` pixels."""
    generator = torch.Generator().manual_seed(0)
    z = ground(model, generator)
    geometry = torch.tensor([ANGLES["sun_zenith"], ANGLES["view_zenith"], 130.0]).expand(PATCH**2, 3)
    given = pixels(torch.zeros(PATCH**2, len(model.bands)), geometry, "S2A", model.bands)
    clean = [model.generative.render(a, b) for a, b in zip(z.split(8192), given.split(8192), strict=True)]
    stores = folder / "scenes.zarr", folder / "masks.zarr"
    numbers, valid, quality = templates(stores, model.bands, size, scenes)
    for t in range(scenes):
        for row in range(0, size, 2 * PATCH):
            rows = slice(row, min(row + 2 * PATCH, size))
            strip = np.empty((len(model.bands), rows.stop - row, size), np.uint16)
            for y in range(0, strip.shape[1], PATCH):
                for x in range(0, size, PATCH):
                    noisy = torch.cat([model.generative.observe(c, generator).reflectance for c in clean])
                    patch = mirrored(noisy.reshape(PATCH, PATCH, -1), (row + y) // PATCH, x // PATCH)
                    part = strip[:, y : y + PATCH, x : x + PATCH]
                    part[...] = np.clip(np.round(patch / SCALE), NODATA + 1, 2e4)[
                        :, : part.shape[1], : part.shape[2]
                    ]
            numbers[t, :, rows], valid[t, rows], quality[t, rows] = strip, True, 0
    return stores


def mirrored(patch: Tensor, row: int, column: int) -> NDArray[np.float32]:
    """The patch (y, x, band) as it lies at this place of the ground, (band, y, x)."""
    turned = patch.numpy()[:: 1 - 2 * (row % 2), :: 1 - 2 * (column % 2)]
    return np.moveaxis(turned, -1, 0)


def templates(stores: tuple[Path, Path], bands: Sequence[str], size: int, scenes: int) -> list[Any]:
    """Empty stores; their arrays of reflectance, validity and quality."""
    shape, nodes = (scenes, len(bands), size, size), np.array([0.0, -size * PIXEL])
    plane, days = (scenes, size, size), np.arange(scenes) * np.timedelta64(5, "D")
    metres = (np.arange(size) + 0.5) * PIXEL
    scene = xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), empty(shape, np.float32)),
            **{
                name: (("time", "y_angle", "x_angle"), np.full((scenes, 2, 2), value, np.float32))
                for name, value in ANGLES.items()
            },
        },
        coords={
            "time": np.datetime64("2022-05-01T10:30", "ns") + days,
            "band": np.array(bands, dtype=object),
            "y": 5_300_000 - metres,
            "x": 600_000 + metres,
            "y_angle": 5_300_000 + nodes,
            "x_angle": 600_000 - nodes,
            "item": ("time", np.array([f"scene{i}" for i in range(scenes)], dtype=object)),
            "platform": ("time", np.array(["S2A"] * scenes, dtype=object)),
        },
        attrs={
            "tile": "32TPT",
            "month": "2022-05",
            "epsg": 32632,
            "transform": [PIXEL, 0, 600_000, 0, -PIXEL, 5_300_000],
        },
    )
    mask = xr.Dataset(
        {
            "valid": (("time", "y", "x"), empty(plane, bool)),
            "quality": (("time", "y", "x"), empty(plane, "u2")),
        }
    )
    reflectance = {"dtype": "uint16", "scale_factor": SCALE, "_FillValue": NODATA}
    groups = [
        write_template(stores[0], scene, {"reflectance": {**in_strips(shape), **reflectance}}),
        write_template(stores[1], mask, {name: in_strips(plane) for name in ("valid", "quality")}),
    ]
    return [
        array_of(groups[0], "reflectance"),
        array_of(groups[1], "valid"),
        array_of(groups[1], "quality"),
    ]


class Bare(Mapper):
    """The same loop around the toolbox's kind of network; every layer is its one output, scaled."""

    def __init__(self, job: Job, bundle: Path) -> None:
        super().__init__(job, load(bundle))
        torch.manual_seed(0)
        self._network = nn.Sequential(nn.Linear(11, 5), nn.Tanh(), nn.Linear(5, 1)).requires_grad_(False)
        count = len(computed_statistics(self._options.statistics))
        self._scaled = torch.linspace(0.2, 0.3, len(self._options.outputs) * count)

    def summary(self, seen: Observation, seed: int) -> Summary:
        columns = torch.tensor([seen.bands.index(band) for band in TOOLBOX])
        shape = (len(self._options.outputs), len(computed_statistics(self._options.statistics)))
        stats = np.empty((len(seen), *shape), np.float32)
        for first in range(0, len(seen), 8192):
            some = slice(first, first + 8192)
            inputs = [seen.reflectance[some][:, columns], seen.geometry[some].deg2rad().cos()]
            found = self._network(torch.cat(inputs, dim=-1))
            stats[some] = (found * self._scaled).abs().reshape(-1, *shape).numpy()
        return Summary(stats, np.ones(len(seen), np.float32), np.zeros(len(seen), np.uint8))


def bare(bundle: Path, job: Job, device: str) -> Mapper:
    return Bare(job, bundle)


def job_half(o: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rates of the job and of the bare network, and what the product takes."""
    bundle = o.model[0]
    scenes, masks = write_scenes(folder, load(bundle), o.size, o.scenes)
    about = {**read_description(bundle), "sha256": content_digest(bundle)}
    plain = MapOptions(device="cpu", summaries=o.summaries)
    one = MapOptions(device="cpu", outputs=["lai"], statistics=["std"])
    allocation = Allocation(o.workers)
    ways: dict[str, Callable[[Path], None]] = {
        "infer": lambda out: infer(bundle, scenes, masks, out, plain, allocation),
        "bare network": lambda out: write_maps(
            partial(bare, bundle), about, scenes, masks, out, plain, allocation
        ),
        "bare network, one layer": lambda out: write_maps(
            partial(bare, bundle), about, scenes, masks, out, one, allocation
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(o.repetitions):
        for name, way in ways.items():
            out = folder / "product.zarr"
            begun = time.perf_counter()
            way(out)
            seconds[name].append(time.perf_counter() - begun)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
            if name == "infer":
                files = [path for path in out.rglob("*") if path.is_file()]
                written = sum(path.stat().st_size for path in files)
                found = {"bytes_per_pixel": round(written / o.size**2 / o.scenes, 2), "files": len(files)}
                with open_product(out) as product:
                    found["product_drawn_share"] = round(product.attrs["drawn_share"], 4)
            shutil.rmtree(out)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name}: {o.size**2 * o.scenes / value:,.0f} pixels per second, {o.workers} workers")
    return {
        "infer_pixels_per_second": round(o.size**2 * o.scenes / median["infer"]),
        "ratio_to_bare_network": round(median["infer"] / median["bare network"], 2),
        "ratio_to_bare_network_of_one_layer": round(median["infer"] / median["bare network, one layer"], 2),
        **found,
    }


def accuracy(o: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Errors of the learned summaries of one model in posterior standard deviations, coverage, and their
    rate."""
    model = load(folder)
    if not model.learns:
        raise SystemExit(f"{folder} has no learned summaries, or they failed their check")
    clean = draw(model.generative, Survey(), o.pixels, 1)
    seen = model.generative.observe(clean, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(2)
    errors = errors_of_summaries(model, seen, many=10_000, few=100, names=NINE, generator=g)
    learned, drawn = errors["learned"], errors["drawn"]
    worse = {
        level: np.quantile(learned, level, axis=0) > np.quantile(drawn, level, axis=0)
        for level in (0.5, 0.99)
    }
    for kind, values in errors.items():
        median, most = np.quantile(values, 0.5, axis=0), np.quantile(values, 0.99, axis=0)
        print(f"{folder}: {kind}: median {np.median(values):.3f}, 99 % {np.quantile(values, 0.99):.3f}")
        for i, name in enumerate(NINE):
            pairs = "  ".join(
                f"{s} {m:.3f} {t:.2f}" for s, m, t in zip(STATISTICS, median[i], most[i], strict=True)
            )
            print(f"  {name:6s} {pairs}")
    for level, found in worse.items():
        places = ", ".join(f"{NINE[i]} {STATISTICS[j]}" for i, j in np.argwhere(found))
        print(f"  worse than 100 draws at {level:g}: {int(found.sum())} of {found.size}: {places or 'none'}")
    return {
        "pixels_per_second_core": round(rate(model, seen)),
        **drawn_shares(model, seen),
        "error_median": round(float(np.median(learned)), 4),
        "error_p99": round(float(np.quantile(learned, 0.99)), 3),
        "worse_than_100_draws": int(worse[0.5].sum() + worse[0.99].sum()),
        **coverage(model),
    }


def coverage(model: Amortised) -> dict[str, float]:
    """Largest distance of a learned interval's coverage from its nominal one over nine variables, by
    level."""
    clean = draw(model.generative, Survey(), 20_000, 3)
    seen = model.generative.observe(clean, torch.Generator().manual_seed(3))
    assert clean.truth is not None and model.head is not None
    with torch.no_grad():
        truth = model.generative.outputs(clean.truth, seen, NINE).T
        quantiles = model.head(model.head.inputs(seen), NINE)[2]
    out = {}
    for first, last, nominal in ((0, 8, 95), (1, 7, 90), (2, 6, 80), (3, 5, 50)):
        inside = ((truth >= quantiles[first]) & (truth <= quantiles[last])).float().mean(-1)
        mean, off = float(inside.mean()), float((inside - nominal / 100).abs().max())
        print(f"  {nominal} % interval covers {mean:.4f} in the mean; farthest off by {off:.4f}")
        out[f"coverage_off_{nominal}"] = round(off, 4)
    return out


def drawn_shares(model: Amortised, seen: Observation) -> dict[str, float]:
    """Shares of pixels that are not trusted: as simulated, and with 5 % noise in each band."""
    noise = 1 + 0.05 * torch.randn(seen.reflectance.shape, generator=torch.Generator().manual_seed(4))
    disturbed = replace(seen, reflectance=seen.reflectance * noise)
    with torch.no_grad():
        share, other = (
            1 - float(model.learned(some, ("lai",), ("mean",)).trusted.float().mean())
            for some in (seen, disturbed)
        )
    print(f"  drawn: {100 * share:.2f} % of simulated pixels, {100 * other:.1f} % of disturbed ones")
    return {"drawn_share": round(share, 4), "drawn_share_disturbed": round(other, 4)}


def rate(model: Amortised, seen: Observation) -> float:
    """Pixels per second of one core whose summaries are given, all seven of nine variables; median of
    five."""
    assert model.head is not None
    with torch.no_grad():
        inside = model.learned(seen, NINE, STATISTICS).trusted.nonzero()[:, 0]
    many = seen.rows(inside[torch.arange(2**17) % len(inside)])
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        found = summarise(model, many, Wanted(NINE))
        seconds.append(time.perf_counter() - begun)
    assert not found.drawn, "of pixels whose summaries are trusted none is drawn"
    return len(many) / statistics.median(seconds)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="bundles; maps are of the first")
    parser.add_argument("--pixels", type=int, default=1000, help="pixels of which 10,000 draws are taken")
    parser.add_argument("--size", type=int, default=TILE, help="pixels of the tile along a side")
    parser.add_argument("--scenes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--summaries", choices=["learned", "drawn"], default="learned")
    parser.add_argument("--folder", type=Path, help="where there is room: 60 bytes per pixel and scene")
    return parser.parse_args()


def main() -> int:
    o = options()
    torch.set_num_threads(1)
    found = [accuracy(o, folder) for folder in o.model]
    rates = {name: [one[name] for one in found] for name in found[0]}
    worst = {name: min(v) if name == "pixels_per_second_core" else max(v) for name, v in rates.items()}
    with tempfile.TemporaryDirectory(prefix="map-speed-", dir=o.folder) as folder:
        print(json.dumps(worst | job_half(o, Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
