"""Whole tiles through the real rules, in bounded memory: search, fetch, mask, patches, train, map, publish.

    python benchmarks/whole_tile.py                          # both runs below, full size
    python benchmarks/whole_tile.py --side 2048 --scenes 2 --resolutions 10

A static catalogue of Cloud Optimized GeoTIFFs of one tile is written first, in the conventions of Planetary
Computer: fields with texture, blocks of 1024 pixels, one month. Then one campaign at 10 m maps half of its
scenes and one at 20 m all of them, by Snakemake on two cores. Every pixel is clear (`--clear` says
otherwise), and its summaries are learned.

What a job and its processes hold in memory is looked at several times a second, with the kernel's own record
of each process's peak. The last line is JSON: of each run and rule the jobs, seconds, peak in MB, and bytes
written per pixel and scene. The exit status is 1 if a rule needs more memory than it may, or if a scene was
not published.
"""

import argparse
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
import yaml
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.windows import Window

TOP = Path(__file__).resolve().parents[1]

MOST_MB = defaultdict(lambda: 3000, cut_patches=4000, publish=4000)
"""Peak memory of a job of each rule."""
DISK_GB = 25
"""Free space that both runs need at full size."""

FULL = 10_980
WEST, NORTH, EPSG, TILE = 600_000, 5_300_040, 32632, "32TPT"
SPECTRUM = {
    "B02": 400, "B03": 700, "B04": 500, "B05": 1100, "B06": 2300,
    "B07": 3000, "B08": 3400, "B8A": 3500, "B11": 1800, "B12": 900,
}  # fmt: skip
"""Reflectance of a canopy times 10,000."""
NATIVE = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20),
}
SURFACES = 3
"""Different surfaces; further scenes show one of them again, under their own clouds."""
BLOCK, FIELD, OFFSET = 1024, 64, 1000
CLEAR_SIDE = 64
"""Side of the squares that are clear, pixels of 20 m."""
VEGETATION, CLOUD = 4, 9

RULES = {
    "search": "search", "fetch_scenes": "scenes", "mask_clouds": "masks", "cut_patches": "patches",
    "simulate": "simulations", "train": "models", "infer": "products", "publish": "published",
}  # fmt: skip
"""Where each rule writes, and its benchmark files lie."""


def write_raster(path: Path, blocks: Iterator[tuple[Window, NDArray[Any]]], side: int, pixel: int) -> None:
    """A tiled, compressed GeoTIFF with an overview, from its blocks."""
    kind = np.uint8 if path.stem.endswith("SCL") else np.uint16
    profile = {
        "driver": "GTiff", "dtype": kind, "count": 1, "height": side, "width": side, "nodata": 0,
        "crs": f"EPSG:{EPSG}", "transform": rasterio.transform.from_origin(WEST, NORTH, pixel, pixel),
        "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "compress": "deflate", "zlevel": 1, "predictor": 2,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for window, values in blocks:
            file.write(values, 1, window=window)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([8], Resampling.nearest)


def windows(side: int) -> Iterator[Window]:
    for row in range(0, side, BLOCK):
        for column in range(0, side, BLOCK):
            yield Window(column, row, min(BLOCK, side - column), min(BLOCK, side - row))


def write_band(side10: int, folder: Path, band: str, surface: int) -> None:
    """Fields of different brightness with a fine texture."""
    pixel = NATIVE[band]
    side, field = side10 * 10 // pixel, FIELD * 10 // pixel
    rng = np.random.default_rng([surface, list(SPECTRUM).index(band)])
    texture = rng.integers(-20, 21, (2 * BLOCK, 2 * BLOCK), dtype=np.int16)
    brightness = np.random.default_rng(surface).uniform(0.7, 1.3, (side // field + 1, side // field + 1))
    level = (SPECTRUM[band] * brightness + OFFSET).astype(np.int16)

    def blocks() -> Iterator[tuple[Window, NDArray[np.uint16]]]:
        for window in windows(side):
            rows, columns = (
                (window.row_off + np.arange(window.height)) // field,
                (window.col_off + np.arange(window.width)) // field,
            )
            y, x = rng.integers(0, BLOCK, 2)
            values = level[np.ix_(rows, columns)] + texture[y : y + window.height, x : x + window.width]
            yield window, values.astype(np.uint16)

    write_raster(folder / f"surface{surface}_{band}.tif", blocks(), side, pixel)


def write_classes(side10: int, folder: Path, clear: float, scene: int) -> None:
    """Clouds everywhere but in squares."""
    side = side10 // 2
    rng = np.random.default_rng([99, scene])
    squares = rng.random((math.ceil(side / CLEAR_SIDE),) * 2) < clear
    squares[squares.shape[0] // 3, squares.shape[1] // 3] = True
    whole = np.kron(np.where(squares, VEGETATION, CLOUD), np.ones((CLEAR_SIDE, CLEAR_SIDE)))
    classes = whole.astype(np.uint8)[:side, :side]
    blocks = ((window, classes[window.toslices()]) for window in windows(side))
    write_raster(folder / f"scene{scene}_SCL.tif", blocks, side, 20)


def item(scene: int, side10: int) -> dict[str, Any]:
    day, platform = f"2022-05-{2 * scene + 1:02}", "AB"[scene % 2]
    compact = day.replace("-", "")
    name = f"S2{platform}_MSIL2A_{compact}T101601_N0400_R065_T{TILE}_{compact}T180000"
    west, south, east, north = box(side10)
    assets = {band: (f"surface{scene % SURFACES}_{band}.tif", pixel) for band, pixel in NATIVE.items()}
    assets["SCL"] = (f"scene{scene}_SCL.tif", 20)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
        "id": name,
        "bbox": [west, south, east, north],
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        "properties": {
            "datetime": f"{day}T10:16:01Z",
            "platform": f"Sentinel-2{platform}",
            "proj:epsg": EPSG,
            "s2:mgrs_tile": TILE,
            "s2:processing_baseline": "04.00",
            "s2:datatake_id": f"GS2{platform}_{compact}T101601_012081_N04.00",
            "s2:generation_time": f"{day}T18:00:00Z",
            "s2:mean_solar_zenith": 32.0,
            "s2:mean_solar_azimuth": 155.0,
            "eo:cloud_cover": 60.0,
        },
        "collection": "sentinel-2-l2a",
        "links": [],
        "assets": {
            key: {
                "href": f"../../pixels/{file}",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "proj:shape": [side10 * 10 // pixel] * 2,
                "proj:transform": [pixel, 0, WEST, 0, -pixel, NORTH],
            }
            for key, (file, pixel) in assets.items()
        },
    }


def box(side10: int) -> tuple[float, float, float, float]:
    """Longitudes and latitudes around the tile."""
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(
        WEST, NORTH - 10 * side10, WEST + 10 * side10, NORTH
    )
    return west, south, east, north


def write_archive(root: Path, side: int, scenes: int, clear: float) -> None:
    """A static catalogue of ``scenes`` items of one tile of ``side`` pixels at 10 m."""
    pixels = root / "pixels"
    pixels.mkdir(parents=True)
    with ProcessPoolExecutor(2) as pool:
        jobs = [
            pool.submit(write_band, side, pixels, band, surface)
            for surface in range(min(SURFACES, scenes))
            for band in SPECTRUM
        ]
        jobs += [pool.submit(write_classes, side, pixels, clear, scene) for scene in range(scenes)]
        for number, job in enumerate(jobs, start=1):
            job.result()
            say(f"archive: {number} of {len(jobs)} files")
    links = []
    for one in (item(scene, side) for scene in range(scenes)):
        folder = root / "items" / one["id"]
        folder.mkdir(parents=True)
        (folder / "item.json").write_text(json.dumps(one))
        links.append({"rel": "item", "href": f"./items/{one['id']}/item.json"})
    catalogue = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "tile",
        "description": "one tile",
        "links": links,
    }
    (root / "catalog.json").write_text(json.dumps(catalogue))


def campaign(archive: Path, side: int, scenes: int, resolution: int) -> dict[str, Any]:
    """A small model with the default maps: what is measured is the way of the pixels."""
    west, south, east, north = box(side)
    return {
        "campaign": f"tile{resolution}m",
        "area": {"bbox": [west - 0.01, south - 0.01, east + 0.01, north + 0.01]},
        "period": {"start": "2022-05-01", "end": f"2022-05-{2 * scenes:02}"},
        "archive": {"catalog": str(archive / "catalog.json"), "collection": "sentinel-2-l2a"},
        "families": ["truncated_normal"],
        # Of few variables, so that few simulations teach it well.
        "physics": {"prior": "atbd"},
        "grid": {"resolution": resolution},
        "simulations": {"train": 20_000, "validation": 1000, "test": 200},
        "training": {
            "summaries": {"epochs": 4, "data": "both"},
            "phases": [
                {"objective": "npe", "epochs": 2, "learning_rate": 2e-3, "data": "simulations"},
                {"objective": "elbo", "epochs": 1, "steps": 20, "learning_rate": 2e-4, "data": "patches"},
            ],
        },
        "inference": {"workers": 2, "device": "cpu"},
        "publication": {"variables": ["lai", "ccc"]},
    }


class Watch:
    """Peak memory of every job that a process starts, by rule: the job with all of its own processes."""

    def __init__(self, pid: int) -> None:
        self.peaks: dict[str, float] = defaultdict(float)
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(0.2):
            try:
                for process in self._root.children(recursive=True):
                    self._note(process)
            except psutil.NoSuchProcess:
                continue

    def _note(self, process: psutil.Process) -> None:
        try:
            script = re.search(r"\.snakemake/scripts/tmp\w+\.(\w+)\.py", " ".join(process.cmdline()))
            if script is None:
                return
            family = [process, *process.children(recursive=True)]
            # Pages that several of them share, such as those of libraries, count once.
            together = sum(one.memory_full_info().pss for one in family) / 1e6
            self.peaks[script[1]] = max(self.peaks[script[1]], together, *map(peak_mb, family))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return  # it has just ended

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def peak_mb(process: psutil.Process) -> float:
    """The most that a process has held so far, by the kernel's own record."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def run(folder: Path, settings: dict[str, Any], cores: int) -> dict[str, float]:
    """All rules up to publishing; peak memory by script. Exits if Snakemake fails, or if the model learned no
    good summaries: drawing from all pixels of a whole tile would take days, and say nothing of maps."""
    name, family = settings["campaign"], settings["families"][0]
    bundle = Path("results") / name / "models" / family / "seed0" / "model.json"
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(TOP / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / f"{name}.yaml")]
    command += ["--cores", str(cores)]
    environment = os.environ | {"PYTHONPATH": str(TOP / "src"), "OMP_NUM_THREADS": "1"}
    peaks: dict[str, float] = defaultdict(float)
    for goal in (str(bundle), "published"):
        with subprocess.Popen([*command, goal], env=environment) as process, Watch(process.pid) as watch:
            status = process.wait()
        if status:
            sys.exit(f"Snakemake ended with status {status}")
        for rule, peak in watch.peaks.items():
            peaks[rule] = max(peaks[rule], peak)
        check_summaries(folder / bundle)
    return dict(peaks)


def check_summaries(bundle: Path) -> None:
    """Exit if a model has no learned summaries, or if they did not pass their check."""
    if not json.loads(bundle.read_text()).get("summaries", {}).get("passed"):
        sys.exit(f"{bundle}: the summaries did not pass their check; all pixels would be drawn")


def drawn_shares(results: Path) -> list[float]:
    """Shares of the clear pixels of each product that were drawn: the seconds of `infer` depend on them."""
    stores = sorted((results / "products").rglob("*.zarr/zarr.json"))
    return [json.loads(store.read_text())["attributes"].get("drawn_share", 0.0) for store in stores]


def measured(results: Path, peaks: dict[str, float], pixels: int) -> dict[str, dict[str, Any]]:
    """By rule: jobs, seconds, peak memory, and bytes written per pixel and scene."""
    out = {}
    for rule, name in RULES.items():
        benchmarks = results / "benchmarks"
        files = (
            [benchmarks / "search.tsv"] if rule == "search" else sorted((benchmarks / name).rglob("*.tsv"))
        )
        seconds = [float(next(csv.DictReader(file.open(), delimiter="\t"))["s"]) for file in files]
        written = sum(path.stat().st_size for path in (results / name).rglob("*") if path.is_file())
        out[rule] = {
            "jobs": len(seconds),
            "seconds": round(sum(seconds), 1),
            "peak_mb": round(peaks.get(rule, 0.0)),
            "most_mb": MOST_MB[rule],
            "bytes_per_pixel": round(written / pixels, 4),
        }
    return out


def missed(results: Path, rules: dict[str, dict[str, Any]], scenes: int) -> list[str]:
    """What is not as it should be, in words."""
    out = [
        f"{rule} needed {found['peak_mb']} MB, it may need {found['most_mb']}"
        for rule, found in rules.items()
        if found["peak_mb"] > found["most_mb"]
    ]
    out += [
        f"{rule} was never seen"
        for rule, found in rules.items()
        if not found["peak_mb"] and found["seconds"] > 2
    ]
    published = len(list((results / "published").rglob("lai_mean.tif")))
    if published != scenes:
        out.append(f"{published} of {scenes} scenes were published")
    return out


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:6.0f} s] {text}", flush=True)


BEGUN = time.monotonic()


@contextmanager
def working_folder(parent: Path | None, keep: bool) -> Iterator[Path]:
    """A new folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="whole-tile-", dir=parent))
    try:
        yield folder
    finally:
        if keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--side", type=int, default=FULL, help="pixels of the tile along a side, at 10 m")
    parser.add_argument(
        "--scenes", type=int, default=6, help="scenes of the run at 10 m; twice as many at 20 m"
    )
    parser.add_argument("--resolutions", type=int, nargs="+", choices=[10, 20], default=[10, 20])
    parser.add_argument("--clear", type=float, default=1.0, help="share of pixels that are clear")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where there is room, 25 GB at full size")
    parser.add_argument("--keep", action="store_true", help="do not remove archive and results")
    return parser.parse_args()


def main() -> int:
    o = options()
    needed = DISK_GB * (o.side / FULL) ** 2 * o.scenes / 6
    count = {10: o.scenes, 20: 2 * o.scenes}
    with working_folder(o.folder, o.keep) as folder:
        free = shutil.disk_usage(folder).free / 1e9
        if free < needed:
            sys.exit(
                f"{folder} has {free:.0f} GB left, {needed:.0f} are needed: choose another with --folder"
            )
        write_archive(folder / "archive", o.side, max(count[r] for r in o.resolutions), o.clear)
        runs, problems = {}, []
        for resolution in o.resolutions:
            name, side, scenes = f"{resolution} m", o.side * 10 // resolution, count[resolution]
            say(f"{name}: {side} pixels a side, {scenes} scenes")
            settings = campaign(folder / "archive", o.side, scenes, resolution)
            began = time.monotonic()
            peaks = run(folder, settings, o.cores)
            seconds = round(time.monotonic() - began, 1)
            results = folder / "results" / settings["campaign"]
            rules = measured(results, peaks, side * side * scenes)
            problems += [f"{name}: {text}" for text in missed(results, rules, scenes)]
            runs[name] = {"side": side, "scenes": scenes, "seconds": seconds, "rules": rules}
            runs[name]["drawn_shares"] = drawn_shares(results)
            say(f"{name}: shares of clear pixels that were drawn: {runs[name]['drawn_shares']}")
            for rule, found in rules.items():
                say(f"{name} {rule}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
            if not o.keep:
                shutil.rmtree(results)
    for problem in problems:
        say(f"MISSED {problem}")
    print(json.dumps({"seconds": round(time.monotonic() - BEGUN), "runs": runs, "missed": problems}))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
