"""Does the interval of a parcel's mean hold the true mean as often as it says? On landscapes of the demo.

    python benchmarks/parcel_intervals.py --model results/demo/models/nsf/seed0 --seeds 0 1 2

For each landscape, and each of some days of the season, the demo's own sensor sees the ground through the
demo's own sky; the model gives the posterior of each clear pixel; parcels are those of `parcels.geojson` of
which half is clear at least. Their interval at 90 % is made in three ways: from draws coupled with the
correlation that the model's own simulated parcels say (as `canopyflow extract` does), from the means of the
quantiles of the pixels, and as if all pixels were independent. The truth is the mean of the ground over the
outline, every five metres. By landscape, and over all: share of true means inside, width, CRPS of the coupled
and of the comonotone draws; the standard error of a coverage is that of the landscapes' own.

The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
import torch

from canopyflow.archive.grid import Grid
from canopyflow.demo.acquisitions import planned
from canopyflow.demo.clouds import make_sky
from canopyflow.demo.landscape import FINE, block_mean, build_landscape, tile_classes
from canopyflow.demo.parcels import parcel_outlines
from canopyflow.demo.scenes import make_ground, make_scene
from canopyflow.demo.spectra import BANDS, scene_angles
from canopyflow.demo.tiles import PLANE, tiles, transform_points
from canopyflow.inference.parcels.coupling import area_mean, own_scores
from canopyflow.inference.parcels.footprints import footprint_of
from canopyflow.inference.parcels.law import Correlations, Design, correlations
from canopyflow.models.bundle import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import generator, one_thread
from canopyflow.observations.observation import pixels

NAMES = ("lai", "ccc", "fapar")
DAYS = ("2021-03-30", "2021-04-24", "2021-06-08", "2021-07-11")
SCALE = 20
WAYS = ("coupled", "averaged", "independent")


def scenes(seed: int, days: tuple[str, ...]) -> Iterator[dict]:
    """What each tile sees on each day: spectra, clear pixels, and the truth below, every five metres."""
    landscape, grids = build_landscape(seed), tiles()
    outlines = parcel_outlines(landscape, list(grids.values()))
    classes = {name: tile_classes(landscape, tile) for name, tile in grids.items()}
    for acquisition in planned(days):
        present = np.unique(np.concatenate([classes[name].ravel() for name in acquisition.tiles]))
        ground, sky = make_ground(landscape, acquisition, present), make_sky(acquisition, seed)
        for name in acquisition.tiles:
            tile = grids[name]
            scene = make_scene(ground, acquisition, tile, classes[name], seed)
            x, y = tile.centres(10)
            veiled = (block_mean(sky.opacity(x, y), 2) > 0.005) | (block_mean(sky.shade(x, y), 2) > 0.02)
            at_20 = tile.shape(SCALE)[0]
            bands = [scene.reflectance[band] for band in BANDS]
            spectra = np.stack([b if len(b) == at_20 else block_mean(b, 2) for b in bands], -1)
            clear = np.isin(scene.scl, (4, 5)) & ~veiled & np.isfinite(spectra).all(-1)
            truth = {"lai": ground.lai, "ccc": ground.lai * ground.cab, "fapar": ground.fapar}
            yield {
                "tile": tile,
                "spectra": spectra.astype(np.float32),
                "clear": clear,
                "angles": scene_angles(acquisition),
                "platform": acquisition.platform,
                "truth": {key: values[classes[name]] for key, values in truth.items()},
                "outlines": outlines,
                "name": f"{name} {acquisition.day}",
            }


def rows_of(scene: dict, model: Estimator, found: Correlations, samples: int) -> Iterator[dict]:
    """Of every parcel and variable what each way says, and the truth."""
    tile = scene["tile"]
    grid = Grid(tile.epsg, tile.bounds, SCALE)
    fine_x, fine_y = (values.ravel() for values in tile.centres(FINE))
    for name, (_, outline) in scene["outlines"].items():
        shape = footprint_of(_projected(outline, tile.epsg), grid)
        clear = scene["clear"][shape.rows, shape.columns]
        kept = shape.used(clear)
        weights = shape.weights[kept]
        inside = shapely.contains_xy(outline, fine_x, fine_y)
        whole = inside.sum() * FINE**2 > 0.95 * outline.area
        if not whole or shape.weights[clear].sum() < 0.5 * shape.area:
            continue
        x = torch.from_numpy(scene["spectra"][shape.rows[kept], shape.columns[kept]])
        angles = torch.tensor(scene["angles"], dtype=torch.float32).expand(len(x), 3)
        seen = pixels(x, angles, scene["platform"], model.bands)
        with torch.no_grad():
            draws = model.posterior(seen).draw(samples, generator(scene["name"], name))
            values = model.outputs(draws.z, seen, NAMES).double().numpy()
        own = own_scores(samples, len(x), 0)
        for k, variable in enumerate(NAMES):
            truth = float(scene["truth"][variable].ravel()[inside].mean())
            yield {"variable": variable, "parcel": name} | compared(
                values[..., k], weights, found.of(variable), own, truth
            )


def compared(
    draws: np.ndarray, weights: np.ndarray, rho: float, own: np.ndarray, truth: float
) -> dict[str, float]:
    """Coverage, width and CRPS of the three ways."""
    out = {"truth": truth}
    for way, correlation in zip(WAYS, (rho, 1.0, 0.0), strict=True):
        mean = area_mean(draws, weights, correlation, own)
        low, high = np.quantile(mean, (0.05, 0.95))
        out |= {f"{way}_in": low <= truth <= high, f"{way}_width": high - low}
        order = np.sort(mean)
        rank = np.arange(1, len(order) + 1)
        spread = float((order * (2 * rank - len(order) - 1)).sum()) / len(order) ** 2
        out |= {
            f"{way}_crps": float(np.abs(order - truth).mean()) - spread,
            f"{way}_error": mean.mean() - truth,
        }
    return out


def _projected(outline: shapely.Geometry, epsg: int) -> shapely.Geometry:
    def change(points: np.ndarray) -> np.ndarray:
        return np.stack(transform_points(points[:, 0], points[:, 1], PLANE, epsg), axis=1)

    return shapely.transform(outline, change)


def summary(rows: list[dict], variable: str) -> dict[str, float]:
    mine = [row for row in rows if row["variable"] == variable]
    out = {"parcels x scenes": len(mine)}
    for way in WAYS:
        out |= {
            f"{way} {what}": round(float(np.mean([row[f"{way}_{key}"] for row in mine])), 4)
            for what, key in (("coverage90", "in"), ("width", "width"), ("crps", "crps"))
        }
    return out | {"bias": round(float(np.mean([row["coupled_error"] for row in mine])), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--days", nargs="+", default=list(DAYS))
    parser.add_argument("--samples", type=int, default=100)
    asked = parser.parse_args()
    model = load(asked.model)
    found = correlations(model, NAMES, Design())
    print("correlation", found.rho, "standard error", found.error, flush=True)
    total: list[dict] = []
    by_seed: dict[str, list[float]] = {}
    with one_thread():
        for seed in asked.seeds:
            rows = [
                row
                for scene in scenes(seed, tuple(asked.days))
                for row in rows_of(scene, model, found, asked.samples)
            ]
            total += rows
            for variable in NAMES:
                said = summary(rows, variable)
                by_seed.setdefault(variable, []).append(said["coupled coverage90"])
                print(f"seed {seed} {variable}", said, flush=True)
    out = {
        variable: summary(total, variable)
        | {
            "by landscape": by_seed[variable],
            "standard error": round(float(np.std(by_seed[variable], ddof=1)) / len(asked.seeds) ** 0.5, 4)
            if len(asked.seeds) > 1
            else None,
        }
        for variable in NAMES
    }
    print(json.dumps({"rho": found.rho, "error": found.error, **out}))


if __name__ == "__main__":
    main()
