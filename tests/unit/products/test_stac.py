"""What the extensions of STAC ask of an item, spelled out: their schemas are in no package."""

import json
import math
import re

import pytest

from canopyflow.products.cog import Numbers
from canopyflow.products.stac import EXTENSIONS, Sight, render, shares_of_flags
from canopyflow.products.styles import style_of

NUMBER = (int, float)


@pytest.fixture(scope="module")
def items(campaign):
    paths = campaign.published.glob("*/*/*/*/*.json")
    return [json.loads(path.read_text()) for path in sorted(paths)]


def test_only_fields_that_their_extension_has(items):
    allowed = {
        "proj": {"code", "epsg", "transform", "shape"},
        "raster": {"bands"},
        "eo": {"cloud_cover"},
        "view": {"off_nadir", "incidence_angle", "azimuth", "sun_azimuth", "sun_elevation"},
        "file": {"checksum", "size"},
        "processing": {"level", "lineage", "software"},
        "classification": {"bitfields"},
    }
    for item in items:
        for fields in (item["properties"], *item["assets"].values()):
            for prefix, _, name in (key.partition(":") for key in fields if ":" in key):
                assert prefix == "canopyflow" or name in allowed[prefix], (prefix, name)


def test_values_are_of_the_kind_and_range_that_their_extension_asks(items):
    for item in items:
        known = item["properties"]
        assert re.fullmatch(r"EPSG:\d+", known["proj:code"]) and known["proj:code"].endswith(
            f":{known['proj:epsg']}"
        )
        assert len(known["proj:transform"]) == 6 and all(
            isinstance(n, NUMBER) for n in known["proj:transform"]
        )
        assert all(isinstance(side, int) and side > 0 for side in known["proj:shape"])
        for name, most in [
            ("off_nadir", 90),
            ("incidence_angle", 90),
            ("azimuth", 360),
            ("sun_azimuth", 360),
        ]:
            assert 0 <= known[f"view:{name}"] <= most
        assert -90 <= known["view:sun_elevation"] <= 90 and 0 <= known["eo:cloud_cover"] <= 100
        assert all(isinstance(version, str) for version in known["processing:software"].values())
        assert known["renders"], "an item that declares the render extension has some"
        for block in known["renders"].values():
            assert set(block["assets"]) <= set(item["assets"])
            assert all(len(pair) == 2 and pair[0] < pair[1] for pair in block["rescale"])
            assert isinstance(block["colormap_name"], str) and isinstance(block["title"], str)
        for name, asset in item["assets"].items():
            if "file:checksum" in asset:
                assert re.fullmatch("1220[0-9a-f]{64}", asset["file:checksum"]) and asset["file:size"] > 0
            for band in asset.get("raster:bands", ()):
                assert band["data_type"] in ("int16", "uint8", "float32") and band["sampling"] == "area"
                assert all(
                    isinstance(band.get(key, 0), NUMBER) for key in ("scale", "offset", "spatial_resolution")
                )
            assert name != "flags" or asset["roles"] == ["metadata"]
        fields = item["assets"]["flags"]["classification:bitfields"]
        assert len({entry["offset"] for entry in fields}) == len(fields)
        for entry in fields:
            assert entry["length"] == 1 and [each["value"] for each in entry["classes"]] == [0, 1]


def test_the_versions_of_extensions_are_those_that_allow_what_is_written():
    versions = dict(address.split("/")[3:5] for address in EXTENSIONS)
    # The one version with both `proj:code` and `proj:epsg`; the last with `raster:bands`.
    assert (versions["projection"], versions["raster"]) == ("v1.2.0", "v1.1.0")


def test_a_sensor_in_the_zenith_has_no_off_nadir_and_what_nobody_says_is_left_out():
    assert Sight(view_zenith=0.0).properties() == {"view:incidence_angle": 0.0, "view:off_nadir": 0.0}
    assert Sight(sun_zenith=30.0, sun_azimuth=math.nan).properties() == {"view:sun_elevation": 60.0}
    assert Sight(view_azimuth=270.0).properties() == {"view:azimuth": 90.0}


def test_a_render_block_counts_in_stored_numbers():
    numbers = Numbers("int16", 32767, 0.00016, 5.24288)
    block = render("lai_mean", style_of("lai", "mean"), numbers)
    assert block["rescale"] == [[-32768, 10982]] and block["nodata"] == 32767
    assert block["title"] == "leaf area index, mean of the posterior, 0 to 7 m² m⁻²"
    assert render("ess", style_of("ess"), Numbers("float32", math.nan))["rescale"] == [[0.0, 500.0]]


def test_shares_of_flags_are_those_of_pixels_with_a_posterior():
    assert shares_of_flags({0: 60, 2: 10, 130: 10, 1: 20}) == {"out_of_domain": 0.25, "misfit": 0.125}
    assert shares_of_flags({1: 20}) == {}
