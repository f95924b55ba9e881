"""What a campaign asks for, in words for its page."""

import pytest

from canopyflow.campaigns.asked import asked
from canopyflow.config import load_campaign

BOX = [6.478, 46.711, 6.522, 46.7295]
BASE = {
    "campaign": "words",
    "area": {"bbox": BOX},
    "period": {"start": "2021-05-01", "end": "2022-06-30"},
    "archive": {"catalog": "planetary-computer"},
    "families": ["nsf"],
    "models": {"ready": {"shipped": "s2"}},
    "baselines": ["lut"],
}


def facts(**changes):
    return dict(asked(load_campaign(BASE | changes))["facts"])


def test_a_reader_is_told_what_was_asked():
    told = asked(load_campaign(BASE))
    facts = dict(told["facts"])
    assert facts["area"] == "6.478°, 46.711° to 6.522°, 46.7295° (west, south, east, north)"
    assert facts["period"] == "2021-05-01 to 2022-06-30" and told["years"] == "2021–2022"
    assert facts["catalogue"].startswith("planetary-computer (https://")
    assert facts["variables"].startswith("LAI [m² m⁻²], GAI")
    assert told["kinds"] == {
        "nsf": "posterior family nsf",
        "ready": "shipped model s2 (nsf)",
        "lut": "baseline lut",
    }
    assert not told["synthetic"]


@pytest.mark.parametrize(
    ("area", "words"),
    [
        ({"sites": {"north": BOX, "south": BOX}}, "sites north, south"),
        ({"mgrs_tiles": ["32TMT"]}, "tiles 32TMT"),
        (
            {"mgrs_tiles": [f"32TM{c}" for c in "ABCDEFGHJK"]},
            "tiles 32TMA, 32TMB, 32TMC, 32TMD, 32TME, 32TMF, 32TMG, 32TMH and 2 more",
        ),
    ],
)  # fmt: skip
def test_every_way_to_give_an_area_has_words(area, words):
    assert facts(area=area)["area"] == words


def test_of_a_file_the_name_is_told(tmp_path):
    plots = str(tmp_path / "in situ.csv")
    told = facts(area={"plots": {"table": plots}}, evaluation={"plots": plots})
    assert told["field plots"] == "in situ.csv"
    assert told["area"] == "500 m around the plots of in situ.csv"
    assert facts(area={"geojson": str(tmp_path / "box.geojson")})["area"] == "polygons of box.geojson"


def test_no_secret_of_an_address_is_told(monkeypatch):
    monkeypatch.setenv("KEY", "hush")
    told = asked(
        load_campaign(BASE | {"archive": {"catalog": "https://me:${KEY}@stac.example/v1?key=${KEY}"}})
    )
    assert "hush" not in str(told) and "KEY" not in str(told)
    assert "https://stac.example/v1" in dict(told["facts"])["catalogue"]


def test_a_campaign_of_simulations_asks_for_no_place():
    told = asked(load_campaign(BASE | {"area": None, "period": None, "archive": None}))
    assert set(dict(told["facts"])) == {"models", "law of the pixels"}
    assert told["years"] == ""
