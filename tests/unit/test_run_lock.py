"""Two runs of one campaign do not overlap; a killed run blocks nobody."""

import subprocess
import sys

import pytest

from canopyflow.errors import CanopyflowError
from canopyflow.run_lock import hold

HOLDER = """
import sys, time
from pathlib import Path
from canopyflow.run_lock import hold
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
