"""A small published campaign: two tiles of a model, and a baseline."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from synthetic_product import write_product, write_scenes

from canopyflow.products.catalog import Series, write_catalog
from canopyflow.products.publish import publish

DAYS = {"2022-05": ["2022-05-01T10:30:31", "2022-05-06T10:30:31"], "2023-06": ["2023-06-03T10:30:31"]}
TILES = ("32TMT", "32TNT")


@dataclass
class Campaign:
    """Where it is published, and what it was made of."""

    published: Path
    months: dict[str, list[Path]]
    bundles: dict[str, Path]
    series: Series

    def write(self) -> None:
        write_catalog(self.published, self.months, self.bundles, self.series)


def write_bundles(folder: Path) -> dict[str, Path]:
    """A network's bundle and a baseline's, as far as the catalogue reads them."""
    network = {
        "family": {"name": "nsf", "options": {}},
        "encoder": {"name": "pixel", "options": {}},
        "bands": ["B02", "B03", "B04"],
        "variables": [{"name": "cab"}, {"name": "lai"}],
        "versions": {"torch": "2.13.0+cpu"},
    }
    for name, content in (("nsf", network), ("lut", {"estimator": {"name": "lut", "options": {}}})):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.json").write_text(json.dumps(content))
        save_file(
            {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)},
            folder / name / "weights.safetensors",
        )
    return {name: folder / name for name in ("nsf", "lut")}


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Two models, two tiles, two months of them; one scene of the first month is masked."""
    folder = tmp_path_factory.mktemp("campaign")
    published, months = folder / "published", {}
    for model in ("nsf", "lut"):
        for tile, west in zip(TILES, (500_000.0, 600_000.0), strict=True):
            for month, days in DAYS.items():
                masked = np.zeros((len(days), 40, 60), bool)
                masked[1:] = True
                store = folder / f"products/{model}/{tile}/{month}.zarr"
                product = write_product(store, days, tile=tile, west=west, masked=masked, shape=(40, 60))
                records = [{"id": f"S2A_{tile}_{day[:10]}", "offset": -1000} for day in days]
                scenes = write_scenes(folder / f"scenes/{tile}/{month}.zarr", records, shape=(40, 60))
                out = published / model / tile / month
                options = {"campaign": "demo", "model": model, "variables": ["lai"], "provenance": {}}
                publish(product, out, scenes=scenes, **options)
                months.setdefault(model, []).append(out / "provenance.json")
    made = Campaign(
        published, months, write_bundles(folder / "models"), Series("demo", "2022-05-01", "2023-06-30")
    )
    made.write()
    return made
