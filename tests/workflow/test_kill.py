"""Killed at random moments and started again, a campaign ends in the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess

import pytest

KILLS = int(os.environ.get("CANOPYFLOW_KILLS", "3"))
USUAL = 100.0
"""Seconds that an undisturbed run takes, or more on a slow machine: kills then fall earlier in it."""


@pytest.mark.slow
def test_kill_dash_nine_at_random_moments_changes_nothing(checkout, finished, tmp_path):
    disturbed = checkout.copy(tmp_path / "disturbed")
    # Its writing is interrupted by tests of its own.
    shutil.copytree(finished.folder / "demo-archive", disturbed.folder / "demo-archive")
    moments = random.Random(20211105)
    landed = 0
    for _ in range(KILLS):
        # Mean waits add up to about one run, so kills fall all over it, though each start costs some.
        running = subprocess.Popen(
            disturbed.command(),
            cwd=disturbed.folder,
            env=disturbed.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            running.wait(timeout=moments.uniform(3, 3 + 2 * USUAL / KILLS))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            landed += 1
            running.wait()
    assert landed >= KILLS // 2
    disturbed.snakemake()
    assert disturbed.checksums() == finished.checksums()
