"""The demo's parcels are its fields, as far as the scenes reach."""

import numpy as np
import shapely

from canopyflow.demo.landscape import build_landscape
from canopyflow.demo.parcels import make_parcels, parcel_outlines
from canopyflow.demo.tiles import PLANE, tiles


def test_within_a_parcel_there_is_one_field_and_no_water():
    landscape, grids = build_landscape(0), list(tiles().values())
    outlines = parcel_outlines(landscape, grids)
    seen = shapely.union_all([shapely.Polygon(tile.ring(PLANE)) for tile in grids])
    assert len(outlines) > 100 and shapely.area([shape for _, shape in outlines.values()]).min() > 5000
    for name, (_, shape) in outlines.items():
        assert seen.buffer(1.0).covers(shape)
        inner = shape.buffer(-1.0)
        points = shapely.get_coordinates(inner)
        assert set(landscape.fields(points[:, 0], points[:, 1]).tolist()) == {
            int(name.removeprefix("field-"))
        }


def test_the_file_is_geojson_in_degrees_with_crops():
    made = make_parcels(build_landscape(1), list(tiles().values()))
    names = [each["properties"]["parcel"] for each in made["features"]]
    assert len(set(names)) == len(names)
    assert {"winter wheat", "maize"} <= {each["properties"]["crop"] for each in made["features"]}
    ring = np.array(made["features"][0]["geometry"]["coordinates"][0])
    assert (np.abs(ring - [6.5, 46.72]) < 0.05).all()
