"""Every real item of the samples: the right tile, platform, baseline, offset and angles, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest
from support_archive import real_data

from canopyflow.archive import items as stac
from canopyflow.archive.angles import BAND_IDS, angle_nodes, parse_granule, scene_angles
from canopyflow.archive.grid import Grid
from canopyflow.archive.harmonise import decide_offset, metadata_offset

pytestmark = pytest.mark.real


class Expected(NamedTuple):
    """What a person reads in the item; ``sun`` and ``view`` are (zenith, azimuth), None where it has none."""

    tile: str
    platform: str
    baseline: str
    offset: int
    sun: tuple[float, float] | None
    view: tuple[float, float] | None


ALPS = "earth-search_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json"
SAFE = "safe_metadata/{}/expected_output.json"
OLD = "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857"
NEW = "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126"
ITEMS = {
    "items/earth-search-v1_2025.json": Expected(
        "24MUA", "S2B", "05.11", 0, (33.98803, 48.36866), (9.82416, 102.06242)
    ),
    "items/sentinel-cogs-v0.json": Expected("31NBJ", "S2A", "02.12", 0, None, None),
    "items/sinergise_antimeridian.json": Expected(
        "01WCQ", "S2A", "05.09", -1000, (44.96798, 172.89274), None
    ),
    "items/planetary-computer_baseline-0212.json": Expected(
        "06VVN", "S2B", "02.12", 0, (37.91288, 170.14804), None
    ),
    "items/planetary-computer_baseline-0511.json": Expected(
        "13TDE", "S2B", "05.11", -1000, (33.66153, 147.24356), None
    ),
    ALPS: Expected("33TWM", "S2B", "05.09", 0, (33.74225, 155.93671), None),
    SAFE.format(OLD): Expected("07HFE", "S2A", "02.12", 0, (32.70707, 62.32865), (10.81381, 288.99549)),
    SAFE.format(NEW): Expected("33XWJ", "S2B", "04.00", -1000, (76.52862, 246.54042), (11.68407, 31.26034)),
}


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((real_data() / "archive_samples" / name).read_text())
    return content


def grid_of(item: dict[str, Any]) -> Grid:
    """A small grid in the middle of the item's box."""
    west, south, east, north = item["bbox"]
    middle = ((west + east) / 2 if west < east else 180.0, (south + north) / 2)
    x, y, *_ = stac.project_area(
        (middle[0] - 0.01, middle[1] - 0.01, *(v + 0.01 for v in middle)), stac.epsg(item)
    )
    return Grid(stac.epsg(item), (x, y, x + 2000.0, y + 2000.0), 20.0)


@pytest.mark.parametrize("name", ITEMS)
def test_item_says_what_a_person_reads_in_it(name: str) -> None:
    item, expected = read(name), ITEMS[name]
    assert stac.mgrs_tile(item) == expected.tile
    assert stac.platform(item) == expected.platform
    assert stac.baseline(item) == expected.baseline
    assert decide_offset(item).offset == expected.offset
    angles = scene_angles(item, grid_of(item), None, 5.0)
    assert ("sun: item properties" in angles.source) == (expected.sun is not None)
    assert bool(angles.assumed) == (expected.view is None)
    for found, known in ((angles.sun, expected.sun), (angles.view, expected.view)):
        if known is not None:
            assert np.allclose(found.zenith, known[0], atol=1e-4)
            assert np.allclose(found.azimuth, known[1], atol=1e-4)


@pytest.mark.parametrize(("name", "offset"), [(OLD, 0), (NEW, -1000)])
def test_metadata_agrees_with_item_and_converter(name: str, offset: int) -> None:
    folder = real_data() / "archive_samples" / "safe_metadata" / name
    item = read(SAFE.format(name))
    assert metadata_offset((folder / "MTD_MSIL2A.xml").read_bytes()) == offset
    assert decide_offset(item, offset).offset == offset
    assert "BOA_ADD_OFFSET" in decide_offset(item, offset).reason
    granule = parse_granule((folder / "MTD_TL.xml").read_bytes(), BAND_IDS)
    x, y = granule.x[8:12], granule.y[8:12]
    grid = Grid(granule.epsg, (x[0], y[-1], x[-1], y[0]), 20.0)
    angles = scene_angles(item, grid, granule, 5.0)
    assert angles.source == "sun: granule metadata; view: granule metadata"
    assert not angles.assumed
    north, east = angle_nodes(grid)
    np.testing.assert_allclose(north, y)
    np.testing.assert_allclose(east, x)
    np.testing.assert_allclose(angles.sun.zenith, granule.sun.zenith[8:12, 8:12])
    assert abs(angles.sun.zenith.mean() - ITEMS[SAFE.format(name)].sun[0]) < 1.0  # type: ignore[index]


def test_alpine_granule_metadata_agrees_with_its_item() -> None:
    folder = real_data() / "archive_samples" / "earth-search_33TWM_20230813"
    granule = parse_granule((folder / "granule_metadata.xml").read_bytes(), ["B04"])
    zenith, azimuth = ITEMS[ALPS].sun  # type: ignore[misc]
    assert float(granule.mean_sun.zenith) == pytest.approx(zenith, abs=1e-4)
    assert float(granule.mean_sun.azimuth) == pytest.approx(azimuth, abs=1e-4)
    assert metadata_offset((folder / "granule_metadata.xml").read_bytes()) is None
