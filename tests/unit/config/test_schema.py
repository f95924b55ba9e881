"""The first line of a campaign file leads an editor to the schema."""

import json
from pathlib import Path

from canopyflow.config import Campaign
from canopyflow.config.schema import MARK, SCHEMA, schema_for, with_line

TOP = Path(__file__).resolve().parents[3]


def target(text: str, file: Path) -> Path:
    first = text.splitlines()[0]
    assert first.startswith(MARK)
    return (file.parent / first.removeprefix(MARK)).resolve()


def test_every_campaign_file_names_the_schema_from_where_it_lies():
    files = [TOP / "config/config.yaml", *(TOP / "config/campaigns").glob("*.yaml")]
    assert len(files) > 4
    for file in files:
        assert target(file.read_text(), file) == TOP / SCHEMA


def test_the_line_is_put_there_once(tmp_path):
    file = tmp_path / "a/b/c.yaml"
    text = with_line("# mine\nseed: 1\n", file, tmp_path / SCHEMA)
    assert target(text, file) == tmp_path / SCHEMA
    assert with_line(text, file, tmp_path / SCHEMA) == text
    moved = with_line(text, tmp_path / "c.yaml", tmp_path / SCHEMA)
    assert target(moved, tmp_path / "c.yaml") == tmp_path / SCHEMA
    assert moved.splitlines()[1:] == ["# mine", "seed: 1"]


def test_the_schema_of_the_checkout_is_taken_and_else_one_is_written(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / SCHEMA).parent.mkdir(parents=True)
    (checkout / SCHEMA).write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert schema_for(checkout / "config/campaigns/x.yaml") == checkout / SCHEMA
    beside = schema_for(tmp_path / "elsewhere/x.yaml")
    assert beside == tmp_path / "elsewhere" / SCHEMA.name
    assert json.loads(beside.read_text()) == Campaign.model_json_schema()
    monkeypatch.chdir(checkout)
    assert schema_for(tmp_path / "elsewhere/x.yaml") == checkout / SCHEMA
