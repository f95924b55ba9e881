"""How fast shuffled batches of patches are read, against reading the same cube from front to back.

    python benchmarks/patch_reading.py --patches 8192

Measured in processor seconds, which say what a training has to pay: the readers take turns, and the median
of several rounds counts. Front to back is read in two ways, shard by shard as Zarr does and chunk by chunk
as the loader does, and the faster one is compared with. Random chunks, each asked of Zarr on its own, are
what the loader replaces. The last line is JSON; the exit status is 1 if shuffled batches reach less than
80 % of the speed from front to back.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from canopyflow.cubes.batches import Batches, PatchCube
from canopyflow.cubes.layout import decoded
from canopyflow.cubes.patches import PATCHES_PER_CHUNK, PATCHES_PER_SHARD, TEXTS, write_cube
from canopyflow.vocabulary import BANDS

LEAST = 0.8
SIZE = 16


def write(path: Path, patches: int) -> None:
    """A cube with the structure of fields: means per patch and band, and texture."""
    rng = np.random.default_rng(0)
    means = rng.normal(2500, 800, (patches, len(BANDS), 1, 1))
    numbers = means + rng.normal(0, 80, (patches, len(BANDS), SIZE, SIZE))
    cube = {
        "reflectance": numbers.clip(1, 10_000).astype(np.uint16),
        "valid": rng.random((patches, SIZE, SIZE)) < 0.8,
        "angles": rng.uniform(0, 60, (patches, 3)).astype(np.float32),
        "band": np.array(BANDS, dtype=object),
        "row": np.zeros(patches, dtype=np.int32),
        "column": np.zeros(patches, dtype=np.int32),
        "time": np.zeros(patches, dtype="datetime64[ns]"),
        **{name: np.full(patches, "", dtype=object) for name in TEXTS},
    }
    cube["platform"][:] = "S2A"
    write_cube(path, cube)


def readers(path: Path) -> dict[str, Callable[[int], None]]:
    """What is compared; each reads the whole cube, its argument is the number of the round."""
    cube = PatchCube(path)
    store = zarr.open_group(path, mode="r")

    def by_shards(_: int) -> None:
        for first in range(0, len(cube), PATCHES_PER_SHARD):
            shard = slice(first, first + PATCHES_PER_SHARD)
            decoded(store["reflectance"][shard]), store["valid"][shard]

    def by_chunks(_: int) -> None:
        for chunk in range(cube.chunks):
            decoded(cube.numbers(chunk)), cube.valid(chunk)

    def shuffled_by_zarr(number: int) -> None:
        for chunk in np.random.default_rng(number).permutation(cube.chunks):
            rows = slice(chunk * PATCHES_PER_CHUNK, (chunk + 1) * PATCHES_PER_CHUNK)
            decoded(store["reflectance"][rows]), store["valid"][rows]

    def shuffled(number: int) -> None:
        for batch in Batches(cube, seed=0, epoch=number):
            del batch

    return {
        "shards, in order": by_shards,
        "chunks, in order": by_chunks,
        "chunks, shuffled, by zarr": shuffled_by_zarr,
        "batches, shuffled": shuffled,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--patches", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cube.zarr"
        write(path, options.patches)
        ways = readers(path)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):
            for name, read in ways.items():
                began = time.process_time()
                read(number)
                if number:  # the first round warms up
                    seconds[name].append(time.process_time() - began)
    megabytes = options.patches * len(BANDS) * SIZE**2 * 2 / 1e6
    speed = {name: megabytes / statistics.median(values) for name, values in seconds.items()}
    for name, value in speed.items():
        print(f"{name:28} {value:7.0f} MB per processor second")
    in_order = max(value for name, value in speed.items() if name.endswith("in order"))
    ratio = speed["batches, shuffled"] / in_order
    result = {
        "patches": options.patches,
        "megabytes_per_second": {name: round(value) for name, value in speed.items()},
        "ratio": round(ratio, 3),
        "ratio_to_shards_in_order": round(speed["batches, shuffled"] / speed["shards, in order"], 3),
        "least": LEAST,
    }
    print(json.dumps(result))
    return int(ratio < LEAST)


if __name__ == "__main__":
    sys.exit(main())
