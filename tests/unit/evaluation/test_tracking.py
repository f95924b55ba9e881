"""Curves of training reach TensorBoard and MLflow as they stand in a history."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from canopyflow.errors import CanopyflowError, DataError
from canopyflow.evaluation.tracking import ADDRESS, CURVES, EVENTS, points, track
from canopyflow.shipped import bundle_of

TOP = Path(__file__).resolve().parents[3]
LINES = [
    {"phase": 1, "objective": "npe", "epoch": 1, "loss": 2.5, "learning_rate": 0.1, "skipped": 0},
    {"phase": 1, "objective": "npe", "epoch": 2, "loss": None, "learning_rate": 0.05, "skipped": 3},
    {"phase": 2, "objective": "elbo", "epoch": 1, "loss": -1.25, "learning_rate": 0.01, "skipped": 0},
]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "models/nsf/seed0/history.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line | {"validation": 1.0}) + "\n" for line in LINES))
    return path


def test_tensorboard_reads_every_point(history: Path, tmp_path: Path) -> None:
    said = track(history.parent, "tensorboard", tmp_path / "out", experiment="demo", run="nsf/seed0")
    assert said == {
        "tracker": "tensorboard",
        "run": "nsf/seed0",
        "points": 11,
        "where": str(tmp_path / "out"),
    }
    reader = EventAccumulator(str(tmp_path / "out"))
    reader.Reload()
    expected: dict[str, list[tuple[int, float]]] = {}
    for curve, step, value in points(history):
        expected.setdefault(curve, []).append((step, value))
    assert set(reader.Tags()["scalars"]) == set(expected)
    for curve, values in expected.items():
        found = [(event.step, event.value) for event in reader.Scalars(curve)]
        assert found == [(step, pytest.approx(value)) for step, value in values]
    assert expected["phase 1 npe/loss"] == [(1, 2.5)]
    assert expected["phase 1 npe/skipped"] == [(1, 0.0), (2, 3.0)]


def test_the_same_history_gives_the_same_bytes(history: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        track(history, "tensorboard", tmp_path / name, experiment="demo", run=name)
    one, two = ((tmp_path / name / EVENTS).read_bytes() for name in ("one", "two"))
    assert one == two


def test_histories_of_real_trainings_are_read() -> None:
    found = list(points(bundle_of("s2") / "history.jsonl"))
    assert len(found) > 40
    assert {point.curve.rpartition("/")[2] for point in found} == set(CURVES)


def test_every_key_of_a_history_is_documented() -> None:
    lines = (bundle_of("s2") / "history.jsonl").read_text().splitlines()
    page = (TOP / "docs/tracking.md").read_text()
    assert all(f"| `{key}` |" in page for key in json.loads(lines[0]))


class Client:
    """What of MLflow's client is used, as its documentation says it behaves; one server for all."""

    runs: list[SimpleNamespace]
    address = ""

    def __init__(self, tracking_uri: str) -> None:
        Client.address = tracking_uri

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id="7") if Client.runs else None

    def create_experiment(self, name: str) -> str:
        assert name == "demo"
        return "7"

    def search_runs(self, places: list[str], filter_string: str) -> list[SimpleNamespace]:
        assert places == ["7"]
        tag = filter_string.partition("'")[2].partition("'")[0]
        return [run for run in Client.runs if tag in run.tags.values() and f"'{run.name}'" in filter_string]

    def create_run(self, place: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        info = SimpleNamespace(run_id=f"run{len(Client.runs)}")
        Client.runs.append(SimpleNamespace(info=info, name=run_name, tags=tags, metrics=[], ended=False))
        return Client.runs[-1]

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        assert len(metrics) <= 1000
        Client.runs[int(run_id.removeprefix("run"))].metrics += metrics

    def set_terminated(self, run_id: str) -> None:
        Client.runs[int(run_id.removeprefix("run"))].ended = True


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    Client.runs = []
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    package.__dict__["MlflowClient"] = Client
    entities.__dict__["Metric"] = lambda key, value, timestamp, step: (key, step, value)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv(ADDRESS, raising=False)


def test_mlflow_is_given_one_run_for_a_history(history: Path, tmp_path: Path, mlflow: None) -> None:
    out = tmp_path / "store"
    first = track(history, "mlflow", out, experiment="demo", run="nsf/seed0")
    assert track(history, "mlflow", out, experiment="demo", run="nsf/seed0") == first
    (run,) = Client.runs
    assert run.metrics == [tuple(point) for point in points(history)] and run.ended
    assert run.tags == {"canopyflow.history": hashlib.sha256(history.read_bytes()).hexdigest()}
    assert Client.address == out.resolve().as_uri()
    track(history, "mlflow", out, experiment="demo", run="nsf/seed1")
    history.write_text(history.read_text() + json.dumps(LINES[2] | {"epoch": 2}) + "\n")
    track(history, "mlflow", out, experiment="demo", run="nsf/seed0")
    assert len(Client.runs) == 3


def test_a_server_is_named_in_the_environment(
    history: Path, tmp_path: Path, mlflow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, "https://mlflow.example")
    track(history, "mlflow", tmp_path / "store", experiment="demo", run="nsf/seed0")
    assert Client.address == "https://mlflow.example"
    assert not (tmp_path / "store").exists()


def test_a_tracker_that_is_not_installed_says_how_it_is(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(CanopyflowError, match=r"package mlflow.*pip install 'canopyflow\[mlflow\]'"):
        track(history, "mlflow", tmp_path, experiment="demo", run="a")
    with pytest.raises(CanopyflowError, match="did you mean 'tensorboard'"):
        track(history, "tensorbord", tmp_path, experiment="demo", run="a")


def test_what_is_no_history_is_named_by_its_line(history: Path, tmp_path: Path) -> None:
    history.write_text(history.read_text() + '{"phase": 1}\n')
    with pytest.raises(DataError, match=r"history.jsonl, line 4: no line of a history"):
        list(points(history))
    with pytest.raises(DataError, match="is not there"):
        track(tmp_path / "nowhere", "tensorboard", tmp_path, experiment="demo", run="a")
