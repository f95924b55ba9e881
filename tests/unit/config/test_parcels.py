"""Parcels in a campaign file."""

import pytest

from canopyflow.config import load_campaign
from canopyflow.errors import ConfigError

REAL = {
    "campaign": "c",
    "area": {"bbox": [6.4, 46.7, 6.5, 46.8]},
    "period": {"start": "2021-03-01", "end": "2021-03-31"},
    "archive": {"catalog": "demo"},
}


def test_parcels_are_a_file_and_the_property_that_names_them():
    parcels = load_campaign({**REAL, "parcels": {"path": "p.gpkg", "id": "plot"}}).parcels
    assert (parcels.path, parcels.id, parcels.samples, parcels.pixels) == ("p.gpkg", "plot", 100, 64)
    assert load_campaign(REAL).parcels.path is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"parcels": {"id": "plot"}}, "parcels.id.*names none"),
        ({"area": None, "period": None, "archive": None, "parcels": {"path": "p.gpkg"}}, "parcels need maps"),
        ({"evaluation": {"footprint": 20}}, "evaluation.footprint.*names none"),
        ({"evaluation": {"plots": "p.csv", "footprint": -1}}, "evaluation.footprint"),
        ({"evaluation": {"plots": "p.csv", "time": "cubic"}}, "evaluation.time"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(changed, said):
    with pytest.raises(ConfigError, match=said):
        load_campaign({**REAL, **changed})
