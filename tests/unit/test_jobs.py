"""The frame that every job runs in."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from canopyflow.jobs import finished_with, job, settings_digest


def test_the_digest_is_of_plain_settings_and_not_of_paths():
    assert settings_digest({"n": 1, "where": Path("a")}) == settings_digest({"n": 1, "where": Path("b")})
    assert settings_digest({"n": 1}) != settings_digest({"n": 2})
    assert settings_digest({"area": {"": (1.0, 2.0)}}) == settings_digest({"area": {"": [1.0, 2.0]}})


def test_a_log_tells_whether_its_job_finished(tmp_path):
    log = tmp_path / "job.log"
    assert finished_with(log) is None
    log.write_text("10:00:00 INFO of another time\n")
    assert finished_with(log) is None
    with job(str(log), {"n": 1}):
        assert finished_with(log) == ""
    assert finished_with(log) == settings_digest({"n": 1})


def test_a_full_disk_is_one_line(tmp_path, capfd):
    log = tmp_path / "job.log"
    with pytest.raises(SystemExit), job(str(log), {}):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/map.zarr")
    assert "ERROR no space left to write results/map.zarr" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert finished_with(log) == ""
