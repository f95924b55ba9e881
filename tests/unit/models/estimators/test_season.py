"""Models of seasons: what belongs together, and how they are kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from seasons import clouded, learning_seasons, some_seasons, spoiled, untrained_seasons
from untrained import META, prior_pixels, untrained, untrained_bundle

from canopyflow.errors import ConfigError, DataError
from canopyflow.models.bundle import load, save
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.estimators.refined import refined
from canopyflow.models.generative._season import Season
from canopyflow.models.trajectory import Chain
from canopyflow.vocabulary import BANDS


def test_a_bundle_of_seasons_comes_back(tmp_path: Path) -> None:
    model = untrained_seasons()
    save(model, tmp_path / "model", META)
    content = json.loads((tmp_path / "model" / "model.json").read_text())
    assert content["dynamics"] == {"name": "season_gp", "options": {}}
    again = load(tmp_path / "model")
    assert isinstance(again, Amortised) and isinstance(again.generative, Season)
    assert again.options == model.options
    seen = some_seasons(model.generative, 3).seen
    one, two = (each.posterior(seen).draw(2, torch.Generator().manual_seed(0)).z for each in (model, again))
    assert torch.equal(one, two)
    assert "nats" not in (tmp_path / "model" / "card.md").read_text()
    assert "season_gp" in (tmp_path / "model" / "card.md").read_text()


def test_a_bundle_of_pixels_says_nothing_of_seasons(tmp_path: Path) -> None:
    content = json.loads((untrained_bundle(tmp_path / "model") / "model.json").read_text())
    assert "dynamics" not in content


@pytest.mark.parametrize("odd", ["season_gp", {"name": "season_gp"}, {"name": 3, "options": {}}, None])
def test_odd_dynamics_of_a_bundle_are_refused(tmp_path: Path, odd: Any) -> None:
    save(untrained_seasons(), tmp_path / "model", META)
    path = tmp_path / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dynamics": odd}))
    with pytest.raises(DataError, match="dynamics"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"encoder": "season"}, "has no prior of trajectories"),
        ({"dynamics": "season_gp"}, "has a prior of trajectories"),
        ({"encoder": "season", "dynamics": "season_gp", "learned_prior": "mixture"}, "learned prior"),
        ({"encoder": "season", "dynamics": "seasons_gp"}, "seasons_gp"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Amortised(ModelOptions("nsf", BANDS, ("S2A",), **changes))


def test_seasons_and_pixels_are_not_taken_for_each_other() -> None:
    seasons, single = untrained_seasons(), untrained()
    with pytest.raises(DataError, match="a pixel was given to a model of a season"):
        seasons.posterior(prior_pixels(single, 2))
    with pytest.raises(DataError, match="a season was given to a model of a pixel"):
        single.posterior(some_seasons(seasons.generative, 2).seen)


def test_the_family_stands_in_a_chain_and_both_are_kept_as_weights() -> None:
    model = untrained_seasons()
    assert isinstance(model.family, Chain)
    names = model.weights().keys()
    assert any(name.startswith("family.head.") for name in names)
    assert not any(name.startswith("generative.") for name in names)
    assert model.reads_incomplete


def test_a_platform_where_nothing_was_seen_is_not_looked_at() -> None:
    model = untrained_seasons()
    seen = some_seasons(model.generative, 2).seen
    with pytest.raises(DataError, match="unknown to this model"):
        model.posterior(spoiled(seen).each(lambda t: t if t.is_floating_point() or t.ndim == 3 else t + 2))
    model.posterior(spoiled(clouded(seen, [1])))


def test_a_season_without_any_date_has_the_prior_of_its_features() -> None:
    model = untrained_seasons()
    seen = clouded(some_seasons(model.generative, 2).seen, list(range(6)))
    q = model.posterior(seen)
    z = q.rsample((3,), torch.Generator().manual_seed(0))
    assert z.isfinite().all() and not q.base_log_likelihood(q.prior.to_base(z)).any()


def test_seasons_are_not_refined() -> None:
    model = untrained_seasons("mixture")
    assert refined(model, "none", 100, 10.0) is model
    with pytest.raises(ConfigError, match="a model of seasons cannot be refined"):
        refined(model, "importance", 100, 10.0)


def test_every_date_needs_its_day() -> None:
    """Hidden ones too, for they are asked about; without one all draws of the season were no numbers."""
    model = untrained_seasons("mixture")
    seen = clouded(some_seasons(model.generative, 2).seen, [3])
    day = seen.day.clone()
    day[1, 3] = torch.nan
    for wrong in (day, None):
        with pytest.raises(DataError, match="a date of a season has no day"):
            model.posterior(replace(seen, day=wrong))


def test_nothing_has_summaries_of_nothing() -> None:
    model = learning_seasons()
    seen = some_seasons(model.generative, 2).seen.rows(slice(0))
    assert model.learned(seen, ["lai"], ["mean"]).stats.shape == (1, 1, 0, 6)
    assert model.learned_seasons(seen, ["lai_duration"], ["mean"]).stats.shape == (1, 1, 0)
    assert model.posterior(seen).draw(3).z.shape == (3, 0, 6, 11)
    of_pixels = untrained(summaries={"width": 16, "layers": 1})
    nobody = prior_pixels(of_pixels, 2).rows(slice(0))
    found = of_pixels.learned(nobody, ["lai"], ["mean"])
    assert found.stats.shape == (1, 1, 0) and found.trusted.shape == (0,)
