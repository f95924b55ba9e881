"""A tiny static catalogue in the conventions of Planetary Computer, written by the tests themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.enums import Resampling

BANDS = ["B02", "B03", "B04", "B05", "B8A", "B11"]
NATIVE = {"B02": 10, "B03": 10, "B04": 10, "B05": 20, "B8A": 20, "B11": 20, "SCL": 20}
UTM = {32: (640000.0, 5200000.0), 33: (180000.0, 5200000.0)}
"""Upper left corners; both near 10.8 degrees east, so that the two tiles overlap across the zone border."""


def real_data() -> Path:
    """The folder of real data, or a skip that says what is missing."""
    root = os.environ.get("CANOPYFLOW_REAL_DATA") or Path(__file__).parents[1].parent / "shared" / "real"
    if not Path(root).is_dir():
        pytest.skip(f"no real data at {root}; set CANOPYFLOW_REAL_DATA")
    return Path(root)


def write_asset(path: Path, values: np.ndarray, west: float, north: float, pixel: int, epsg: int) -> None:
    """A small tiled GeoTIFF with a misleading overview: reading it where pixels are wanted shows."""
    profile = {
        "driver": "GTiff",
        "dtype": values.dtype,
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "crs": f"EPSG:{epsg}",
        "transform": rasterio.transform.from_origin(west, north, pixel, pixel),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
        file.build_overviews([2], Resampling.nearest)


def write_item(
    root: Path,
    day: str = "2022-05-01",
    *,
    zone: int = 32,
    platform: str = "A",
    baseline: str = "04.00",
    generated: str = "",
    size: int = 1280,
    datastrip: str = "",
    seed: int = 0,
    **properties: Any,
) -> dict[str, Any]:
    """Write assets and JSON of one item of ``size`` metres; returns the item.

    Reflectance is smooth noise around a vegetation spectrum, SCL is 4 but for a cloud of 3 x 3 pixels.
    """
    west, north = UTM[zone]
    epsg, tile = 32600 + zone, f"{zone}TPT"
    compact = day.replace("-", "")
    generated = generated or f"{compact}T180000"
    name = f"S2{platform}_MSIL2A_{compact}T101601_N{baseline.replace('.', '')}_R065_T{tile}_{generated}"
    if datastrip:
        name += f"_{datastrip}"
    folder = root / "sentinel-2-l2a" / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    level = dict(zip(BANDS, (400, 700, 500, 1100, 3500, 1800), strict=True))
    assets = {}
    for band, pixel in NATIVE.items():
        n = size // pixel
        if band == "SCL":
            values = np.full((n, n), 4, dtype=np.uint8)
            values[2:5, 2:5] = 9
        else:
            base = level[band] + (1000 if baseline >= "04.00" else 0)
            values = (base + rng.integers(-100, 100, (n, n))).astype(np.uint16)
            values[-3:, :] = 0
        write_asset(folder / f"{band}.tif", values, west, north, pixel, epsg)
        assets[band] = {
            "href": f"./{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": [n, n],
            "proj:transform": [pixel, 0, west, 0, -pixel, north],
        }
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    box = to_degrees.transform_bounds(west, north - size, west + size, north)
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.0.0/schema.json"],
        "id": name,
        "bbox": list(box),
        "geometry": {
            "type": "Polygon",
            "coordinates": [
                [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
            ],
        },
        "properties": {
            "datetime": f"{day}T10:16:01Z",
            "platform": f"Sentinel-2{platform}",
            "proj:epsg": epsg,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2{platform}_{compact}T101601_012081_N{baseline}",
            "s2:generation_time": f"{generated[:4]}-{generated[4:6]}-{generated[6:8]}T18:00:00Z",
            "eo:cloud_cover": 5.0,
            **(
                {"s2:datastrip_id": f"X_DS_X_{generated}_S{compact}T{datastrip}_N{baseline}"}
                if datastrip
                else {}
            ),
            **properties,
        },
        "collection": "sentinel-2-l2a",
        "links": [],
        "assets": assets,
    }
    if datastrip:
        item["properties"]["s2:datastrip_id"] = f"X_DS_X_{generated}_S{compact}T{datastrip}_N{baseline}"
    save_item(root, item)
    return item


def save_item(root: Path, item: dict[str, Any]) -> None:
    """(Re)write the JSON of an item and the catalogue above it."""
    folder = root / "sentinel-2-l2a" / item["id"]
    (folder / f"{item['id']}.json").write_text(json.dumps(item))
    items = sorted(p.name for p in (root / "sentinel-2-l2a").iterdir() if p.is_dir())
    links = [{"rel": "item", "href": f"./sentinel-2-l2a/{i}/{i}.json"} for i in items]
    root_catalogue = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "tiny",
        "description": "x",
        "links": links,
    }
    (root / "catalog.json").write_text(json.dumps(root_catalogue))


REFUSE = "refuse"
"""While a file of this name lies in the folder, the server answers 503."""


class Handler(SimpleHTTPRequestHandler):
    """Serves files with ranges, as GDAL wants."""

    def send_head(self) -> Any:
        if (Path(self.directory) / REFUSE).exists():
            self.send_error(503)
            return None
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            return super().send_head()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = path.stat().st_size
        stop = min(size, int(last) + 1) if last else size
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - int(first)))
        self.send_header("ETag", f'"{size}"')
        self.end_headers()
        with path.open("rb") as file:
            file.seek(int(first))
            self.wfile.write(file.read(stop - int(first)))
        return None

    def log_message(self, *args: Any) -> None:
        return


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of ``folder`` on a free port of the loopback.

    A process of its own: GDAL may hold the interpreter's lock while it waits for an answer.
    """
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


if __name__ == "__main__":
    listener = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1]))
    print(listener.server_port, flush=True)
    listener.serve_forever()
