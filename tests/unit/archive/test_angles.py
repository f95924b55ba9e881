"""Angles: granule metadata against an independent converter, missing values, wrap-around, fallbacks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_archive import real_data

from canopyflow.archive.angles import BAND_IDS, parse_granule, scene_angles
from canopyflow.archive.directions import Direction, interpolate, mean_direction, relative_azimuth
from canopyflow.archive.grid import Grid, node_weights, nodes
from canopyflow.archive.sun import solar_position
from canopyflow.errors import ArchiveError

GRID = Grid(32632, (640000.0, 5191000.0, 649000.0, 5200000.0), 10.0)
ITEM = {"id": "x", "properties": {"datetime": "2022-05-01T10:20:00Z"}, "assets": {}}


def values(block: list[list[float]]) -> str:
    rows = "".join(f"<VALUES>{' '.join(map(str, row))}</VALUES>" for row in block)
    return f"<Values_List>{rows}</Values_List>"


def pair(zenith: list[list[float]], azimuth: list[list[float]]) -> str:
    return f"<Zenith>{values(zenith)}</Zenith><Azimuth>{values(azimuth)}</Azimuth>"


def granule_xml(detectors: list[tuple[int, list[list[float]], list[list[float]]]]) -> bytes:
    """A 2 x 2 granule whose sun azimuth crosses north."""
    sun = pair([[30, 32], [34, 36]], [[350, 10], [350, 10]])
    grids = "".join(
        f'<Viewing_Incidence_Angles_Grids bandId="{b}" detectorId="{i}">{pair(z, a)}'
        "</Viewing_Incidence_Angles_Grids>"
        for i, (b, z, a) in enumerate(detectors)
    )
    return (
        "<T><Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:32632</HORIZONTAL_CS_CODE>"
        '<Geoposition resolution="10"><ULX>640000</ULX><ULY>5200000</ULY></Geoposition></Tile_Geocoding>'
        f"<Tile_Angles><Sun_Angles_Grid>{sun}</Sun_Angles_Grid>"
        f"{grids}</Tile_Angles></T>"
    ).encode()


def test_detectors_are_merged_where_they_look_and_holes_take_the_nearest_value() -> None:
    nan = float("nan")
    xml = granule_xml(
        [
            (3, [[4, nan], [4, nan]], [[100, nan], [100, nan]]),
            (3, [[6, 8], [nan, nan]], [[100, 110], [nan, nan]]),
            (1, [[50, 50], [50, 50]], [[0, 0], [0, 0]]),
        ]
    )
    granule = parse_granule(xml, ["B04"])
    np.testing.assert_allclose(granule.view.zenith, [[5, 8], [4, nan]])
    np.testing.assert_allclose(granule.view.azimuth, [[100, 110], [100, nan]])
    angles = scene_angles(ITEM, GRID, granule, 5.0)
    assert np.isfinite(angles.view.zenith).all()
    assert angles.source == "sun: granule metadata; view: granule metadata"


def test_azimuths_go_through_north() -> None:
    granule = parse_granule(granule_xml([]), ["B04"])
    rows, columns = node_weights([5200000.0], granule.y), node_weights([642500.0], granule.x)
    middle = interpolate(granule.sun, rows, columns)
    assert middle.zenith[0, 0] == pytest.approx(31)
    assert min(middle.azimuth[0, 0], 360 - middle.azimuth[0, 0]) == pytest.approx(0, abs=1e-9)
    mean = mean_direction(np.array([5.0, 5.0]), np.array([359.0, 1.0]))
    assert min(mean.azimuth, 360 - mean.azimuth) == pytest.approx(0, abs=1e-9)


@given(st.floats(0, 360), st.floats(0, 360), st.floats(-720, 720))
def test_relative_azimuth_is_folded_symmetric_and_turns_along(sun: float, view: float, turn: float) -> None:
    angle = float(relative_azimuth(sun, view))
    assert 0 <= angle <= 180
    assert angle == pytest.approx(float(relative_azimuth(view, sun)), abs=1e-6)
    assert angle == pytest.approx(float(relative_azimuth(sun + turn, view + turn)), abs=1e-6)


def test_fallbacks_say_what_they_are() -> None:
    granule = parse_granule(granule_xml([]), ["B04"])
    assumed = scene_angles(ITEM, GRID, granule, 4.0)
    assert assumed.source == "sun: granule metadata; view: assumed 4 degrees, 90 degrees from the sun"
    np.testing.assert_allclose(relative_azimuth(assumed.sun.azimuth, assumed.view.azimuth), 90)
    properties = {
        **ITEM["properties"],
        "s2:mean_solar_zenith": 40.0,
        "s2:mean_solar_azimuth": 150.0,
        "view:off_nadir": 7.0,
        "view:azimuth": 290.0,
    }
    stated = scene_angles({**ITEM, "properties": properties}, GRID, None, 4.0)
    assert stated.source == "sun: item properties; view: item properties"
    assert (stated.sun.zenith == 40).all()
    assert (stated.view.zenith == 7).all()
    computed = scene_angles(ITEM, GRID, None, 4.0)
    assert computed.source.startswith("sun: computed")
    assert computed.sun.zenith.shape == (3, 3)


def test_assumed_angles_are_evidence_and_known_ones_are_not() -> None:
    computed = scene_angles(ITEM, GRID, None, 4.0).evidence()
    assert computed is not None
    assert computed.kind == "angles_assumed"
    assert "4 degrees" in computed.detail
    properties = {**ITEM["properties"], "view:incidence_angle": "7.5", "view:azimuth": 290}
    known = scene_angles({**ITEM, "properties": properties}, GRID, None, 4.0)
    assert known.evidence() is None
    assert (known.view.zenith == 7.5).all()


@pytest.mark.parametrize(
    "placeholder",
    [
        {"view:off_nadir": 0},
        {"view:incidence_angle": 90, "view:azimuth": 290},
        {"view:incidence_angle": "n/a", "view:azimuth": 290},
        {"view:incidence_angle": float("nan"), "view:azimuth": 290},
        {"view:incidence_angle": 5, "view:azimuth": None},
        {"view:sun_elevation": -30, "view:sun_azimuth": 10},
    ],
)
def test_placeholders_are_no_angles(placeholder: dict[str, object]) -> None:
    angles = scene_angles({**ITEM, "properties": {**ITEM["properties"], **placeholder}}, GRID, None, 4.0)
    assert angles.assumed
    assert (angles.view.zenith == 4).all()
    assert angles.source.startswith("sun: computed")


def test_view_angles_of_assets_are_averaged_through_north() -> None:
    assets = {
        "B02": {"view:incidence_angle": 8.0, "view:azimuth": 350},
        "B04": {"view:incidence_angle": 9.0, "view:azimuth": 10},
        "SCL": {},
    }
    angles = scene_angles({**ITEM, "assets": assets}, GRID, None, 4.0)
    assert not angles.assumed
    assert (angles.view.zenith == 8.5).all()
    assert np.allclose(np.abs((angles.view.azimuth + 180) % 360 - 180), 0, atol=1)


@pytest.mark.parametrize(
    "grid",
    [Grid(32633, GRID.bounds, 10.0), Grid(32632, (740000.0, 5190000.0, 750000.0, 5200000.0), 10.0)],
)
def test_metadata_of_another_place_are_an_error_of_the_scene(grid: Grid) -> None:
    granule = parse_granule(granule_xml([]), ["B04"])
    with pytest.raises(ArchiveError, match="granule-metadata of x are of another place"):
        scene_angles(ITEM, grid, granule, 4.0)


def test_broken_metadata_is_an_archive_error() -> None:
    for xml in (b"<T/>", b"", b'<!DOCTYPE x [<!ENTITY a "b">]><T>&a;</T>'):
        with pytest.raises(ArchiveError, match="cannot be read"):
            parse_granule(xml, ["B04"])


def test_interpolation_is_exact_on_planes_and_constant_outside() -> None:
    x, y = nodes(0.0, 10.0, 3.0), nodes(0.0, 6.0, 5.0)[::-1]
    plane = 2 * x[None, :] + 3 * y[:, None]
    at_x, at_y = np.array([0.5, 7.3]), np.array([5.9, 0.1])
    found = node_weights(at_y, y) @ plane @ node_weights(at_x, x).T
    np.testing.assert_allclose(found, 2 * at_x[None, :] + 3 * at_y[:, None])
    assert (node_weights([-5.0, 50.0], x) @ x).tolist() == [0.0, 10.0]


def test_sun_at_a_known_place_and_time() -> None:
    """Equinox, noon, Greenwich, equator: the sun is overhead but for the equation of time (1.9 degrees)."""
    zenith, _ = solar_position(datetime(2022, 3, 20, 12, 0, tzinfo=UTC), 0.0, 0.0)
    assert float(zenith) == pytest.approx(1.86, abs=0.1)


@pytest.mark.real
def test_granule_metadata_against_an_independent_converter() -> None:
    for folder in sorted((real_data() / "archive_samples" / "safe_metadata").iterdir()):
        xml = (folder / "MTD_TL.xml").read_bytes()
        expected = json.loads((folder / "expected_output.json").read_text())["properties"]
        granule = parse_granule(xml, BAND_IDS)
        for sun in (
            granule.mean_sun,
            mean_direction(granule.sun.zenith.ravel(), granule.sun.azimuth.ravel()),
        ):
            assert float(sun.zenith) == pytest.approx(90 - expected["view:sun_elevation"], abs=1e-3)
            assert float(sun.azimuth) == pytest.approx(expected["view:sun_azimuth"], abs=5e-3)
        assert float(granule.mean_view.zenith) == pytest.approx(expected["view:incidence_angle"], abs=1e-6)
        assert np.nanmean(granule.view.zenith) == pytest.approx(expected["view:incidence_angle"], abs=0.05)
        # The converter takes the arithmetic mean of azimuths: right where they agree (02.12), not where some
        # are near 6 and others near 190 degrees (04.00). Ours is the mean of vectors.
        root = ElementTree.fromstring(xml)
        azimuths = [
            float(e.findtext("AZIMUTH_ANGLE", "nan")) for e in root.iter("Mean_Viewing_Incidence_Angle")
        ]
        assert np.mean(azimuths) == pytest.approx(expected["view:azimuth"], abs=1e-6)
        if np.ptp(azimuths) < 90:
            assert float(granule.mean_view.azimuth) == pytest.approx(expected["view:azimuth"], abs=0.05)


@pytest.mark.real
def test_computed_sun_against_real_metadata() -> None:
    folder = real_data() / "archive_samples" / "earth-search_33TWM_20230813"
    granule = parse_granule((folder / "granule_metadata.xml").read_bytes(), ["B04"])
    item = json.loads((folder / "S2B_33TWM_20230813_0_L2A.json").read_text())
    bare = {**item, "properties": {"datetime": item["properties"]["datetime"]}}
    grid = Grid(granule.epsg, (granule.x[0], granule.y[-1], granule.x[-1], granule.y[0]), 10.0)
    known, computed = scene_angles(bare, grid, granule, 5.0), scene_angles(bare, grid, None, 5.0)
    np.testing.assert_allclose(computed.sun.zenith, known.sun.zenith, atol=0.02)
    np.testing.assert_allclose(computed.sun.azimuth, known.sun.azimuth, atol=0.1)
    assert isinstance(known.view, Direction)
