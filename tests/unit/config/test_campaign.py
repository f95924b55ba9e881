"""The campaign model, and the files that are rendered from it."""

import difflib
from pathlib import Path

import pytest
import yaml

from canopyflow.config.campaign import load_campaign, read_campaign
from canopyflow.config.files import DEMO, REPAIR, rendered
from canopyflow.errors import ConfigError

TOP = Path(__file__).resolve().parents[3]


ABSENT = {"area": None, "period": None, "archive": None}
PATCHES = [{"objective": "elbo", "data": "both"}]


def campaign_with(**changes):
    return {**DEMO, **changes}


@pytest.mark.parametrize("path", sorted(map(str, rendered(TOP))))
def test_rendered_files_are_up_to_date(path):
    made, there = rendered(TOP)[Path(path)], (TOP / path).read_text()
    diff = "\n".join(
        difflib.unified_diff(there.splitlines(), made.splitlines(), path, "rendered", lineterm="")
    )
    assert made == there, f"{path} is out of date; repair with: {REPAIR}\n{diff}"


def test_the_demo_file_says_the_same_as_the_model():
    assert load_campaign(yaml.safe_load((TOP / "config/config.yaml").read_text())) == load_campaign(DEMO)


@pytest.mark.parametrize("file", sorted((TOP / "config/campaigns").glob("*.yaml")), ids=lambda f: f.stem)
def test_campaign_files_are_valid(file, monkeypatch):
    monkeypatch.setenv("SWISS_WHEAT", "/somewhere")
    campaign = load_campaign(yaml.safe_load(file.read_text()))
    assert campaign.campaign == file.stem


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"famlies": ["nsf"]}, "famlies: unknown key", "did you mean 'families'?"),
        ({"families": ["nfs"]}, "families: unknown family 'nfs'", "did you mean 'nsf'?"),
        ({"training": {"sample": 3}}, "training.sample: unknown key", "did you mean 'samples'?"),
        ({"training": {"batch_size": "many"}}, "training.batch_size: ", "integer"),
        (
            {"training": {"phases": [{"objectiv": "elbo"}]}},
            "training.phases.0.objectiv: unknown key",
            "did you mean 'objective'?",
        ),
        ({"physics": {"prior": "adbt"}}, "physics.prior: ", "did you mean 'atbd'?"),
        ({"period": {"start": "2021-02-30", "end": "2021-03-01"}}, "period.start: ", "day value is outside"),
        ({"period": {"start": "2021-05-01", "end": "2021-03-01"}}, "period: ", "is before start"),
        ({"period": {"start": "1999-05-01", "end": "1999-06-01"}}, "period: ", "first image"),
        ({"area": {"bbox": [9.0, 47.0, 8.0, 48.0]}}, "area: ", "west < east"),
        ({"area": {"bbox": [9.0, 97.0, 10.0, 98.0]}}, "area: ", "south < north"),
        ({"area": {}}, "area: ", "either `bbox` or `sites`"),
        ({"area": {"sites": {"../up": [8.0, 47.0, 9.0, 48.0]}}}, "area: ", "letters, digits"),
        ({"campaign": "../elsewhere"}, "campaign: ", "pattern"),
        (
            {"archive": {"catalog": "${NOT_SET_ANYWHERE}/catalog.json"}},
            "archive.catalog: ",
            "NOT_SET_ANYWHERE",
        ),
        ({"family_options": {"nsff": {}}}, "family_options.nsff", "did you mean 'nsf'?"),
        (
            {"training": {"phases": [{"objective": "npe", "data": "patches"}]}},
            "training.phases.0: ",
            "simulations",
        ),
        ({"family_options": {"nsf": {"bin": 8}}}, "family_options.nsf: unknown option 'bin'", "'bins'"),
        ({"inference": {"outputs": ["cab"]}}, "publication.variables: 'lai'", "inference.outputs"),
        ({"patches": {"block_metres": 30}}, "patches.block_metres: 30 m", "take at least 80"),
        ({"training": {"seeds": [-1]}}, "training.seeds.0: ", "greater than or equal to 0"),
        ({"grid": {"bands": ["B02", "B03", "B04", "B04"]}}, "grid.bands: ", "'B04' is named twice"),
        ({"area": None}, "area is null", "set all three to null"),
        ({**ABSENT, "evaluation": {}, "training": {"phases": PATCHES}}, "training.phases", "no patches"),
        ({**ABSENT, "evaluation": {"truth": "truth"}}, "evaluation: ", "need maps"),
        ({"inference": {"refine": "yes"}}, "inference.refine: ", "importance"),
        ({"grid": {"resolution": 12.5}}, "grid.resolution: ", "multiple of 1"),
        ({"masking": {"valid_scl": [42]}}, "masking.valid_scl.0: ", "less than or equal to 11"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_one_clear_line_with_the_path_of_the_key(changes, path, hint):
    with pytest.raises(ConfigError) as caught:
        load_campaign(campaign_with(**changes))
    message = str(caught.value)
    assert path in message
    assert hint in message
    assert "\n" not in message


def test_names_in_the_model_are_the_names_of_the_library():
    """The model spells out choices for the schema; the registries are the truth."""
    from typing import get_args

    from canopyflow.config.campaign import BandName, OutputName, Phase, Physics, Simulations
    from canopyflow.models.encoders import ENCODERS
    from canopyflow.models.objectives import OBJECTIVES
    from canopyflow.physics.priors import PRIORS
    from canopyflow.vocabulary import BANDS, DERIVED, PLATFORMS, VARIABLES

    def choices(block, field):
        return set(get_args(block.model_fields[field].annotation))

    assert get_args(BandName) == tuple(BANDS)
    assert set(get_args(OutputName)) == {v.name for v in VARIABLES} | {v.name for v in DERIVED}
    assert choices(Phase, "objective") == set(OBJECTIVES)
    assert choices(Physics, "prior") == set(PRIORS)
    assert set(get_args(get_args(Simulations.model_fields["platforms"].annotation)[0])) == set(PLATFORMS)
    assert "pixel" in ENCODERS


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("", "holds no keys"), ("a: [", "is no YAML"), ("- a", "holds no keys")],
)
def test_a_file_that_is_no_campaign_file_is_named(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_campaign(path)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_campaign_of_simulations_has_no_scenes():
    plain = load_campaign({"campaign": "plain", **ABSENT})
    assert not plain.has_scenes and not plain.uses_demo
    assert load_campaign(DEMO).has_scenes
