"""The files that are rendered from the campaign model."""

import difflib
from pathlib import Path

import pytest
import yaml

from canopyflow.config import load_campaign
from canopyflow.config.files import DEMO, REPAIR, docs_table, rendered
from canopyflow.registry import ENCODERS

TOP = Path(__file__).resolve().parents[3]


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


def test_the_table_has_keys_inside_lists_and_names_and_the_options_of_the_encoder():
    table = docs_table()
    assert "| `training.phases[].epochs` | `10` |" in table
    assert "| `training.phases[].cycle[].objective` | required |" in table
    for option, default in ENCODERS.options("pixel").items():
        assert f"| `encoder.{option}` | `{default}` |" in table
