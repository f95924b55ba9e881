"""Scores of models of seasons where the truth is known: which dates count where, and what is calibrated."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from seasons import SMALL, learning_seasons, untrained_seasons
from torch import Tensor
from training_runs import drawn_seasons
from untrained import META

from canopyflow.atomic import content_digest
from canopyflow.evaluation import season_score
from canopyflow.evaluation.against import summaries as against
from canopyflow.evaluation.score import Scoring
from canopyflow.evaluation.season_score import score_seed
from canopyflow.inference.allocation import Allocation, spread
from canopyflow.models.bundle import save
from canopyflow.models.phenology import NAMES
from canopyflow.models.summaries import description
from canopyflow.observations.observation import Observation
from canopyflow.vocabulary import BANDS

DATES = 5
SCORING = Scoring(n=40 * DATES, samples=19, seed=3)


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(season_score, "_TIMED", 2)
        patch.setattr(against, "MANY", 50)
        patch.setattr(against, "_COMPARED", 2 * DATES)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_seasons(tmp_path_factory.mktemp("drawn") / "test.zarr", n=60, dates=DATES, bands=BANDS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, folder = untrained_seasons("mixture"), tmp_path_factory.mktemp("models") / "season"
    assert model.bands == BANDS
    save(model, folder, META)
    return folder


class Draws:
    """In place of a posterior, for one batch after the other: the truth, but that the dates which are ``off``
    (seen, hidden) know nothing; or draws of the prior."""

    def __init__(self, bundle: Path, store: Path, off: str = "") -> None:
        self.model = season_score._model(bundle)
        self.seen, self.truth = season_score._held_back(self.model, store, SCORING)
        self.off, self.next = off, 0

    def __call__(self, bundle: Path, samples: int, seen: Observation, seed: int) -> Tensor:
        rows = slice(self.next, self.next + len(seen))
        self.next += len(seen)
        assert torch.equal(seen.valid, self.seen.valid[rows])
        if self.off == "prior":
            g = torch.Generator().manual_seed(seed)
            drawn = self.model.generative.prior(seen).sample(samples * len(seen), g)
            return drawn.view(samples, len(seen), *drawn.shape[1:])
        z, known = self.truth[rows].clone(), seen.valid.any(-1)
        if self.off:
            space = self.model.generative.space
            z[known if self.off == "seen" else ~known] = (space.lower + space.upper) / 2
        return z.expand(samples, *z.shape)


def scored(bundle: Path, store: Path, out: Path, **changes: Any) -> dict[str, Any]:
    files = {"out": out / "scores.json", "cost_out": out / "cost.json"}
    score_seed(bundle, SCORING, simulations=store, references={}, **files, **changes)
    found: dict[str, Any] = json.loads(files["out"].read_text())
    return found


def of_draws(
    bundle: Path, store: Path, out: Path, patch: pytest.MonkeyPatch, off: str = ""
) -> tuple[dict[str, Any], Draws]:
    draws = Draws(bundle, store, off)
    patch.setattr(season_score, "_draws", draws)
    return scored(bundle, store, out), draws


def test_draws_that_are_the_truth_err_nowhere(
    bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, draws = of_draws(bundle, store, tmp_path, monkeypatch)
    # Seasons of which nothing is left are not scored.
    assert draws.next == len(draws.seen) and 30 < draws.next <= 40
    known = draws.seen.valid.any(-1)
    assert found["calibration"]["n"] == int(known.sum()) and not known.all()
    assert found["scores"].keys() == {*found["hidden"], *NAMES} and "lai" in found["hidden"]
    for part in ("scores", "hidden"):
        assert all(scores["rmse"] == pytest.approx(0, abs=1e-4) for scores in found[part].values()), part
    assert found["bundle_sha256"] == content_digest(bundle)


@pytest.mark.parametrize(("off", "right"), [("seen", "hidden"), ("hidden", "scores")])
def test_dates_that_were_seen_and_hidden_ones_are_scored_apart(
    off: str, right: str, bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = of_draws(bundle, store, tmp_path, monkeypatch, off)
    (wrong,) = {"scores", "hidden"} - {right}
    for name in ("lai", "cab", "fapar"):
        assert found[right][name]["rmse"] == pytest.approx(0, abs=1e-4)
        assert found[wrong][name]["rmse"] > 1e-2
    # The season as a whole has dates of both kinds.
    assert found["scores"]["lai_duration"]["rmse"] > 1


def test_where_nothing_is_learned_from_the_dates_the_prior_is_calibrated(
    bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = of_draws(bundle, store, tmp_path, monkeypatch, "prior")
    for part in ("scores", "hidden"):
        held = [scores["coverage90"] for scores in found[part].values()]
        assert sum(held) / len(held) == pytest.approx(0.9, abs=0.05), part
    assert sum(found["calibration"]["ranks"]["lai"]) == found["calibration"]["n"]


def test_dates_are_hidden_as_the_encoder_was_trained_and_the_others_are_whole(
    store: Path, tmp_path: Path
) -> None:
    for single in (0.0, 1.0):
        model = untrained_seasons("mixture", encoder_options={**SMALL, "single": single, "hidden": 1.0})
        save(model, tmp_path / str(single), META)
        loaded = season_score._model(tmp_path / str(single))
        seen, _ = season_score._held_back(loaded, store, SCORING)
        known = seen.valid.any(-1)
        assert bool((known.sum(1) == 1).all()) is (single == 1.0) and len(known) > 30
        assert torch.equal(seen.valid, known.unsqueeze(-1).expand_as(seen.valid))


def test_learned_summaries_are_held_against_draws(
    bundle: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = learning_seasons()
    told = {**META, "summaries": {**description(model.generative.estimates), **model.meta["summaries"]}}
    save(model, tmp_path / "model", told)
    found = scored(tmp_path / "model", store, tmp_path)["against"]["summaries"]
    assert found["learned_error"] > 0 and found["drawn_error"] > 0 and 0 <= found["learned_coverage90"] <= 1
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["seconds_per_million"] > 0 and cost["seconds_per_million_learned"] > 0
    none = scored(bundle, store, tmp_path)["against"]["summaries"]
    assert none["learned_error"] is None and none["learned_coverage90"] is None and none["drawn_error"] > 0
    assert "seconds_per_million_learned" not in json.loads((tmp_path / "cost.json").read_text())


@pytest.mark.slow
def test_scores_do_not_depend_on_the_number_of_workers(bundle: Path, store: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        with spread(Allocation(workers)) as over:
            found.append(scored(bundle, store, tmp_path / str(workers), over=over))
    assert found[0] == found[1]
