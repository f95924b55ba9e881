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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests"))

from histories import draw_histories  # noqa: E402

LOT, STEPS = 20, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--record", type=Path, default=Path("histories.jsonl"))
    parser.add_argument("--lot", type=int, help="draw this lot alone (what each process does)")
    options = parser.parse_args()
    if options.lot is not None:
        draw_lot(options)
        return
    begun = time.monotonic()
    missing = sorted(set(range(-(-options.histories // LOT))) - recorded(options).keys())
    command = [sys.executable, __file__, f"--seed={options.seed}", f"--record={options.record}", "--lot"]
    with ThreadPoolExecutor(options.processes) as pool:
        drawn = pool.map(lambda lot: subprocess.run([*command, str(lot)], check=True), missing)
        for lot, _ in zip(missing, drawn, strict=True):
            came = recorded(options)[lot]
            print(f"lot {lot}: {len(came)} histories, {failures(came)} failed", flush=True)
    summary = summarise([history for came in recorded(options).values() for history in came])
    print(json.dumps(summary | {"seconds": round(time.monotonic() - begun)}))
    sys.exit(bool(summary["failures"]))


def draw_lot(options: argparse.Namespace) -> None:
    """Draw a lot; each history is recorded as soon as it has ended, and in the end the lot is."""

    def record(line: dict[str, Any]) -> None:
        with options.record.open("a") as file:
            file.write(json.dumps({"seed": options.seed, "lot": options.lot, "try": started, **line}) + "\n")

    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        draw_histories(Path(folder), LOT, STEPS, record, 10_000 * options.seed + options.lot)
    record({"ended": True})


def recorded(options: argparse.Namespace) -> dict[int, list[dict[str, Any]]]:
    """Histories of the lots that have ended."""
    lines = options.record.read_text().splitlines() if options.record.exists() else []
    parts = [line for line in map(json.loads, lines) if line["seed"] == options.seed]
    ended = {(line["lot"], line["try"]) for line in parts if "ended" in line}
    found: dict[int, list[dict[str, Any]]] = {lot: [] for lot, _ in ended if lot * LOT < options.histories}
    for line in parts:
        if (line["lot"], line["try"]) in ended and "ended" not in line and line["lot"] in found:
            found[line["lot"]].append(line)
    return found


def failures(came: list[dict[str, Any]]) -> int:
    return sum(bool(history["failure"]) for history in came)


def summarise(came: list[dict[str, Any]]) -> dict[str, int]:
    return {
        "histories": len(came),
        "equal": len(came) - failures(came),
        "refetched": sum(history["unexplained"] for history in came),
        "failures": failures(came),
        "kills": sum(history["kills"] for history in came),
        "fetched_after_kills": sum(history["again"] for history in came),
    }


if __name__ == "__main__":
    main()
