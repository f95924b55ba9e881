"""Tables as people have them: ids, separators, endings, lengths; nothing is lost, nothing overwritten."""

import gzip
import logging
import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from untrained import prior_pixels, untrained, untrained_bundle

from canopyflow.errors import DataError
from canopyflow.inference import table_checks, table_files, tables
from canopyflow.inference.table_files import Table
from canopyflow.inference.tables import TableOptions, predict_table
from canopyflow.vocabulary import ANGLES, BANDS

FEW = TableOptions(samples=16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_bundle(tmp_path_factory.mktemp("models") / "seed0")


def table(n: int = 6, **columns: Any) -> pd.DataFrame:
    seen = prior_pixels(untrained(), n)
    frame = pd.DataFrame(np.clip(seen.reflectance.numpy(), 1e-4, 1), columns=list(BANDS))
    frame[list(ANGLES)] = seen.geometry.numpy()
    return frame.assign(**{"id": [f"p{i}" for i in range(n)], "platform": "S2A", **columns})


def written(path: Path, frame: pd.DataFrame) -> Path:
    """The frame as the file's name asks for."""
    if path.suffix in (".parquet", ".pq"):
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


IDS: dict[str, list[Any]] = {
    "text": ["p1", "NA", "nan", "007", "a,b", 'say "x"'],
    "numbers in text": ["1e5", "1.0", "1", "001", "-0", "+1"],
    "whole": [2**62 + i for i in range(6)],
    "floats": [20220501.0, 20220502.0, 0.1, 1e22, -3.5, 20220503.0],
    "dates": [date(2022, 5, i + 1) for i in range(6)],
    "times": list(pd.date_range("2022-05-01T10:30", periods=6, freq="s")),
    "categories": list(pd.Categorical(list("abcdef"))),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "pq"])
@pytest.mark.parametrize("came", ["csv", "parquet"])
def test_ids_and_kept_columns_come_back_as_they_came(
    came: str, ending: str, kind: str, bundle: Path, tmp_path: Path
) -> None:
    values = pd.Series(IDS[kind], dtype="category" if kind == "categories" else None)
    source = written(tmp_path / f"in.{came}", table(id=values, crop=values[::-1].tolist(), other=1))
    out = tmp_path / f"out.{ending}"
    predict_table(source, bundle, out, TableOptions(samples=16, keep=["crop"]))
    if ending in ("parquet", "pq"):
        result = pq.read_table(out)
        assert result.column_names[:3] == ["id", "crop", "N_mean"] and "other" not in result.column_names
        ids, crop = (result.column(name).to_pylist() for name in ("id", "crop"))
        if came == "parquet":
            there = pq.read_table(source)
            assert ids == there.column("id").to_pylist() and crop == there.column("crop").to_pylist()
            assert result.schema.field("id").type == there.schema.field("id").type
    else:
        frame = pd.read_csv(out, dtype={"id": str, "crop": str}, keep_default_na=False)
        ids, crop = frame["id"].tolist(), frame["crop"].tolist()
    if came == "csv":
        raw = pd.read_csv(source, dtype=str, keep_default_na=False)
        assert ids == raw["id"].tolist() and crop == raw["crop"].tolist()
    elif ending.startswith("csv") and kind != "times":
        assert [type(values.iloc[0])(v) if kind in ("whole", "floats") else v for v in ids] == (
            values.tolist() if kind in ("whole", "floats") else [str(v) for v in values]
        )
    elif ending.startswith("csv"):
        assert pd.to_datetime(pd.Series(ids)).tolist() == values.tolist()


def test_a_gzipped_table_is_gzip_and_the_same_each_time(bundle: Path, tmp_path: Path) -> None:
    source = written(tmp_path / "in.csv.gz", table())
    for name in ("one", "two"):
        predict_table(source, bundle, tmp_path / f"{name}.csv.gz", FEW)
    predict_table(source, bundle, tmp_path / "plain.csv", FEW)
    one, two = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in ("one", "two"))
    assert one[4:8] == bytes(4), "a date, which differs from run to run"
    assert one == two and gzip.decompress(one) == (tmp_path / "plain.csv").read_bytes()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model has begun to work."""

    def begun(*given: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr(tables, "load", begun)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("how", ["same", "link", "hard link", "dots"])
def test_the_table_itself_is_never_written(how: str, tmp_path: Path) -> None:
    source = written(tmp_path / "mine.csv", table())
    before = source.read_bytes()
    out = source
    if how == "link":
        out = tmp_path / "link.csv"
        out.symlink_to(source)
    elif how == "hard link":
        out = tmp_path / "hard.csv"
        os.link(source, out)
    elif how == "dots":
        (tmp_path / "a").mkdir()
        out = tmp_path / "a/../mine.csv"
    with pytest.raises(DataError, match="is the table itself"):
        predict_table(source, "unused", out, FEW)
    assert source.read_bytes() == before


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in.csv", "folder", "neither read nor written"),
        ("in.csv", "folder.csv", "is a folder"),
        ("in.csv", "out.xlsx", "neither read nor written"),
        ("in.csv", "out.txt", "use .csv, .csv.gz, .parquet, .pq"),
        ("in.csv", "in.csv/out.csv", "is not a folder"),
        ("in.xlsx", "out.csv", "neither read nor written"),
        ("none.csv", "out.csv", "does not exist"),
        ("folder.csv", "out.csv", "does not exist"),
        ("broken.parquet", "out.csv", "cannot be read"),
        ("broken.csv.gz", "out.csv", "cannot be read"),
        ("twice.csv", "out.csv", "two columns 'B04'"),
        ("semicolons.csv", "out.csv", "separated by ';'"),
        ("empty.csv", "out.csv", "no rows"),
    ],
)
def test_files_that_cannot_be_are_refused_before_any_work(
    source: str, out: str, message: str, tmp_path: Path
) -> None:
    written(tmp_path / "in.csv", table())
    for name in ("folder", "folder.csv"):
        (tmp_path / name).mkdir()
    for name in ("in.xlsx", "broken.parquet", "broken.csv.gz"):
        (tmp_path / name).write_bytes(b"id,platform\nno file of this kind\n")
    (tmp_path / "twice.csv").write_text("id,B04,B04\na,1,2\n")
    (tmp_path / "semicolons.csv").write_text("id;platform;B02\na;S2A;0,02\n")
    (tmp_path / "empty.csv").write_text("id,platform,B02\n")
    there = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError, match=message):
        predict_table(tmp_path / source, "unused", tmp_path / out, FEW)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_csv_file_is_read_as_people_write_it(bundle: Path, tmp_path: Path) -> None:
    """With a byte order mark, Windows' line ends, blanks, quotes, an empty column beyond the header."""
    frame = table()
    predict_table(written(tmp_path / "in.csv", frame), bundle, tmp_path / "plain.csv", FEW)
    lines = (tmp_path / "in.csv").read_text().splitlines()
    odd = {
        "mark": "\ufeff" + "\n".join(lines),
        "windows": "\r\n".join(lines) + "\r\n",
        "blanks": "\n".join(line.replace(",", " , ") for line in lines).replace("p0 ", "p0", 1),
        "quotes": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in lines),
        "trailing": "\n".join([lines[0], *(f"{line}," for line in lines[1:])]),
        "gap": "\n\n".join(lines) + "\n\n",
    }
    for name, text in odd.items():
        (tmp_path / "odd.csv").write_text(text, newline="")
        predict_table(tmp_path / "odd.csv", bundle, tmp_path / "out.csv", FEW)
        one, two = (pd.read_csv(tmp_path / file) for file in ("plain.csv", "out.csv"))
        assert two["id"].str.strip().tolist() == one["id"].tolist(), name
        pd.testing.assert_frame_equal(one.drop(columns="id"), two.drop(columns="id"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines, "q,S2A,0.1"], "Expected 15 columns, got 3"),
        (lambda lines: [*lines, f"north, field,{lines[1]}"], "Expected 15 columns, got 17"),
        (lambda lines: [lines[0], *(f"{line},9" for line in lines[1:])], "Expected 15 columns, got 16"),
        (lambda lines: [*lines, lines[1].replace("p0", "d\xfcrr")], "UTF8|utf-8"),
    ],
)
def test_rows_that_would_be_read_shifted_are_refused(
    change: Any, message: str, bundle: Path, tmp_path: Path
) -> None:
    lines = written(tmp_path / "in.csv", table()).read_text().splitlines()
    (tmp_path / "in.csv").write_bytes("\n".join(change(lines)).encode("latin-1"))
    with pytest.raises(DataError, match=message):
        predict_table(tmp_path / "in.csv", bundle, tmp_path / "out.csv", FEW)
    assert not (tmp_path / "out.csv").exists()


def test_text_among_numbers_is_named_with_its_row(bundle: Path, tmp_path: Path) -> None:
    frame = table().astype({"B05": object})
    frame.loc[3, "B05"] = "cloudy"
    with pytest.raises(DataError, match="'B05' holds text, 'cloudy' for id 'p3'"):
        predict_table(written(tmp_path / "in.csv", frame), bundle, tmp_path / "out.csv", FEW)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["crop"], "no column 'crop' to keep"),
        (["B04", "B04"], "'B04' would be there twice"),
        (["flags"], "'flags' would be there twice"),
        (["many"], "no place in a CSV file"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(
    keep: list[str], message: str, bundle: Path, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.parquet", table(flags=1, many=[[1, 2]] * 6))
    with pytest.raises(DataError, match=message):
        predict_table(source, bundle, tmp_path / "out.csv", TableOptions(samples=16, keep=keep))
    if keep == ["many"]:
        predict_table(source, bundle, tmp_path / "out.parquet", TableOptions(samples=16, keep=keep))
        assert pq.read_table(tmp_path / "out.parquet").column("many").to_pylist() == [[1, 2]] * 6


def test_categories_of_several_row_groups_are_joined(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROWS", 4)
    frame = table(12, id=pd.Categorical(list("abcdefghijkl")), platform=pd.Categorical(["S2A", "S2B"] * 6))
    parts = [
        pa.Table.from_pandas(
            frame[i : i + 3].assign(id=frame["id"][i : i + 3].cat.remove_unused_categories())
        )
        for i in range(0, 12, 3)
    ]
    with pq.ParquetWriter(tmp_path / "in.parquet", parts[0].schema) as file:
        for part in parts:
            file.write_table(part)
    for ending in ("csv", "parquet"):
        predict_table(tmp_path / "in.parquet", bundle, tmp_path / f"out.{ending}", FEW)
    assert pd.read_csv(tmp_path / "out.csv")["id"].tolist() == list("abcdefghijkl")
    assert pd.read_parquet(tmp_path / "out.parquet")["id"].tolist() == list("abcdefghijkl")
    frame["id"] = frame["id"].cat.set_categories(list("abcdefghijkl")).where(frame["id"] != "l", "a")
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    with pytest.raises(DataError, match="id 'a' occurs more than once"):
        predict_table(tmp_path / "in.parquet", bundle, tmp_path / "out.csv", FEW)


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_pieces_are_the_same_whatever_the_file_is_cut_into(
    group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROWS", 10)
    monkeypatch.setattr(table_files, "_BLOCK", 1000 * group)
    frame = table(34)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "in.parquet", row_group_size=group)
    written(tmp_path / "in.csv", frame)
    for name in ("in.parquet", "in.csv"):
        pieces = list(Table(tmp_path / name).pieces(["id", "B04"]))
        assert [len(piece) for piece in pieces] == [10, 10, 10, 4]
        assert pa.concat_tables(pieces).column("id").to_pylist() == frame["id"].tolist()


def test_a_long_table_is_that_of_its_pieces_in_order(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Masked rows stay in place; every piece has draws of its own; progress is told."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(table_files, "ROWS", 10)
    frame = table(34)
    frame.loc[[3, 25], "B05"] = np.nan
    frame.iloc[10:20, :10] = frame.iloc[:10, :10].to_numpy()
    frame.loc[13, "B05"] = np.nan
    predict_table(written(tmp_path / "in.csv", frame), bundle, tmp_path / "out.csv", FEW)
    result = pd.read_csv(tmp_path / "out.csv")
    assert result["id"].tolist() == frame["id"].tolist()
    assert np.flatnonzero(result["flags"] == 1).tolist() == [3, 13, 25]
    assert np.flatnonzero(result["lai_mean"].isna()).tolist() == [3, 13, 25]
    spread = (result["lai_mean"][10:20].to_numpy() - result["lai_mean"][:10].to_numpy())[[0, 1, 2, 4, 5]]
    assert (spread != 0).all(), "the same draws twice"
    assert "predict: 34 of 34 rows" in caplog.text


def test_an_id_of_another_piece_is_seen(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(table_files, "ROWS", 10)
    source = written(tmp_path / "in.csv", table(34, id=[f"p{i % 33}" for i in range(34)]))
    with pytest.raises(DataError, match="id 'p0' occurs more than once"):
        predict_table(source, bundle, tmp_path / "out.csv", FEW)
    monkeypatch.setattr(table_checks, "_IDS", 33)
    predict_table(source, bundle, tmp_path / "out.csv", FEW)
    assert "ids-unchecked" in caplog.text and "first 33 ids" in caplog.text


def test_ids_that_only_share_a_hash_are_let_through(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_checks, "hashes", lambda ids: np.zeros(len(ids), np.uint64))
    predict_table(written(tmp_path / "in.csv", table()), bundle, tmp_path / "out.csv", FEW)
    assert len(pd.read_csv(tmp_path / "out.csv")) == 6


def test_what_was_there_stays_until_all_is_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "ROWS", 10)
    source, out = written(tmp_path / "in.csv", table(34)), tmp_path / "out.csv"
    out.write_text("old\n")
    inner, done = tables._posterior, 0

    def failing(*given: Any) -> Any:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return inner(*given)

    monkeypatch.setattr(tables, "_posterior", failing)
    with pytest.raises(KeyboardInterrupt):
        predict_table(source, bundle, out, FEW)
    assert out.read_text() == "old\n"
    predict_table(source, bundle, out, FEW)
    assert len(pd.read_csv(out)) == 34
