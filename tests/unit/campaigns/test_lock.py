"""Two runs of one campaign do not overlap; a killed run blocks nobody."""

import os
import signal
import subprocess
import sys

import pytest

from canopyflow.campaigns.lock import hold, holder
from canopyflow.errors import CanopyflowError

HOLDER = """
import sys, time
from pathlib import Path
from canopyflow.campaigns.lock import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_run_is_told_who_holds_the_lock_and_a_kill_releases_it(tmp_path):
    results = tmp_path / "demo"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(results)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CanopyflowError, match=f"demo is being run by process {holder.pid}"):
            hold(results)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    hold(results)
    hold(results)


TURNED = """
import sys, time
from pathlib import Path
from canopyflow.campaigns.lock import hold, holder
print("held" if holder(Path(sys.argv[1])) else "lost", flush=True)
hold(Path(sys.argv[1]))
time.sleep(60)
"""
TURNING = """
import os, sys
from pathlib import Path
from canopyflow.campaigns.lock import hold
hold(Path(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""


def test_the_lock_stays_with_a_process_that_becomes_another_program(tmp_path):
    results = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, "-c", TURNING, str(results), TURNED], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        assert (holder(results) or "").startswith(f"process {process.pid} on ")
        with pytest.raises(CanopyflowError, match=f"process {process.pid}"):
            hold(results)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert (results / ".lock").read_text()
    assert holder(results) is None


def test_a_program_that_the_holder_starts_does_not_keep_the_lock(tmp_path):
    results = tmp_path / "demo"
    code = (
        "import subprocess, sys; from pathlib import Path; from canopyflow.campaigns.lock import hold;"
        "hold(Path(sys.argv[1])); out = subprocess.DEVNULL;"
        "print(subprocess.Popen(['sleep', '60'], stdout=out, stderr=out).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(results)], capture_output=True, text=True, check=True
    )
    try:
        assert holder(results) is None
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_nobody_holds_a_campaign_that_never_ran(tmp_path):
    assert holder(tmp_path / "demo") is None
    assert not (tmp_path / "demo").exists()
