"""The model beside its maps, in the words of STAC's extension for machine learning models."""

import json
from pathlib import Path

import pystac
from pystac.extensions.mlm import MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator


def test_a_network_is_described_by_an_item_of_its_own(campaign):
    network, baseline = (
        json.loads((campaign.published / name / "collection.json").read_text()) for name in ("nsf", "lut")
    )
    assert "mlm:model" in network["assets"]["model"]["roles"]
    (link,) = [link for link in network["links"] if link["rel"] == "describedby"]
    path = campaign.published / "nsf" / link["href"]
    item = pystac.Item.from_file(str(path))
    assert JsonSchemaSTACValidator().validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
    assert Path(item.assets["model"].get_absolute_href()).is_file()
    known = MLMExtension.ext(item)
    assert (known.mlm_name, known.framework, known.total_parameters) == ("canopyflow-nsf", "PyTorch", 17)
    assert [each.input.shape for each in known.input] == [[-1, 3], [-1, 3]]
    assert (
        [band["name"] for band in item.properties["bands"]] == known.input[0].bands == ["B02", "B03", "B04"]
    )
    assert known.output[0].result.shape == [-1, -1, 2]
    # What the schema of MLM asks: these belong to the item, and an artefact's kind to its file.
    asset = item.assets["model"].extra_fields
    assert {key for key in asset if key.startswith("mlm:")} == {"mlm:artifact_type"}
    assert baseline["assets"]["model"]["roles"] == ["metadata"]
    assert not [link for link in baseline["links"] if link["rel"] == "describedby"]
    assert not (campaign.published / "lut/model/item.json").exists()


def test_the_bundle_is_there_as_it_was(campaign):
    for model, bundle in campaign.bundles.items():
        for path in bundle.iterdir():
            assert (campaign.published / model / "model" / path.name).read_bytes() == path.read_bytes()
