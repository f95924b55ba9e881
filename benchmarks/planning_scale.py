"""How long Snakemake plans a campaign of many tiles, and how much memory it takes.

    python benchmarks/planning_scale.py --tiles 1000 --months 12

The campaign is real but for its index of tile-months, which is made up: planning reads nothing else of a
search (canopyflow.archive.pinned.index). The files of items are there and are empty, and no pixel is opened.
All of the rules are planned, those of each model included; the last line compares with the bound of three
minutes and 4 GB.

The time is that of `snakemake --dry-run --quiet rules progress`, which ends when the jobs are planned. On a
machine that does other things as well, look at the processor seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
from pathlib import Path

import yaml
from snakemake.cli import args_to_api, parse_args
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from canopyflow.atomic import write_json
from canopyflow.registry import FAMILIES

TOP = Path(__file__).resolve().parents[1]
SECONDS, GIGABYTES = 180, 4


def index(tiles: int, months: int) -> dict[str, dict[str, dict[str, object]]]:
    """Six scenes in each tile-month; the digests are not those of anything."""
    return {
        "tiles": {
            tile_name(number): {
                f"{2021 + month // 12}-{month % 12 + 1:02}": {
                    "scenes": 6,
                    "digest": f"{number:08x}{month:08x}",
                }
                for month in range(months)
            }
            for number in range(tiles)
        }
    }


def tile_name(number: int) -> str:
    """A name like one of the Sentinel-2 tiling grid: zone, band, column, row."""
    column, row = divmod(number, 20)
    zone, column = divmod(column, 24)
    return f"{zone + 1:02}T{chr(65 + column)}{chr(65 + row)}"


def prepare(folder: Path, tiles: int, months: int, families: list[str]) -> None:
    """A working directory with the campaign's file and its search."""
    campaign = {
        "campaign": "scale",
        "area": {"bbox": [6.0, 46.0, 10.0, 48.0]},
        "period": {"start": "2021-01-01", "end": "2021-12-31"},
        "archive": {"catalog": "https://stac.invalid/v1"},
        "families": families,
    }
    (folder / "scale.yaml").write_text(yaml.safe_dump(campaign))
    search = folder / "results/scale/search"
    content = index(tiles, months)
    for tile, entries in content["tiles"].items():
        (search / tile).mkdir(parents=True)
        for month in entries:
            (search / tile / f"{month}.json").touch()
    write_json(search / "index.json", content)


class Stats(logging.Filter):
    """Lets all messages pass and keeps the number of jobs that Snakemake says it has planned.

    No handler, because Snakemake removes those that it did not add.
    """

    jobs = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", None) == LogEvent.RUN_INFO:
            self.jobs = record.__dict__["stats"]["total"]
        return True


def plan(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Jobs planned, wall and processor seconds, peak memory in GB of this process."""
    command = ["--snakefile", str(TOP / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "scale.yaml"), "--dry-run", "--quiet", "rules", "progress"]
    parser, args = parse_args([*command, *arguments])
    stats = Stats()
    logger.addFilter(stats)
    begun = time.monotonic()
    if not args_to_api(args, parser):
        sys.exit("Snakemake made no plan")
    return {
        "jobs": stats.jobs,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tiles", type=int, default=1000)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--families", nargs="+", default=sorted(FAMILIES)[:3])
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.tiles, options.months, options.families)
        measured = plan(Path(folder), rest)
    print(json.dumps({"tiles": options.tiles, "months": options.months, **measured}))
    within = measured["cpu_seconds"] <= SECONDS and measured["gigabytes"] <= GIGABYTES
    print(f"within {SECONDS} s and {GIGABYTES} GB: {'yes' if within else 'no'}")


if __name__ == "__main__":
    main()
