"""The saved bundle: round trip to the bit, and what is wrong with a bad one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from untrained import META, three_pixels, untrained

from canopyflow.errors import DataError
from canopyflow.models import load
from canopyflow.models.bundle import save
from canopyflow.models.estimators.amortised import Amortised
from canopyflow.models.summaries import description
from canopyflow.observations.observation import Observation, pixels
from canopyflow.vocabulary import BANDS

DESCRIPTION = description(untrained().generative.estimates)


def _draws(model: Amortised, seen: Observation) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return model.posterior(seen).rsample((7,))


@pytest.mark.parametrize("family", ["truncated_normal", "nsf"])
def test_bundle_round_trip_is_bit_identical(family: str, tmp_path: Path) -> None:
    model = untrained(family)
    seen = three_pixels(model).seen
    g = torch.Generator().manual_seed(1)
    model.encoder.standardise(pixels(torch.rand(50, 10, generator=g), torch.zeros(50, 3), "S2A", BANDS))
    save(model, tmp_path / "seed3", META, [{"objective": "elbo", "validation": 1.0}])
    again = load(tmp_path / "seed3")
    assert torch.equal(_draws(model, seen), _draws(again, seen))
    assert again.meta["family"]["name"] == family and again.bands == BANDS
    save(again, tmp_path / "copy", {k: again.meta[k] for k in META})
    for name in ("weights.safetensors", "model.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "seed3" / name).read_bytes()
    assert "lai" in (tmp_path / "seed3" / "card.md").read_text()


def test_bad_bundles_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model\.json"):
        load(tmp_path)
    good = tmp_path / "good"
    save(untrained(), good, META)

    def spoiled(name: str) -> Path:
        return Path(shutil.copytree(good, tmp_path / name))

    folder = spoiled("truncated")
    (folder / "weights.safetensors").write_bytes((good / "weights.safetensors").read_bytes()[:-9])
    with pytest.raises(DataError, match="not the file"):
        load(folder)
    folder = spoiled("no weights")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"no weights\.safetensors"):
        load(folder)
    folder = spoiled("no json")
    (folder / "model.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        load(folder)
    for change, message in (
        ({"format": "other"}, "does not describe"),
        ({"format_version": 99}, "format version 99"),
        ({"bands": "B02"}, "'bands' is missing or not a list"),
        ({"variables": []}, "0 variables"),
        ({"variables": [{"name": "lai", "unit": "1", "lower": 0, "upper": 3}]}, "trained with"),
        ({"reflectance_range": {"lower": [0.0], "upper": [1.0]}}, "one per band"),
        ({"angle_range": {"lower": [0.0], "upper": [1.0]}}, "one per angle"),
    ):
        folder = spoiled(message.replace(" ", "_"))
        content = json.loads((good / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=message):
            load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summaries": {**DESCRIPTION, "version": 0}}, "another version"),
        ({"summaries": {**DESCRIPTION, "passed": "false"}}, "not true or false"),
        ({"summaries_network": {"width": 8, "depth": 3}}, "summaries_network: .*depth"),
        ({"summaries_network": "wide"}, "summaries_network: "),
    ],
)
def test_learned_summaries_that_cannot_be_right_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    said = {**META, "summaries": {**DESCRIPTION, "passed": True}}
    save(untrained(summaries={"width": 8}), tmp_path / "seed0", said)
    load(tmp_path / "seed0")
    path = tmp_path / "seed0/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        load(tmp_path / "seed0")
