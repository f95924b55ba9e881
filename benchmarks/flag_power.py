"""Which spectra the flags find, and how often they are wrong.

    OMP_NUM_THREADS=1 python benchmarks/flag_power.py --model results/demo/models/nsf/seed0
    OMP_NUM_THREADS=1 python benchmarks/flag_power.py --model FOLDER --real FOLDER [--summaries drawn]

Simulations of the model's own law, drawn anew, tell the false alarms. Kinds of ground that no canopy is come
from published magnitudes, dimmed and brightened, with noise; clouds' edges, offsets, saturated bands and
bands without data are done to simulations, offsets by greenness too: the law holds bright and dark soils that
look like others with an offset, and no test can tell those. With `--real` (folder of real data of the tests):
field rows of many biomes, clear pixels of Swiss wheat, and the classes of an Alpine scene with four bands
(for which only the domain is asked), each as they are and with both offsets; and the errors of green leaf
area of flagged and of other rows. Per kind: shares with each flag and with any; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import torch
from numpy.typing import NDArray

from canopyflow.archive.harmonise import apply_offset, decide_offset
from canopyflow.inference.summaries import DRAWN, LEARNED, Summary, Wanted, summarise
from canopyflow.models import load
from canopyflow.models.encoders._spectra import REFLECTANCE_FLOOR
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.observation import Observation, pixels
from canopyflow.vocabulary import ANGLES, BANDS, FLAGS, OFFSET

Array = NDArray[np.float64]

TOLD = ("out_of_domain", "misfit", "input_outside_physics")
NIR, RED = "B8A", "B04"
GREENNESS = (-1.0, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Limits of classes of NDVI."""
PER_CHIP = 60

GROUND: dict[str, tuple[list[float], ...]] = {
    # Clear, coastal, green, of a muddy river: Spyrakos et al. 2018, Limnol. Oceanogr. 63, 846.
    "water": (
        [0.025, 0.018, 0.008, 0.006, 0.005, 0.005, 0.004, 0.004, 0.002, 0.001],
        [0.050, 0.075, 0.060, 0.045, 0.020, 0.020, 0.015, 0.012, 0.004, 0.003],
        [0.025, 0.050, 0.030, 0.045, 0.030, 0.030, 0.025, 0.020, 0.006, 0.004],
        [0.070, 0.110, 0.130, 0.125, 0.090, 0.090, 0.070, 0.060, 0.010, 0.008],
    ),
    # Fine, coarse, with dust: Wiscombe & Warren 1980, J. Atmos. Sci. 37, 2712; Dozier 1989, RSE 28, 9.
    "snow": (
        [0.97, 0.97, 0.96, 0.95, 0.93, 0.91, 0.89, 0.87, 0.15, 0.12],
        [0.93, 0.92, 0.90, 0.88, 0.83, 0.79, 0.74, 0.69, 0.05, 0.04],
        [0.55, 0.58, 0.60, 0.60, 0.59, 0.58, 0.56, 0.55, 0.08, 0.06],
    ),
    # Magnitudes of Herold et al. 2004, IEEE Trans. Geosci. Remote Sens. 42, 1907, and of ECOSTRESS.
    "roof: concrete": ([0.20, 0.22, 0.24, 0.245, 0.25, 0.255, 0.26, 0.26, 0.28, 0.26],),
    "roof: metal": ([0.30, 0.31, 0.32, 0.325, 0.33, 0.335, 0.34, 0.34, 0.42, 0.45],),
    "roof: blue paint": ([0.22, 0.16, 0.10, 0.10, 0.12, 0.20, 0.28, 0.30, 0.33, 0.30],),
    "roof: white membrane": ([0.72, 0.76, 0.77, 0.77, 0.76, 0.76, 0.75, 0.75, 0.60, 0.40],),
    "roof: solar panels": ([0.06, 0.045, 0.045, 0.045, 0.05, 0.06, 0.07, 0.08, 0.05, 0.05],),
    "roof: bitumen": ([0.07, 0.075, 0.085, 0.088, 0.09, 0.093, 0.095, 0.098, 0.12, 0.115],),
    "roof: clay tiles": ([0.09, 0.12, 0.24, 0.28, 0.31, 0.33, 0.33, 0.34, 0.42, 0.40],),
}
CLOUD = np.array([0.60, 0.60, 0.60, 0.61, 0.62, 0.63, 0.63, 0.64, 0.45, 0.35])
"""A thick cloud of water: absorption by droplets in the last two bands (King et al. 1992, JGR 97, 14567)."""


def grounds(g: np.random.Generator, n: int) -> Iterator[tuple[str, Array]]:
    """Ground that no canopy is, in all bands."""
    for name, spectra in GROUND.items():
        spread = 0.1 if name == "snow" else 0.2
        chosen = np.array(spectra)[g.integers(len(spectra), size=n)]
        bent = chosen * np.exp(g.normal(0, spread, (n, 1)) + g.normal(0, 0.03, (n, len(BANDS))))
        yield name, bent + g.normal(0, 0.005, bent.shape)
    level = g.uniform(0.06, 0.2, (n, 1)) * np.linspace(1.0, 0.75, len(BANDS))
    yield "sun glint on water", level + g.normal(0, 0.005, level.shape)


def disturbances(g: np.random.Generator, x: Array, bands: tuple[str, ...]) -> Iterator[tuple[str, Array]]:
    """What is done to spectra ``x`` (n, bands) by archives, clouds and detectors."""
    n, count = x.shape
    cover = g.uniform(0.15, 0.6, (n, 1))
    yield "cloud edge", cover * CLOUD[[BANDS.index(band) for band in bands]] + (1.0 - cover) * x
    yield from offsets(x)
    for name, value in (("0", 0.0), ("-0.1", -OFFSET), ("cut off at the floor", REFLECTANCE_FLOOR)):
        torn = x.copy()
        torn[np.arange(n), g.integers(count, size=n)] = value
        yield f"one band without data: {name}", torn
    hit = g.random(x.shape) < 0.15
    hit[np.arange(n), g.integers(count, size=n)] = True
    yield "saturated bands", np.where(hit, g.uniform(1.0, 1.6, x.shape), x)


def offsets(x: Array) -> Iterator[tuple[str, Array]]:
    """Left in, and taken off twice: in a table, and as a scene store cuts it off."""
    yield "residual offset", x + OFFSET
    yield "offset twice", x - OFFSET
    yield "offset twice, cut off", np.maximum(x - OFFSET, REFLECTANCE_FLOOR)


class Asked:
    """A model and what is asked of it."""

    def __init__(self, model: Amortised, summaries: str) -> None:
        self.model, self.summaries = model, summaries
        self.told: dict[str, dict[str, float]] = {}

    def summary(self, seen: Observation) -> Summary:
        wanted = Wanted(("gai",), ("mean",), self.summaries)
        return summarise(self.model, seen, wanted, 0)

    def tell(self, name: str, flags: NDArray[np.uint8]) -> None:
        """Print and keep the shares of ``flags`` (n,)."""
        shares = {flag: float(((flags & FLAGS[flag]) > 0).mean()) for flag in TOLD}
        shares["any"] = float((flags & sum(FLAGS[flag] for flag in TOLD) > 0).mean())
        self.told[name] = {"pixels": len(flags)} | {flag: round(share, 4) for flag, share in shares.items()}
        print(f"{name:44} {len(flags):7d}", " ".join(f"{flag} {share:.4f}" for flag, share in shares.items()))

    def ask(self, name: str, x: Array, seen: Observation) -> None:
        """Flags of reflectance ``x`` (n, bands) in the circumstances of ``seen``."""
        self.tell(name, self.summary(with_spectra(seen, x)).flags)


def with_spectra(seen: Observation, x: Array) -> Observation:
    return replace(seen, reflectance=torch.from_numpy(x.astype(np.float32)))


def simulations(asked: Asked, n: int) -> None:
    """False alarms and power on spectra of the model's own law and circumstances."""
    model, g = asked.model, np.random.default_rng(0)
    lower, upper = (model.meta["angle_range"][side] for side in ("lower", "upper"))
    survey = Survey((lower[0], upper[0]), (lower[1], upper[1]))
    seen = model.generative.observe(
        draw(model.generative, survey, n, 2**40, lambda batches, what: batches),
        torch.Generator().manual_seed(0),
    )
    x = seen.reflectance.double().numpy()
    asked.ask("simulations (false alarms)", x, seen)
    asked.ask("simulations, cut off", np.maximum(x, REFLECTANCE_FLOOR), seen)
    columns = [BANDS.index(band) for band in model.bands]
    for name, ground in grounds(g, n):
        asked.ask(name, ground[:, columns], seen)
    for name, other in disturbances(g, x, model.bands):
        asked.ask(name, other, seen)
    index = ndvi(x, model.bands)
    for name, other in offsets(x):
        flags = asked.summary(with_spectra(seen, other)).flags
        for low, high in pairwise(GREENNESS):
            asked.tell(f"  {name}, NDVI {low:g} to {high:g}", flags[(index >= low) & (index < high)])
    assert model.domain is not None
    begun = time.process_time()
    for _ in range(10):
        model.domain.outside(seen)
    cost = round((time.process_time() - begun) / (10 * n) * 1e6, 3)
    asked.told["domain"] = {"microseconds of a core per pixel": cost}
    print(f"the domain takes {cost:.2f} microseconds of a core per pixel")


def ndvi(x: Array, bands: tuple[str, ...]) -> Array:
    red, near = x[:, bands.index(RED)], x[:, bands.index(NIR)]
    return (near - red) / np.maximum(near + red, 1e-3)


def field_rows(asked: Asked, folder: Path) -> None:
    """Rows of many biomes, as they are and with both offsets; errors of green area, flagged or not."""
    rows = pd.read_csv(folder / "grounded_eo" / "pixels.csv")
    x = rows[list(asked.model.bands)].to_numpy(np.float64)
    angles = torch.from_numpy(rows[list(ANGLES)].to_numpy(np.float32))
    seen = pixels(torch.from_numpy(x.astype(np.float32)), angles, "S2A", asked.model.bands)
    found = asked.summary(seen)
    asked.tell("real: rows of many biomes", found.flags)
    for name, other in offsets(x):
        asked.ask(f"real: rows of many biomes, {name}", other, seen)
    error = np.abs(found.stats[:, 0, 0] - rows["lai"].to_numpy())
    flagged = found.flags > 0
    if flagged.any():
        ratio = float(error[flagged].mean() / error[~flagged].mean())
        asked.told["errors of green area, flagged over others"] = {"rows": int(flagged.sum()), "ratio": ratio}
        print(
            f"errors of green area: {int(flagged.sum())} flagged rows err by {ratio:.2f} times that of others"
        )


def swiss(folder: Path, bands: tuple[str, ...]) -> tuple[Array, NDArray[np.float32]]:
    """Clear pixels of the chips (n, bands), NaN where a band is absent, and their angles (n, 3)."""
    g, spectra, angles = np.random.default_rng(0), [], []
    for path in sorted((folder / "swiss_wheat_2022" / "sentinel-2-l2a").glob("*/*.json")):
        item = json.loads(path.read_text())
        files = {band: path.parent / f"{band}.tif" for band in bands}
        dn = np.stack([_plane(file) for file in files.values() if file.exists()])
        there = [band for band, file in files.items() if file.exists()]
        clear = (dn > 0).all(0) & np.isin(_plane(path.parent / "SCL.tif"), (4, 5))
        x = apply_offset(dn, decide_offset(item).offset)[:, clear].T * 1e-4
        if not len(x):
            continue
        chosen = x[g.choice(len(x), min(PER_CHIP, len(x)), replace=False)]
        whole = np.full((len(chosen), len(bands)), np.nan)
        whole[:, [bands.index(band) for band in there]] = np.maximum(chosen, REFLECTANCE_FLOOR)
        spectra.append(whole)
        sun = float(item["properties"]["s2:mean_solar_zenith"])
        angles.append(np.tile(np.array([sun, 5.0, 90.0], np.float32), (len(chosen), 1)))
    return np.concatenate(spectra), np.concatenate(angles)


def wheat(asked: Asked, folder: Path) -> None:
    """Clear pixels of Swiss wheat, which lack B08: all flags if the model needs none, else the domain."""
    x, angles = swiss(folder, asked.model.bands)
    geometry = torch.from_numpy(angles)
    for name, other in (("as they are", x), *offsets(x)):
        seen = pixels(torch.from_numpy(other.astype(np.float32)), geometry, "S2A", asked.model.bands)
        whole = seen.complete or asked.model.reads_incomplete
        flags = asked.summary(seen).flags if whole else domain_flags(asked.model, seen)
        asked.tell(f"real: Swiss wheat, {name}{'' if whole else ' (domain alone)'}", flags)


def domain_flags(model: Amortised, seen: Observation) -> NDArray[np.uint8]:
    assert model.domain is not None
    return np.where(model.domain.outside(seen).numpy(), FLAGS["out_of_domain"], 0).astype(np.uint8)


def alps(asked: Asked, folder: Path) -> None:
    """Classes of an Alpine scene in four bands."""
    scene = folder / "archive_samples" / "earth-search_33TWM_20230813"
    scl = _plane(scene / "SCL.tif")
    classes = {4: "vegetation", 5: "bare", 6: "water", 8: "cloud, medium", 9: "cloud, high", 10: "cirrus"}
    bands = asked.model.bands
    cube = np.full((len(bands), *scl.shape), np.nan)
    for i, band in enumerate(bands):
        if (scene / f"{band}.tif").exists():
            dn = _plane(scene / f"{band}.tif")
            cube[i] = np.where(dn > 0, dn * 1e-4, np.nan)
    there = np.isfinite(cube).any((1, 2))
    for number, name in classes.items():
        x = cube[:, (scl == number) & np.isfinite(cube[there]).all(0)].T[::7]
        if len(x) >= 50:
            angles = torch.tensor([35.0, 5.0, 100.0]).expand(len(x), 3)
            seen = pixels(torch.from_numpy(x.astype(np.float32)), angles, "S2B", bands)
            asked.tell(f"real: Alpine scene, {name} (domain alone)", domain_flags(asked.model, seen))


def _plane(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as source:
        return source.read(1)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--pixels", type=int, default=20_000)
    parser.add_argument("--summaries", choices=(LEARNED, DRAWN), default=LEARNED)
    options = parser.parse_args()
    asked = Asked(load(options.model), options.summaries)
    simulations(asked, options.pixels)
    parts: tuple[Callable[[Asked, Path], None], ...] = (field_rows, wheat, alps)
    for part in parts if options.real else ():
        part(asked, options.real)
    told: dict[str, Any] = asked.told
    print(json.dumps({"set": asked.model.meta.get("flags"), **told}))


if __name__ == "__main__":
    main()
