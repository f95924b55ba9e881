"""How often the pixel check of the radiometric offset errs, and how often it finds a wrong declaration.

    python benchmarks/offset_evidence.py [--scenes 40] [--real FOLDER]

Each landscape is drawn `--scenes` times (PROSAIL canopies over many soils, with noise, haze, thin clouds,
misclassified pixels), classified as Sen2Cor would, and written once with and once without the offset. Each
of the two is judged with both possible declarations. With `--real` (folder of real data of the tests), real
scenes and pixel series are treated alike. The last line is JSON: per landscape, shares of scenes
`false` (right declaration contradicted), `doubt` (right declaration doubted), `found` (wrong declaration
contradicted), `told` (wrong declaration doubted), `blind` (wrong one, and the check says that it cannot
know), `missed` (wrong declaration supported).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.harmonise import OFFSET, OffsetDecision, apply_offset, decide_offset
from canopyflow.archive.judgement import CONTRADICTED, DOUBTED, SUPPORTED, UNKNOWABLE, judge
from canopyflow.physics import Prosail, prior
from canopyflow.vocabulary import BANDS, NAMES

Array = NDArray[np.float64]
Scene = tuple[Array, NDArray[np.int64]]
"""Reflectance (band, y, x) and scene classification (y, x)."""

WAVELENGTH = np.array([0.492, 0.560, 0.665, 0.704, 0.741, 0.783, 0.833, 0.865, 1.614, 2.202])
RED, NIR = BANDS.index("B04"), BANDS.index("B8A")
POOL = 20_000


class Pool:
    """Canopies to draw from: spectra (n, band) and their variables (n, 11)."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        z = torch.cat([prior(name).sample(POOL // 2, g) for name in ("atbd", "uniform")]).double()
        angles = torch.rand(POOL, 3, generator=g, dtype=torch.float64) * torch.tensor([50.0, 10.0, 180.0])
        angles[:, 0] += 20.0
        with torch.inference_mode():
            self.spectra = Prosail()(z, angles).numpy()
        self.variables = z.numpy()

    def draw(self, g: np.random.Generator, side: int, **bounds: tuple[float, float]) -> Array:
        """(band, side, side) of canopies whose variables lie within ``bounds``, a few kinds to a scene."""
        fits = np.ones(len(self.spectra), bool)
        for name, (low, high) in bounds.items():
            value = self.variables[:, NAMES.index(name)]
            fits &= (value >= low) & (value <= high)
        kinds = g.choice(np.flatnonzero(fits), 12)
        chosen = self.spectra[g.choice(kinds, side * side)] * g.normal(1.0, 0.08, (side * side, 1))
        return np.moveaxis(chosen.reshape(side, side, -1), -1, 0)


def classified(reflectance: Array) -> NDArray[np.int64]:
    """Vegetation where Sen2Cor would see it, by NDVI and a red that is not bright; bare ground elsewhere."""
    red, nir = reflectance[RED], reflectance[NIR]
    ndvi = (nir - red) / np.maximum(nir + red, 1e-3)
    return np.where((ndvi > 0.4) & (red < 0.2), 4, 5)


def flat(g: np.random.Generator, low: float, high: float, slope: float, side: int) -> Array:
    """Ground of one hue: visible brightness within ``low`` and ``high``, and ``slope`` per micrometre."""
    level = g.uniform(low, high, (1, side, side)) * g.uniform(0.8, 1.2)
    return level + slope * (WAVELENGTH - 0.5)[:, None, None] * g.uniform(0.5, 1.0)


def veil(g: np.random.Generator, amount: tuple[float, float], exponent: float) -> Array:
    """Path radiance left in by the atmospheric correction: ``amount`` in blue, falling with wavelength."""
    return (g.uniform(*amount) * (WAVELENGTH / WAVELENGTH[0]) ** -exponent)[:, None, None]


def landscapes(pool: Pool) -> dict[str, Callable[[np.random.Generator], Scene]]:
    """Makers of scenes by name."""
    side = 60

    def plants(g: np.random.Generator, size: int = side, **bounds: tuple[float, float]) -> Scene:
        ground = pool.draw(g, size, **bounds)
        return ground, classified(ground)

    def veiled(g: np.random.Generator, amount: tuple[float, float], exponent: float) -> Scene:
        ground, scl = plants(g)
        return ground + veil(g, amount, exponent), scl

    def forest(g: np.random.Generator) -> Scene:
        ground, _ = plants(g, lai=(3.5, 10), cab=(35, 90), cbrown=(0, 0.3))
        ground = ground * g.uniform(0.35, 0.9, (1, side, side))
        return ground - veil(g, (0.0, 0.015), 2.0), np.full((side, side), 4)

    def slopes(g: np.random.Generator) -> Scene:
        ground, scl = forest(g)
        shade = g.random((side, side)) < 0.15
        return np.where(shade, ground * 0.3 - veil(g, (0.0, 0.03), 2.0), ground), scl

    def desert(g: np.random.Generator) -> Scene:
        ground = flat(g, 0.14, 0.35, 0.12, side)
        return ground, np.where(g.random((side, side)) < 0.02, 4, 5)

    def bare(g: np.random.Generator) -> Scene:
        return flat(g, 0.04, 0.12, 0.1, side), np.full((side, side), 5)

    def snow(g: np.random.Generator) -> Scene:
        white = flat(g, 0.6, 0.95, -0.3, side).clip(0.02)
        return white, np.full((side, side), 11)

    def water(g: np.random.Generator) -> Scene:
        return flat(g, 0.01, 0.08, -0.05, side).clip(0.002), np.full((side, side), 6)

    def glint(g: np.random.Generator) -> Scene:
        return flat(g, 0.08, 0.2, -0.02, side).clip(0.002), np.full((side, side), 6)

    def lakes(g: np.random.Generator) -> Scene:
        (land, scl), (lake, _) = plants(g), water(g)
        wet = g.random((side, side)) < 0.6
        return np.where(wet, lake, land), np.where(wet, 6, scl)

    def clouds(g: np.random.Generator) -> Scene:
        ground, scl = plants(g)
        cover = np.clip(g.normal(g.uniform(0.0, 0.4), 0.2, (side, side)), 0, 1)
        mixed = ground * (1 - cover) + 0.7 * cover
        return mixed, np.where(cover > 0.3, 9, np.where(cover > 0.15, 10, scl))

    def town(g: np.random.Generator) -> Scene:
        (green, scl), roofs = plants(g, lai=(2, 6)), flat(g, 0.08, 0.3, 0.03, side)
        built = g.random((side, side)) < 0.8
        return np.where(built, roofs, green), np.where(built, 5, scl)

    return {
        "canopies of all kinds": plants,
        "sparse canopies, bright soils": lambda g: plants(g, lai=(0.2, 1.5), rsoil=(1.8, 3.5)),
        "dense canopies": lambda g: plants(g, lai=(3, 10)),
        "brown canopies": lambda g: plants(g, cbrown=(0.6, 2.0)),
        "dark forest": forest,
        "steep forest, overcorrected": slopes,
        "towns with trees": town,
        "lakes in fields": lakes,
        "windows of 6 x 6 pixels": lambda g: plants(g, 6),
        "windows of 12 x 12 pixels": lambda g: plants(g, 12),
        "light haze, blue +0.02 to +0.05": lambda g: veiled(g, (0.02, 0.05), 1.5),
        "heavy haze, blue +0.08 to +0.15": lambda g: veiled(g, (0.08, 0.15), 1.5),
        "thin cirrus, +0.01 to +0.04 in all bands": lambda g: veiled(g, (0.01, 0.04), 0.0),
        "thick veil, +0.06 to +0.12 in all bands": lambda g: veiled(g, (0.06, 0.12), 0.0),
        "broken clouds and their edges": clouds,
        "open water": water,
        "sun glint": glint,
        "dark bare soil": bare,
        "bright desert, 2 % taken for vegetation": desert,
        "snow": snow,
    }


def simulated(count: int) -> Iterator[tuple[str, Array, NDArray[np.int64], list[str]]]:
    """Landscape, reflectance, classification and bands of each drawn scene."""
    for name, make in landscapes(Pool()).items():
        for number in range(count):
            g = np.random.default_rng([number, *name.encode()])
            ground, scl = make(g)
            yield name, ground + g.normal(0, 0.004, ground.shape), scl, list(BANDS)


def real(folder: Path) -> Iterator[tuple[str, Array, NDArray[np.int64], list[str]]]:
    """The same of real data: whole and in windows of the Alpine scene, Swiss chips, tropical pixel series."""
    for item in sorted((folder / "swiss_wheat_2022" / "sentinel-2-l2a").glob("*/*.json")):
        bands = [band for band in BANDS if (item.parent / f"{band}.tif").exists()]
        offset = decide_offset(json.loads(item.read_text())).offset
        dn = apply_offset(np.stack([_plane(item.parent / f"{band}.tif") for band in bands]), offset)
        yield "real: Swiss wheat chips", _numbers(dn), _plane(item.parent / "SCL.tif"), bands
    alps = folder / "archive_samples" / "earth-search_33TWM_20230813"
    bands = ["B02", "B03", "B04", "B08"]
    dn, scl = np.stack([_plane(alps / f"{band}.tif") for band in bands]), _plane(alps / "SCL.tif")
    yield "real: Alpine scene", _numbers(dn), scl, bands
    for side in (8, 61):
        for row in range(0, 915 - side + 1, 61):
            for column in range(0, 915 - side + 1, 61):
                cut = np.s_[row : row + side, column : column + side]
                yield f"real: Alpine windows of {side}", _numbers(dn[(..., *cut)]), scl[cut], bands
    series = xr.open_dataset(folder / "rondonia_series" / "series.nc").sel(band=list(BANDS))
    for label in sorted(set(series.label.values.tolist())):
        some = series.reflectance.isel(sample=series.label.values == label)
        for date in range(some.sizes["date"]):
            pixels = some.isel(date=date).transpose("band", "sample").values[..., None]
            yield "real: Rondônia, per class and date", pixels, np.full(pixels.shape[1:], 4), list(BANDS)


def _plane(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as source:
        return source.read(1)  # type: ignore[no-any-return]


def _numbers(dn: NDArray[np.uint16]) -> Array:
    return np.where(dn == 0, np.nan, dn * 1e-4)


def written(reflectance: Array, offset: int) -> NDArray[np.uint16]:
    """DN of an archive whose pixels still need ``offset``."""
    dn = np.clip(np.rint(np.nan_to_num(reflectance) * 1e4) - offset, 1, 65535)
    return np.where(np.isfinite(reflectance), dn, 0).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    scenes = real(options.real) if options.real else iter(())
    for name, reflectance, scl, bands in [*simulated(options.scenes), *scenes]:
        tally = counts.setdefault(name, Counter())
        for truth in (0, OFFSET):
            dn = written(reflectance, truth)
            for declared in (0, OFFSET):
                verdict = judge(dn, scl, bands, OffsetDecision(declared, "declared")).verdict
                tally["right" if declared == truth else "wrong", verdict] += 1  # type: ignore[index]
    kinds = {
        "false": ("right", CONTRADICTED),
        "doubt": ("right", DOUBTED),
        "found": ("wrong", CONTRADICTED),
        "told": ("wrong", DOUBTED),
        "blind": ("wrong", UNKNOWABLE),
        "missed": ("wrong", SUPPORTED),
    }
    report = {}
    for name, tally in counts.items():
        total = sum(tally.values()) / 2
        report[name] = {"scenes": int(total / 2)} | {
            kind: round(tally[key] / total, 3)  # type: ignore[index]
            for kind, key in kinds.items()
        }
        print(f"{name:44}", " ".join(f"{kind} {value:g}" for kind, value in report[name].items()))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
