"""Random histories of a small campaign: does each end like a campaign that has none?

    OMP_NUM_THREADS=1 python benchmarks/histories.py --histories 200 --seed 1 --processes 2

A hypothesis state machine (tests/histories.py) draws what happens: runs, kills with SIGKILL after a number
of requests or at some moment, faults of the archive and its outage, new and changed scenes, broken and
mended files, edits of settings and code. After each run the exit status and what is set aside must be those
that the archive explains. In the end everything is mended, the campaign runs once more, and every file it
made must be, byte for byte, that of a campaign that ran once; nothing may have been fetched twice but what a
killed job had in hand.

Histories are drawn in lots, each a line of the file `--record`: a command that was broken off goes on with
the lots that are missing. The last line is JSON: histories drawn, how many were equal, how many scenes were
fetched again without a reason, failures; and how many kills there were, after which how many scenes were
fetched again. The exit status is 1 if a history failed; its story is in the record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests"))

from histories import draw_histories  # noqa: E402

LOT, STEPS = 10, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--record", type=Path, default=Path("histories.jsonl"))
    parser.add_argument("--lot", type=int, help="draw this lot alone, and print it (what each process does)")
    options = parser.parse_args()
    if options.lot is not None:
        with tempfile.TemporaryDirectory() as folder:
            came = draw_histories(Path(folder), LOT, STEPS, 10_000 * options.seed + options.lot)
        print(json.dumps({"seed": options.seed, "lot": options.lot, "came": came}))
        return
    begun = time.monotonic()
    for lot in draw_lots(options):
        with options.record.open("a") as file:
            file.write(json.dumps(lot) + "\n")
        came = lot["came"]
        failed = sum(bool(history["failure"]) for history in came)
        print(f"lot {lot['lot']}: {len(came)} histories, {failed} failed", flush=True)
    summary = summarise([h for lot in recorded(options) for h in lot["came"]])
    print(json.dumps(summary | {"seconds": round(time.monotonic() - begun)}))
    sys.exit(bool(summary["failures"]))


def draw_lots(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lots that are not in the record yet, each as soon as it is drawn."""
    done = {lot["lot"] for lot in recorded(options)}
    missing = [lot for lot in range(-(-options.histories // LOT)) if lot not in done]
    running: list[subprocess.Popen[str]] = []
    while missing or running:
        while missing and len(running) < options.processes:
            command = [sys.executable, __file__, "--seed", str(options.seed), "--lot", str(missing.pop(0))]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        ended = next((one for one in running if one.poll() is not None), None)
        if ended is None:
            time.sleep(0.5)
            continue
        running.remove(ended)
        output = ended.communicate()[0]
        if ended.returncode:
            sys.exit(f"a lot was not drawn:\n{output}")
        yield json.loads(output.splitlines()[-1])


def recorded(options: argparse.Namespace) -> list[dict[str, Any]]:
    if not options.record.exists():
        return []
    lots = [json.loads(line) for line in options.record.read_text().splitlines()]
    return [lot for lot in lots if lot["seed"] == options.seed and lot["lot"] * LOT < options.histories]


def summarise(came: list[dict[str, Any]]) -> dict[str, int]:
    return {
        "histories": len(came),
        "equal": sum(not history["failure"] for history in came),
        "refetched": sum(history["unexplained"] for history in came),
        "failures": sum(bool(history["failure"]) for history in came),
        "kills": sum(history["kills"] for history in came),
        "fetched_after_kills": sum(history["again"] for history in came),
    }


if __name__ == "__main__":
    main()
