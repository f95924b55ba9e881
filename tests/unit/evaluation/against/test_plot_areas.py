"""Plots with a footprint are matched with the mean over it; others with the pixel under them."""

import json

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer
from synthetic_scenes import scene_store
from untrained import untrained_bundle

from canopyflow.errors import DataError
from canopyflow.evaluation.against.plot_areas import Areas, footprints_of, match_areas
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.inference.parcels.command import Asked
from canopyflow.inference.parcels.extract import ExtractOptions
from canopyflow.inference.stored import open_product


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("footprints")
    scenes, masks = scene_store(top)
    infer(
        untrained_bundle(top / "model"),
        scenes,
        masks,
        top / "p.zarr",
        MapOptions(outputs=("lai",), samples=60, summaries="drawn"),
    )
    found = {"rho": {"lai": 0.8}, "error": {"lai": 0.0}, "design": {}, "bundle_sha256": ""}
    (top / "c.json").write_text(json.dumps(found))
    return top


def plots(folder, footprints, dates=None, variable="lai"):
    """Plots in the middle of pixel row 6, column 3."""
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(400_030.0, 5_199_940.0)
    n = len(footprints)
    table = pd.DataFrame({"plot_id": [f"p{i}" for i in range(n)], "lon": lon, "lat": lat, "value": 2.0})
    table["date"] = pd.to_datetime(dates or ["2022-05-06"] * n)
    table = table.assign(
        variable=variable,
        measurand="LAI",
        uncertainty=0.1,
        site="",
        group="",
        land_cover="",
        footprint=footprints,
    )
    table.to_parquet(folder / "plots.parquet")
    return folder / "plots.parquet"


def areas(folder, radius):
    stores = {folder / "p.zarr": (folder / "scenes.zarr", folder / "masks.zarr")}
    return Areas(
        radius, folder / "model", stores, folder / "c.json", Asked(options=ExtractOptions(samples=400))
    )


def run(folder, footprints, radius=None, **more):
    options = {"max_days": 1.0, "model": "nsf"}
    return match_areas(
        plots(folder, footprints, **more), folder / "out.parquet", areas(folder, radius), **options
    )


def square(side):
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * side / 2 + [400_030.0, 5_199_940.0]
    points = np.stack(to_degrees.transform(*corners.T), axis=1)
    return f"POLYGON (({', '.join(f'{x:.9f} {y:.9f}' for x, y in points)}))"


def test_a_polygon_a_circle_and_a_point(folder):
    table = run(folder, [square(30), ""])
    assert table["status"].tolist() == ["ok", "ok"] and table["item"].tolist() == ["second", "second"]
    with open_product(folder / "p.zarr") as product:
        mean, std = (product["lai"].sel(statistic=name).values[1] for name in ("mean", "std"))
    assert table["mean"][1] == pytest.approx(float(mean[6, 3])) and np.isnan(table["fit"][0])
    wanted = float(mean[5:8, 2:5].mean())
    assert table["mean"][0] == pytest.approx(wanted, abs=float(std[5:8, 2:5].mean()) / 2)
    circles = run(folder, ["", square(30)], radius=15.0)
    assert np.isnan(circles["fit"]).all() and circles["mean"][1] == pytest.approx(table["mean"][0])


def test_too_cloudy_footprints_and_other_variables_say_so(folder):
    # Of the first acquisition the upper rows are masked.
    assert run(folder, [square(30)], dates=["2022-05-01"])["status"][0] == "ok"
    assert (
        run(folder, [square(110)], dates=["2022-05-01"])["status"][0] == "no clear acquisition within 1 days"
    )
    assert run(folder, [square(30)], variable="cab")["status"][0] == "variable not in the products"


def test_a_footprint_that_is_no_polygon_is_refused():
    table = pd.DataFrame({"plot_id": ["a"], "lon": [7.0], "lat": [47.0]})
    assert footprints_of(table, None)[0] is None
    disc = footprints_of(table, 100.0)[0]
    assert disc.bounds[3] - disc.bounds[1] == pytest.approx(200 / 111_180, rel=0.01)
    for wrong in ("POINT (7 47)", "no text of a shape", "POLYGON ((7 47, 8 48, 8 47, 7 48, 7 47))"):
        with pytest.raises(DataError, match="footprint of plot a is no polygon"):
            footprints_of(table.assign(footprint=wrong), 100.0)
