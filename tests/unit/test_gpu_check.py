"""The check of a GPU runs on a processor from its first row to its last, and tells a wrong number."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its data classes look their module up.
    monkeypatch.setitem(sys.modules, "gpu", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_check_of_a_gpu_runs_on_a_processor(gpu, capsys):
    assert gpu.main(["--device", "cpu", "--quick", "--no-compile"]) == 0
    told = capsys.readouterr().out
    for what in ("PROSAIL nodes float32", "nsf_ar", "steps/s", "learned", "drawn", "refined", "reference"):
        assert what in told
    assert "WRONG" not in told


@pytest.mark.slow
def test_a_wrong_number_fails_the_check(gpu, monkeypatch, capsys):
    real = gpu.both_ways
    calls = []

    def astray(*arguments):
        calls.append(None)
        value, slope = real(*arguments)
        return value + (1e-3 if len(calls) % 2 else 0.0), slope

    monkeypatch.setattr(gpu, "both_ways", astray)
    monkeypatch.setattr(gpu, "PARTS", (gpu.physics,))
    assert gpu.main(["--device", "cpu", "--quick"]) == 1
    assert "WRONG" in capsys.readouterr().out
