"""The ready schedules: what a machine can check of them without waiting a week."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
SCHEDULES = TOP / "config/schedules"


def test_the_script_is_sound_shell_and_may_be_run():
    script = SCHEDULES / "weekly.sh"
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


def test_the_script_runs_the_campaign_with_a_new_search_from_wherever_it_is_called(tmp_path):
    """A checkout in small, with a `canopyflow` that only tells how it was called."""
    (tmp_path / "config/schedules").mkdir(parents=True)
    shutil.copy2(SCHEDULES / "weekly.sh", tmp_path / "config/schedules")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f"PATH={tmp_path}/.venv/bin:$PATH\n")
    told = tmp_path / ".venv/bin/canopyflow"
    told.write_text('#!/bin/sh\necho "$PWD $*"\n')
    told.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "config/schedules/weekly.sh", "c.yaml", "--profile", "slurm"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{tmp_path} campaign run c.yaml --profile slurm --forcerun search",
        f"{tmp_path} campaign status c.yaml",
    ]


@pytest.mark.parametrize("name", ["crontab", "scrontab"])
def test_each_entry_has_five_fields_of_time_and_calls_the_script(name):
    lines = (SCHEDULES / name).read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#") and not re.match(r"[A-Z]+=", line)]
    assert len(entries) == 1
    *times, command = entries[0].split(maxsplit=5)
    limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    for value, (low, high) in zip(times, limits, strict=True):
        assert value == "*" or low <= int(value) <= high
    assert "config/schedules/weekly.sh" in command
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_lines_for_slurm_are_options_of_sbatch():
    options = re.findall(r"^#SCRON --([a-z-]+)=\S+$", (SCHEDULES / "scrontab").read_text(), re.MULTILINE)
    assert {"partition", "time", "chdir", "output", "mem"} <= set(options)
    assert len(options) == (SCHEDULES / "scrontab").read_text().count("\n#SCRON")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_finds_nothing_wrong_with_service_and_timer(tmp_path):
    for kind in ("service", "timer"):
        unit = (SCHEDULES / f"canopyflow@.{kind}").read_text()
        # The place of the checkout is the site's to fill in; here it is this one.
        (tmp_path / f"canopyflow@X.{kind}").write_text(unit.replace("%h/canopyflow", str(TOP)))
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "canopyflow" in line], done.stderr
    calendar = re.search(r"OnCalendar=(.*)", (SCHEDULES / "canopyflow@.timer").read_text())
    assert calendar is not None
    subprocess.run(["systemd-analyze", "calendar", calendar[1]], check=True, capture_output=True)
