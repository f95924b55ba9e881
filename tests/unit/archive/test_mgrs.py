"""Where tiles lie, against the corners that real archives state."""

import pytest
from pyproj import Transformer

from canopyflow.archive.mgrs import BANDS, COLUMNS, ROWS, bounds_of, epsg_of, tile_name

CORNERS = {
    "32TMT": (399960, 5300040),
    "01WCQ": (300000, 7500000),
    "31NBJ": (199980, 900000),
    "33TWM": (499980, 5200020),
    "24MUA": (300000, 9600040),
    "07HFE": (600000, 6500020),
    "33XWJ": (499980, 8900040),
    "06VVN": (399960, 6800040),
    "13TDE": (399960, 4500000),
}
"""Upper left corners from items of earth-search, Planetary Computer and of ESA's own metadata."""


@pytest.mark.parametrize("tile", CORNERS)
def test_corners_are_those_of_real_tiles(tile):
    west, south, east, north = bounds_of(tile)
    assert (west, north) == CORNERS[tile]
    assert east - west == north - south == 109_800


def test_every_square_lies_in_its_band():
    """A square is found in one of the periods of 2,000 km: the band says which."""
    checked = 0
    for zone in (31, 32, 33):
        to_degrees = {
            north: Transformer.from_crs((32600 if north else 32700) + zone, 4326, always_xy=True)
            for north in (True, False)
        }
        for number, band in enumerate(BANDS):
            low, high = -80 + 8 * number, (84 if band == "X" else -72 + 8 * number)
            inside = 0
            for row in ROWS:
                west, south, east, north = bounds_of(f"{zone}{band}{COLUMNS[zone % 3][4]}{row}")
                _, middle = to_degrees[band >= "N"].transform((west + east) / 2, (south + north) / 2)
                inside += low < middle < high
            # 8 degrees are 889 km, 12 are 1,334 km.
            assert inside in ((13, 14) if band == "X" else (8, 9, 10))
            checked += inside
    assert checked > 500


@pytest.mark.parametrize("text", ["32TMT", "T32TMT", "MGRS-32TMT", "mgrs-32tmt"])
def test_spellings(text):
    assert tile_name(text) == "32TMT"
    assert tile_name("MGRS-1WCQ") == "01WCQ"
    assert (epsg_of("32TMT"), epsg_of("24MUA")) == (32632, 32724)


@pytest.mark.parametrize("text", ["", "32TM", "32TMTX", "TMT32", "32TMT/..", None, 32])
def test_what_is_no_name(text):
    with pytest.raises(ValueError, match="no MGRS tile"):
        tile_name(text)


@pytest.mark.parametrize("tile", ["61TMT", "00TMT", "32IMT", "32TAT", "32TMW", "32TIT"])
def test_squares_that_are_not_there(tile):
    with pytest.raises(ValueError, match=f"no MGRS tile {tile}"):
        bounds_of(tile)
