"""The block `archive`: presets, and addresses whose keys are used and not told."""

from pathlib import Path

import pytest

from canopyflow.archive.presets import PRESETS
from canopyflow.config import load_campaign
from canopyflow.config.files import DEMO

SECRET = "S3CR3T"


def campaign_of(**archive):
    return load_campaign({**DEMO, "archive": archive})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_an_address_a_collection_and_a_line_in_the_docs(name):
    archive = campaign_of(catalog=name).archive
    assert archive.is_remote and archive.address == PRESETS[name].url
    assert archive.searched == PRESETS[name].collection
    for other in PRESETS[name].others:
        assert campaign_of(catalog=name, collection=other).archive.searched == other
    docs = (Path(__file__).parents[3] / "docs/archives.md").read_text()
    assert f"| `{name}` | `{PRESETS[name].collection}`" in docs
    assert PRESETS[name].remark in docs


def test_what_is_asked_is_plain_values():
    query = campaign_of(catalog="earth-search", collection="sentinel-2-c1-l2a", lock="items").query
    assert query["collection"] == "sentinel-2-c1-l2a"
    assert query["area"] == {"bbox": (6.478, 46.711, 6.522, 46.7295)}
    assert (query["lock"], query["start"]) == ("items", "2021-03-01")


@pytest.mark.parametrize(
    "catalog",
    [
        f"https://host/stac?api_key={SECRET}",
        f"https://user:{SECRET}@host/stac",
        "https://user:${ARCHIVE_KEY}@host/stac?key=${ARCHIVE_KEY}",
        "https://host/${ARCHIVE_KEY}/stac",
    ],
)
def test_a_key_in_the_address_of_a_catalogue_is_used_and_not_told(catalog, monkeypatch):
    monkeypatch.setenv("ARCHIVE_KEY", SECRET)
    campaign = campaign_of(catalog=catalog)
    assert SECRET in campaign.archive.address
    assert SECRET not in str(campaign.model_dump()) + campaign.model_dump_json() + str(campaign.query)
    assert "host/" in campaign.model_dump()["archive"]["catalog"]
