"""A table of a million rows through `canopyflow predict`: seconds, and the most memory, whatever its length.

    python benchmarks/table_speed.py --model results/demo/models/nsf/seed0
    python benchmarks/table_speed.py --model FOLDER --rows 1000000 --times 3 --kinds csv parquet

Rows are noisy simulations of the model itself, under the geometries and platforms of a campaign. The command
runs as a process of its own, from each kind of file to the same kind, once on ``rows`` of them and once on
``times`` as many: the second must not take more memory than the first, but for a tenth. Fails if it does, or
takes more than a gigabyte. The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from canopyflow.models import load
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import Survey, draw
from canopyflow.vocabulary import ANGLES, PLATFORMS

_PIECE = 100_000
"""Rows that are simulated at a time."""


def write_table(path: Path, folder: str, rows: int) -> None:
    """``rows`` simulated ones; beyond the first million they come again."""
    model = load(folder).generative
    sink: Any = None
    for first in range(0, rows, _PIECE):
        n = min(_PIECE, rows - first)
        number = first // _PIECE % 10
        clean = draw(model, Survey(), n, number)
        seen = model.observe(clean, generator("rows", number))
        frame = pd.DataFrame(seen.reflectance.numpy().round(4), columns=list(model.bands))
        frame[list(ANGLES)] = seen.geometry.numpy().round(2)
        frame.insert(0, "platform", [PLATFORMS[i] for i in seen.platform.tolist()])
        frame.insert(0, "id", [f"field {first + i}" for i in range(n)])
        piece = pa.Table.from_pandas(frame, preserve_index=False)
        if sink is None:
            kind = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
            sink = kind(str(path), piece.schema)
        sink.write_table(piece)
    sink.close()


def predicted(table: Path, model: str, out: Path) -> dict[str, float]:
    """Seconds and gigabytes of the command on this table."""
    begun = time.perf_counter()
    call = "from canopyflow.cli import app; app()"
    given = ["predict", str(table), "--model", str(model), "--out", str(out)]
    command = [sys.executable, "-c", call, *given]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - begun
    # Of all children so far; tables come in the order of their length.
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    return {"seconds": round(seconds, 1), "gigabytes": round(most, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", required=True, help="a bundle with learned summaries, or its name")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3, help="how many times as long the second table is")
    kinds = ["parquet", "csv", "csv.gz"]
    parser.add_argument("--kinds", nargs="+", default=kinds[:2], choices=kinds, help="of what is written")
    parser.add_argument("--folder", type=Path, help="where there is room: 2 kilobytes per row")
    o = parser.parse_args()
    if not load(o.model).learns:
        raise SystemExit(f"{o.model} has no learned summaries, or they failed their check")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="table-speed-", dir=o.folder) as name:
        for rows in (o.rows, o.times * o.rows):
            for kind in o.kinds:
                table, out = Path(name) / f"in.{kind.removesuffix('.gz')}", Path(name) / f"out.{kind}"
                write_table(table, o.model, rows)
                found[f"{kind} {rows}"] = measured = predicted(table, o.model, out)
                print(f"{rows} rows, {kind}: {measured}", flush=True)
                table.unlink()
                out.unlink()
    one, many = (
        max(measured["gigabytes"] for kind, measured in found.items() if kind.endswith(f" {n}"))
        for n in (o.rows, o.times * o.rows)
    )
    found["grows"] = many > 1.1 * one
    print(json.dumps(found))
    return int(found["grows"] or many > 1.0)


if __name__ == "__main__":
    sys.exit(main())
