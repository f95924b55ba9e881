"""Seconds and bytes of `fetch_scenes`, as ratios to the bare library that it reads with, in one run.

    OMP_NUM_THREADS=1 python benchmarks/fetch_speed.py

A server on the loopback, a process of its own, serves the GeoTIFFs of some scenes (ten bands and the
classification, blocks of 1024, deflate) and counts the bytes it sends. For squares of 512, 1024 and 2048
pixels at 10 and 20 m, whose edges lie inside of blocks, and for both libraries:

*bare*: stackstac or odc-stac open the addresses through GDAL's own HTTP client and load all pixels into
memory, each band at the resolution of the grid or its own, whichever is finer (`fetch_scenes` averages all
fine pixels of a coarser grid; an overview would have fewer), in chunks of 1024. No offset, no angles, no
store.

*fetch*: `fetch_scenes`, from the pinned items to the sealed store on disk, compressed and checked.

Both in turn, each time under a new address that no cache knows; medians of the repetitions. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import rasterio
import stackstac
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from stackstac.rio_reader import DEFAULT_GDAL_ENV

from canopyflow.archive.grid import Grid
from canopyflow.cubes.scenes import fetch_scenes

NATIVE = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(
    ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), 20
)
BANDS = [band for band in NATIVE if band != "SCL"]
EPSG, WEST, NORTH, SIDE, INSET = 32632, 600000, 5300040, 51200, 3000
"""Metres; the square begins ``INSET`` from the corner of the files."""
PIXELS, RESOLUTIONS = (512, 1024, 2048), (10, 20)
# What `fetch` forbids in this process.
ALLOWED = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif"}
TILE, MONTH = "32TPT", "2022-05"


def write_files(folder: Path, rng: np.random.Generator) -> None:
    """The bands of one scene: a smooth landscape with noise, which deflate halves."""
    hills = np.repeat(np.repeat(rng.normal(0, 300, (80, 80)), 64, 0), 64, 1)
    for band, pixel in NATIVE.items():
        side = SIDE // pixel
        field = 2500 + hills[:: pixel // 10, :: pixel // 10] + rng.normal(0, 60, (side, side))
        values = (
            np.full((side, side), 4, np.uint8) if band == "SCL" else field.clip(1100, 9000).astype(np.uint16)
        )
        with rasterio.open(
            folder / f"{band}.tif", "w", driver="GTiff", dtype=values.dtype, count=1, height=side, width=side,
            crs=f"EPSG:{EPSG}", transform=Affine(pixel, 0, WEST, 0, -pixel, NORTH), nodata=0, tiled=True,
            blockxsize=1024, blockysize=1024, compress="deflate", predictor=2,
        ) as sink:  # fmt: skip
            sink.write(values, 1)


def pinned_search(address: str, scenes: int, grid: Grid) -> dict[str, Any]:
    """What a search would pin: ``scenes`` items with the files under ``address``."""
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(WEST, NORTH - SIDE, WEST + SIDE, NORTH)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    features = []
    for number in range(scenes):
        assets = {}
        for band, pixel in NATIVE.items():
            assets[band] = {
                "href": f"{address}/{number}/{band}.tif",
                "proj:shape": [SIDE // pixel, SIDE // pixel],
                "proj:transform": [pixel, 0, WEST, 0, -pixel, NORTH],
            }
        when = f"2022-05-{number + 1:02d}T10:16:01Z"
        features.append(
            {
                "type": "Feature", "stac_version": "1.0.0", "id": f"S2A_{number}",
                "collection": "sentinel-2-l2a", "bbox": [west, south, east, north],
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "datetime": when, "proj:epsg": EPSG, "s2:processing_baseline": "05.09",
                    "s2:mean_solar_zenith": 40.0, "s2:mean_solar_azimuth": 150.0, "view:incidence_angle": 5.0,
                    "view:azimuth": 100.0, "eo:cloud_cover": 0.0,
                },
                "links": [], "assets": assets,
                "canopyflow": {"tile": [TILE], "month": MONTH, "platform": "S2A"},
            }
        )  # fmt: skip
    return {"type": "FeatureCollection", "features": features, "lock": {"tiles": {TILE: grid.to_dict()}}}


def groups(grid: Grid) -> list[tuple[list[str], Grid]]:
    """Bands that are read together, and the grid they are read on."""
    finest = {band: min(pixel, grid.resolution) for band, pixel in NATIVE.items()}
    return [
        ([band for band in NATIVE if finest[band] == resolution], Grid(EPSG, grid.bounds, resolution))
        for resolution in sorted(set(finest.values()))
    ]


def bare_stackstac(pinned: dict[str, Any], grid: Grid) -> None:
    for item in pinned["features"]:
        for bands, fine in groups(grid):
            stackstac.stack(
                [item], assets=bands, epsg=EPSG, resolution=fine.resolution, bounds=fine.bounds,
                chunksize=1024, dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False,
                snap_bounds=False,
                gdal_env=DEFAULT_GDAL_ENV.updated(always=ALLOWED),
            ).compute(scheduler="threads")  # fmt: skip


def bare_odc(pinned: dict[str, Any], grid: Grid) -> None:
    odc.stac.configure_rio(cloud_defaults=True, verbose=False, aws=None, **ALLOWED)
    for item in pinned["features"]:
        for bands, fine in groups(grid):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                odc.stac.load(
                    [pystac.Item.from_dict(item, preserve_dict=True)], bands=bands, dtype="uint16", nodata=0,
                    geobox=GeoBox(fine.shape, fine.transform, f"EPSG:{EPSG}"), resampling="nearest",
                    chunks={"y": 1024, "x": 1024},
                ).compute(scheduler="threads")  # fmt: skip


BARE: dict[str, Callable[[dict[str, Any], Grid], None]] = {"stackstac": bare_stackstac, "odc": bare_odc}


def fetch(pinned: dict[str, Any], reader: str, out: Path) -> None:
    fetch_scenes(
        pinned, TILE, MONTH, out, bands=BANDS, reader=reader, asset_base=None, view_zenith_if_unknown=5.0
    )  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Ranges of files, below a first folder that is ignored; ``/sent`` says how many bytes were sent."""

    protocol_version = "HTTP/1.1"
    sent = 0

    def do_GET(self) -> None:
        if self.path == "/sent":
            self._answer(200, str(Handler.sent).encode())
            return
        path = self.folder / self.path.split("/")[-1]
        if not path.is_file():
            self._answer(404, b"")
            return
        size, wanted = path.stat().st_size, self.headers.get("Range")
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        stop = min(size, int(last) + 1) if last else size
        with path.open("rb") as file:
            file.seek(int(first))
            content = file.read(max(0, stop - int(first)))
        Handler.sent += len(content)
        self._answer(206 if wanted else 200, content, f"bytes {first}-{stop - 1}/{size}" if wanted else None)

    def do_HEAD(self) -> None:
        path = self.folder / self.path.split("/")[-1]
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def _answer(self, status: int, content: bytes, held: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        if held:
            self.send_header("Content-Range", held)
        self.end_headers()
        self.wfile.write(content)

    def __init__(self, *args: Any, folder: Path) -> None:
        self.folder = folder
        super().__init__(*args)

    def log_message(self, *args: Any) -> None:
        return


def serve(folder: Path) -> None:
    ThreadingHTTPServer.request_queue_size = 128
    listener = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, folder=folder))
    listener.daemon_threads = True
    print(listener.server_port, flush=True)
    listener.serve_forever()


def measured(address: str, work: Callable[[], None]) -> tuple[float, int]:
    """Seconds of ``work`` and the bytes that the server sent meanwhile."""

    def sent() -> int:
        with urllib.request.urlopen(f"{address}/sent") as answer:
            return int(answer.read())

    before, began = sent(), time.perf_counter()
    work()
    return time.perf_counter() - began, sent() - before


def compare(address: str, reader: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    fresh, rows = count(), []
    for pixels, resolution in product(options.pixels, RESOLUTIONS):
        left, top = WEST + INSET, NORTH - INSET
        grid = Grid(EPSG, (left, top - pixels * resolution, left + pixels * resolution, top), resolution)
        seen: dict[str, list[tuple[float, int]]] = {"bare": [], "fetch": []}
        # The first of each warms imports and threads up.
        for kind in [*seen] * (options.repetitions + 1):
            pinned = pinned_search(f"{address}/{reader}{next(fresh)}", options.scenes, grid)
            with tempfile.TemporaryDirectory() as folder:
                works = {
                    "bare": partial(BARE[reader], pinned, grid),
                    "fetch": partial(fetch, pinned, reader, Path(folder) / "out.zarr"),
                }
                seen[kind].append(measured(address, works[kind]))
        bare, ours = ([statistics.median(v[i] for v in runs[1:]) for i in (0, 1)] for runs in seen.values())
        row = {
            "reader": reader, "pixels": pixels, "resolution": resolution,
            "seconds": round(ours[0] / bare[0], 3), "bytes": round(ours[1] / bare[1], 3),
            "bare_seconds": round(bare[0], 3), "fetch_seconds": round(ours[0], 3),
            "megabytes": round(ours[1] / 1e6, 2),
        }  # fmt: skip
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--pixels", type=int, nargs="+", default=PIXELS)
    # How this program starts itself: as the server; for one library, apart from the other's settings of GDAL.
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    if options.compare:
        compare(*options.compare, options)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), np.random.default_rng(0))
        this = [sys.executable, *sys.argv]
        with subprocess.Popen([*this, "--serve", folder], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                address = f"http://127.0.0.1:{int(server.stdout.readline())}"
                for reader in BARE:
                    command = [*this, "--compare", address, reader]
                    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as work:
                        for line in work.stdout or ():
                            print(line, end="", flush=True)
                            rows.append(json.loads(line))
            finally:
                server.terminate()
    worst = {what: max(row[what] for row in rows) for what in ("seconds", "bytes")}
    print(json.dumps({"scenes": options.scenes, "worst": worst, "rows": rows}))


if __name__ == "__main__":
    main()
