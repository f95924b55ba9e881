"""Tables of parcels: what is written can be read, part by part."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from canopyflow.errors import DataError
from canopyflow.inference.parcels.columns import COLUMNS
from canopyflow.inference.parcels.tables import read_part, write_part, write_tables

PARCELS = gpd.GeoDataFrame(
    {"parcel": ["a", "b", "c"]}, geometry=[box(i, 0, i + 1, 1) for i in range(3)], crs=4326
)


def part(names, item="S2A_x"):
    table = pd.DataFrame({name: np.arange(len(names), dtype=float) for name in COLUMNS})
    table["parcel"], table["tile"], table["item"], table["variable"] = names, "32TMT", item, "lai"
    table["time"] = pd.Timestamp("2021-06-08T10:30:21.024")
    return table.astype({"pixels": "int32", "flags": "uint8", "time": "datetime64[us]"})


def test_csv_and_geoparquet_hold_the_same_rows(tmp_path, caplog):
    out = [tmp_path / "t.csv", tmp_path / "t.parquet"]
    with caplog.at_level("WARNING"):
        assert write_tables(iter([part(["a", "b"]), part(["b"], "S2B_y")]), PARCELS, out) == 3
    assert "1 of 3 parcels have no clear pixel in any acquisition: c" in caplog.text
    text, table = pd.read_csv(out[0]), gpd.read_parquet(out[1])
    assert list(text.columns) == list(COLUMNS) and list(table.columns) == [*COLUMNS, "geometry"]
    assert text["parcel"].tolist() == table["parcel"].tolist() == ["a", "b", "b"]
    assert table.crs.to_epsg() == 4326 and table.geometry[2].equals(PARCELS.geometry[1])
    assert table["time"].dtype.kind == "M" and text["time"][0] == "2021-06-08T10:30:21Z"
    first = [path.read_bytes() for path in out]
    write_tables(iter([part(["a", "b"]), part(["b"], "S2B_y")]), PARCELS, out)
    assert [path.read_bytes() for path in out] == first


def test_parts_are_read_as_written_and_may_be_empty(tmp_path):
    for name, table in (("full", part(["a"])), ("empty", part([]))):
        write_part(table, tmp_path / f"{name}.parquet")
        pd.testing.assert_frame_equal(read_part(tmp_path / f"{name}.parquet"), table, check_dtype=False)
    assert write_tables([read_part(tmp_path / "empty.parquet")], PARCELS, [tmp_path / "t.parquet"]) == 0
    assert len(gpd.read_parquet(tmp_path / "t.parquet")) == 0


def test_other_kinds_are_refused_and_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match=r"t\.xlsx is of no kind that is written"):
        write_tables([], PARCELS, [tmp_path / "t.xlsx"])

    def broken():
        yield part(["a"])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_tables(broken(), PARCELS, [tmp_path / "t.csv"])
    assert not (tmp_path / "t.csv").exists()
