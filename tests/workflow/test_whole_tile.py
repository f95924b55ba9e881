"""A piece of a tile, larger than what dask holds in one piece, through the real rules in bounded memory."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
BENCHMARK = TOP / "benchmarks" / "whole_tile.py"


@pytest.mark.slow
def test_two_scenes_of_2048_pixels_go_through_all_rules(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--side", "2048", "--scenes", "2", "--resolutions", "10"]
    environment = os.environ | {"PYTHONPATH": str(TOP / "src")}
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    rules = found["runs"]["10 m"]["rules"]
    assert found["missed"] == []
    assert {rule: rules[rule]["jobs"] for rule in rules} == {
        "search": 1,
        "fetch_scenes": 1,
        "mask_clouds": 1,
        "cut_patches": 2,
        "simulate": 2,
        "train": 1,
        "infer": 1,
        "publish": 1,
    }
    assert all(rules[rule]["bytes_per_pixel"] > 0 for rule in ("fetch_scenes", "infer", "publish"))
    assert list(tmp_path.iterdir()) == []


def test_too_much_memory_and_a_scene_that_is_missing_are_told(tmp_path: Path) -> None:
    missed = runpy.run_path(str(BENCHMARK), run_name="benchmark")["missed"]
    well: dict[str, Any] = {"jobs": 1, "seconds": 9.0, "peak_mb": 2999, "most_mb": 3000}
    (tmp_path / "published/a").mkdir(parents=True)
    (tmp_path / "published/a/lai_mean.tif").touch()
    assert missed(tmp_path, {"infer": well}, 1) == []
    assert missed(tmp_path, {"infer": well | {"peak_mb": 3001}}, 1) == [
        "infer needed 3001 MB, it may need 3000"
    ]
    assert missed(tmp_path, {"infer": well | {"peak_mb": 0}}, 1) == ["infer was never seen"]
    assert missed(tmp_path, {"infer": well}, 2) == ["1 of 2 scenes were published"]
