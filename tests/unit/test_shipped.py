"""The models that come with the package: found by name, in order, and made by today's code."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from untrained import META, three_pixels, untrained

from canopyflow import shipped
from canopyflow.campaigns.rehearsal import campaign_of, differences, rehearse
from canopyflow.campaigns.shipping import made_by, ships
from canopyflow.config import load_campaign, read_campaign
from canopyflow.config.files import DEMO
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference import tables
from canopyflow.models import load
from canopyflow.models.bundle import read_description, save
from canopyflow.products.shipping import add_set, card, read_record, ship
from canopyflow.vocabulary import BANDS

TOP = Path(__file__).resolve().parents[2]
MOST = 3_000_000
"""Bytes of all shipped models together."""

PHYSICS = load_campaign({"campaign": "x", "area": None, "period": None, "archive": None}).physics
FIELD = {"generative": PHYSICS.generative, "generative_options": PHYSICS.options}
SCORES: dict[str, Any] = {
    "scores": {"simulations": {"lai": {"n": 200, "rmse": 0.81234567, "coverage90": 0.9, "unknown": 1.0}}},
    "against": {"simulated": {"c2st": 0.5412345, "pixels": 64.0}},
}
MADE = {
    "campaign": "shipped",
    "model": {},
    "settings": {"simulations": {"train": 1000, "sun_zenith": [10, 75], "view_zenith": [0, 15]}},
    "code": {},
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models that holds one, ``s2``."""
    there = tmp_path / "shipped"
    monkeypatch.setattr(shipped, "folder", lambda: there)
    save(untrained("truncated_normal", **FIELD), tmp_path / "bundle", META)
    ship(tmp_path / "bundle", SCORES, MADE, {}, there / "s2")
    return there


def campaign(**changes: Any) -> Any:
    given = {**DEMO, "physics": {}, "baselines": [], "families": [], "models": {"ready": {"shipped": "s2"}}}
    return load_campaign(given | changes)


def test_a_model_is_loaded_by_its_name(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name, by_folder = load("s2"), load(own / "s2")
    seen = three_pixels(by_folder).seen
    with torch.no_grad():
        draws = [
            model.posterior(seen).rsample((5,), torch.Generator().manual_seed(1))
            for model in (by_name, by_folder)
        ]
    assert torch.equal(*draws)
    assert read_description("s2") == by_name.meta
    # A folder of the same name is reached by its path.
    save(untrained("logit_normal"), own / "elsewhere/s2", META)
    monkeypatch.chdir(own / "elsewhere")
    assert load("s2").options.family == "truncated_normal"
    assert load("./s2").options.family == load(Path("s2")).options.family == "logit_normal"


def test_a_model_that_is_not_here_is_said_by_name(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"'s2-9' does not come with .*shipped_nine.yaml"):
        load("s2-9")
    with pytest.raises(DataError, match=r"s3 is not a model bundle: .* \(s2\)"):
        load("s3")
    with pytest.raises(ConfigError, match=r"models.ready.shipped: unknown shipped model 's2-9'; .*'s2'"):
        campaign(models={"ready": {"shipped": "s2-9"}})


def test_a_campaign_takes_it_in_place_of_training(own: Path) -> None:
    mixed = campaign(families=["nsf"], training={"seeds": [3, 4]})
    assert mixed.taken == {"ready": "s2"} and mixed.trained == ("nsf",)
    assert mixed.seeds_of("ready") == (3,) and mixed.seeds_of("nsf") == (3, 4)
    # Code that counts is that of the model itself, whatever the campaign trains.
    changed = campaign(training={"phases": [{"objective": "iwae"}]}, encoder={"width": 32})
    modules = changed.modules("ready")
    assert "canopyflow.posteriors.truncated_normal" in modules
    assert "canopyflow.models.generative.field" in modules
    assert not [name for name in modules if "objectives" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"physics": {"prior": "atbd"}}, r"models\.ready\.shipped: .*another `physics`"),
        ({"physics": {"noise": {"additive_common": 0.02}}}, "another `physics`"),
        ({"grid": {"bands": ["B02", "B03", "B04"]}}, "does not read grid.bands; .*B02, B03, B04, B05"),
        ({"simulations": {"platforms": ["S2A", "S2C"]}}, "does not know S2C"),
        ({"models": {"ready": {"shipped": "s2", "family": "nsf"}}}, "trained already"),
        ({"models": {"ready": {}}}, "give a family"),
    ],
)
def test_a_campaign_that_it_does_not_fit_is_refused(own: Path, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        campaign(**changes)


def test_taking_copies_the_bundle_and_nothing_else_changes_its_digest(own: Path, tmp_path: Path) -> None:
    shipped.take("s2", tmp_path / "seed0")
    assert load(tmp_path / "seed0").meta == load("s2").meta
    before = shipped.digest("s2")
    (own / "s2/record.json").write_text("{}")
    assert shipped.digest("s2") == before
    said = json.loads((own / "s2/model.json").read_text())
    (own / "s2/model.json").write_text(json.dumps(said | {"seed": 9}))
    assert shipped.digest("s2") != before


def scored(path: Path, model: str = "s2", value: float = 0.9) -> Path:
    metrics = {"rmse": {"value": value, "low": 0.1, "high": 2.0}, "r2": {"value": 0.5, "low": 0, "high": 1}}
    metrics |= {"flagged": {"value": 0.034, "low": 0, "high": 1}, "flagged_ratio": {"value": None}}
    path.write_text(json.dumps({"groups": 12, "scores": {model: {"gai": metrics}}, "paired": []}))
    return path


def test_the_card_is_rendered_from_the_scores(own: Path, tmp_path: Path) -> None:
    text = (own / "s2/card.md").read_text()
    assert "| lai | 200 | 0.812 |" in text and "not recorded for this model" in text
    assert "0.541" in text and "10 to 75 degrees" in text and "1,000 simulated spectra" in text
    add_set(own / "s2", "a set", scored(tmp_path / "scores.json"))
    text, record = (own / "s2/card.md").read_text(), read_record(own / "s2")
    assert "**a set** (12 groups)" in text and "| gai | – | 0.9 |" in text and "3.4 %" in text
    assert "not recorded" not in text
    assert record["sets"]["a set"]["scores"]["gai"] == {"rmse": 0.9, "flagged": 0.034, "flagged_ratio": None}
    with pytest.raises(DataError, match="no scores of s2"):
        add_set(own / "s2", "a set", scored(tmp_path / "scores.json", model="other"))


def test_scores_of_other_weights_do_not_stay(own: Path, tmp_path: Path) -> None:
    add_set(own / "s2", "a set", scored(tmp_path / "scores.json"))
    ship(tmp_path / "bundle", SCORES, MADE, {}, own / "s2")
    assert list(read_record(own / "s2")["sets"]) == ["a set"]
    save(untrained("logit_normal", **FIELD), tmp_path / "other", META)
    ship(tmp_path / "other", SCORES, MADE, {}, own / "s2")
    assert read_record(own / "s2")["sets"] == {}


def test_a_kill_while_shipping_leaves_the_old_model(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in (own / "s2").iterdir()}
    save(untrained("logit_normal", **FIELD), tmp_path / "other", META)
    (tmp_path / "other/history.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        ship(tmp_path / "other", SCORES, MADE, {}, own / "s2")
    assert {path.name: path.read_bytes() for path in (own / "s2").iterdir()} == before


def campaigns() -> dict[str, Any]:
    return {
        name: read_campaign(TOP / f"config/campaigns/{file}.yaml") for name, file in shipped.CAMPAIGNS.items()
    }


def test_each_model_has_a_campaign_that_ships_it_and_they_differ_in_bands_alone() -> None:
    ten, nine = campaigns().values()
    assert (ships(ten), ships(nine), ships(load_campaign(DEMO))) == (("s2",), ("s2-9",), ())
    assert ten.grid.bands == BANDS and nine.grid.bands == tuple(b for b in BANDS if b != "B08")
    assert ships(ten.model_copy(update={"campaign": "mine"})) == ()
    both = [made_by(c, *ships(c), TOP / "scripts") for c in (ten, nine)]
    for made in both:
        del made["campaign"], made["settings"]["grid"]
    assert both[0] == both[1]


@pytest.mark.parametrize("name", shipped.CAMPAIGNS)
def test_the_shipped_model_is_what_todays_code_would_make(name: str) -> None:
    command = shipped.COMMAND.format(shipped.CAMPAIGNS[name])
    assert name in shipped.SHIPPED, f"not shipped yet: {command}"
    folder = shipped.bundle_of(name)
    record, said = read_record(folder), shipped.description(name)
    told, today = (
        made_by(campaign, name, TOP / "scripts")
        for campaign in (campaign_of(record["made_by"], name), campaigns()[name])
    )
    assert told == today, f"settings have changed since; train and ship again: {command}"
    assert said["code"]["code"] == record["made_by"]["code"]["train"]
    assert (folder / "card.md").read_text() == card(said, record), "the card is rendered: canopyflow models"
    assert {each["model_sha256"] for each in record["sets"].values()} <= {shipped.digest(name)}
    load(name)


@pytest.mark.slow
def test_todays_code_trains_the_shipped_model_as_it_was_trained() -> None:
    # Its twin differs in bands alone.
    name = next(iter(shipped.CAMPAIGNS))
    record = read_record(shipped.bundle_of(name))
    odd = differences(record["rehearsal"], rehearse(record["made_by"], name))
    assert not odd, f"train and ship again ({shipped.COMMAND.format(shipped.CAMPAIGNS[name])}): {odd}"


def test_rehearsals_differ_where_a_number_does() -> None:
    was = {"losses": {"npe": [1.0, 2.0]}, "weights": 3.0}
    assert differences(was, {"losses": {"npe": [1.0001, 2.0]}, "weights": 3.0}) == []
    assert differences(was, {"losses": {"npe": [1.001, 2.0]}, "weights": 3.0}) == [
        "losses.npe[0]: 1 then, 1.001 now"
    ]
    assert differences(was, {"losses": {}, "weights": 3.0}) == [
        "losses.npe[0]: in one of them only", "losses.npe[1]: in one of them only"
    ]  # fmt: skip


def test_tables_ask_for_these_names() -> None:
    assert list(shipped.CAMPAIGNS) == [tables.SHIPPED, tables.SHIPPED_WITHOUT]
    assert tables.LEFT_OUT not in campaigns()[tables.SHIPPED_WITHOUT].grid.bands


def test_shipped_models_are_small() -> None:
    files = [path for path in shipped.folder().rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    assert total <= MOST, f"{total / 1e6:.2f} MB"


@pytest.mark.parametrize("name", shipped.CAMPAIGNS)
def test_models_of_these_settings_are_small_enough(name: str, tmp_path: Path) -> None:
    chosen = campaigns()[name]
    encoder = chosen.encoder.model_dump()
    del encoder["kind"]
    summaries = chosen.training.summaries
    model = untrained(
        **chosen.model_blocks[name].built_from,
        platforms=chosen.simulations.platforms,
        encoder_options=encoder,
        summaries={"width": summaries.width, "layers": summaries.layers},
        **FIELD,
    )
    save(model, tmp_path / name, META)
    # Of the other half as much, and there are history and record beside the weights.
    assert 2 * (tmp_path / name / "weights.safetensors").stat().st_size <= 0.97 * MOST


def test_package_data_holds_the_models() -> None:
    import tomllib

    content = tomllib.loads((TOP / "pyproject.toml").read_text())
    patterns = content["tool"]["setuptools"]["package-data"]["canopyflow.models"]
    package = TOP / "src/canopyflow/models"
    example = package / "shipped/s2/model.json"
    assert any(example.relative_to(package).match(pattern) for pattern in patterns)
    assert shipped.folder() == package / "shipped"
