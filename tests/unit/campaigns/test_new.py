"""A campaign file to begin with: valid, commented, never written over another."""

import json
from pathlib import Path
from typing import Any

import pytest

from canopyflow.campaigns.new import Asked, write_campaign
from canopyflow.config import read_campaign
from canopyflow.config.schema import MARK
from canopyflow.errors import ArchiveError, ConfigError, DataError

BOX = [[1.38, 43.55], [1.504, 43.55], [1.504, 43.64], [1.38, 43.64], [1.38, 43.55]]
PLOTS = """plot_id,date,lon,lat,variable,value,unit
a,2021-05-01,1.4,43.6,LAI,3.0,m2 m-2
b,2021-05-02,1.41,43.6,Cab,45,ug cm-2
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the box of an area."""
    monkeypatch.chdir(tmp_path)
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [BOX]}}
    (tmp_path / "box.geojson").write_text(json.dumps(feature))
    (tmp_path / "plots.csv").write_text(PLOTS)
    return tmp_path


def asked(**changes: Any) -> Asked:
    given = {"name": "toulouse", "area": "box.geojson", "period": "2021-03-01..2021-07-31"}
    return Asked(**{**given, "catalog": "planetary-computer", **changes})


def test_the_file_is_valid_and_says_what_was_asked():
    written = write_campaign(asked())
    assert written.path == Path("config/campaigns/toulouse.yaml")
    campaign = read_campaign(written.path)
    assert campaign == written.campaign
    assert campaign.query["area"] == {"geojson": "box.geojson"}
    assert (campaign.query["start"], campaign.query["end"]) == ("2021-03-01", "2021-07-31")
    assert campaign.taken == {"ready": "s2"} and campaign.trained == ()
    text = written.path.read_text()
    assert text.startswith(MARK)
    assert all(key in text for key in ("max_cloud_cover", "resolution", "outputs", "# both days included"))
    assert max(map(len, text.splitlines())) <= 120
    assert written.remarks == (
        "area 100 km2, in 1 tile (31TCJ); about 45 acquisitions in 5 months, cloudy ones counted",
    )


def test_plots_bring_what_they_measure_and_their_quartiles():
    written = write_campaign(asked(plots=Path("plots.csv"), area="1.38,43.55,1.504,43.64"))
    campaign = read_campaign(written.path)
    assert campaign.evaluation.plots == "plots.csv"
    assert campaign.inference.outputs == ("lai", "gai", "ccc", "fapar", "cab")
    assert {"q25", "q75"} <= set(campaign.inference.statistics)
    assert campaign.area is not None and campaign.area.bbox == (1.38, 43.55, 1.504, 43.64)
    assert written.remarks[-1] == "plots: 2 measurements (1 lai, 1 cab) at 2 plots"


def test_nothing_is_overwritten():
    write_campaign(asked())
    before = Path("config/campaigns/toulouse.yaml").read_text()
    with pytest.raises(ConfigError, match="is there already"):
        write_campaign(asked(catalog="earth-search"))
    assert Path("config/campaigns/toulouse.yaml").read_text() == before
    other = write_campaign(asked(out=Path("elsewhere/mine.yaml")))
    assert other.path.exists()


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"name": "tou louse"}, ConfigError, "campaign: use letters, digits"),
        ({"name": "../up"}, ConfigError, "campaign: use letters, digits"),
        ({"period": "2021-03..2021-07"}, ConfigError, "period.start: a whole day"),
        ({"period": "2021-03-01"}, ConfigError, "is no period"),
        ({"period": "2021-08-01..2021-07-31"}, ConfigError, "period: end 2021-07-31 is before start"),
        ({"period": "2021-02-30..2021-07-31"}, ConfigError, "no day 2021-02-30"),
        ({"catalog": "planetary"}, ConfigError, "did you mean 'planetary-computer'?"),
        ({"area": "none.geojson"}, ArchiveError, "none.geojson: No such file"),
        ({"area": "plots.csv"}, ArchiveError, "is no GeoJSON"),
        ({"area": "fields.gpkg"}, ConfigError, "ogr2ogr -t_srs EPSG:4326 fields.geojson fields.gpkg"),
        ({"area": "43.55,1.38,43.64,97"}, ConfigError, "area.bbox: "),
        ({"plots": Path("none.csv")}, DataError, "none.csv"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(changes, kind, said):
    with pytest.raises(kind) as caught:
        write_campaign(asked(**changes))
    assert said in str(caught.value)
    assert not Path("config").exists()


def test_what_may_surprise_is_said(monkeypatch):
    Path("results/toulouse").mkdir(parents=True)
    remarks = write_campaign(asked(catalog="cdse", area="1.0,43.0,5.0,46.0")).remarks
    assert any("much for a first campaign" in remark for remark in remarks)
    assert any("CDSE_USERNAME" in remark for remark in remarks)
    assert any("results/toulouse is there already" in remark for remark in remarks)
    remarks = write_campaign(asked(name="tiny", area="1.4,43.6,1.401,43.601")).remarks
    assert any("smaller than ten by ten pixels" in remark for remark in remarks)


def test_words_of_yaml_are_quoted():
    written = write_campaign(asked(name="010", out=Path("x.yaml")))
    assert read_campaign(written.path).campaign == "010"


@pytest.mark.parametrize("area", ["1.3.8,43.55,1.504,43.64", "1.38,43.55,1.504", "1.38;43.55;1.504;43.64"])
def test_numbers_that_are_no_box_are_refused_as_such(area: str) -> None:
    with pytest.raises(ConfigError, match="is no box — give four numbers, west,south,east,north"):
        write_campaign(asked(area=area))
