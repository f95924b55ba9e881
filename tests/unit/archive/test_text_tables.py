"""Tables of text in the shapes that spreadsheets and people give them."""

import logging

import pytest

from canopyflow.archive.field_tables import NUMBERS, column_of
from canopyflow.archive.text_tables import read_text
from canopyflow.errors import DataError

HEAD = "plot_id,date,lon,lat,value"
ROWS = ["p1,2021-04-13,6.50859,46.72319,0.331", "p2,2021-04-05,6.51734,46.7243,1.89"]
PLAIN = "\n".join([HEAD, *ROWS]) + "\n"


def read(folder, content):
    path = folder / "plots.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_text(path, column_of, NUMBERS)


@pytest.fixture
def plain(tmp_path):
    return read(tmp_path, PLAIN)


def semicolons(text):
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("semicolons and decimal commas", semicolons(PLAIN)),
        ("tabs and decimal commas", semicolons(PLAIN).replace(";", "\t")),
        ("bars", PLAIN.replace(",", "|")),
        (
            "decimal commas in quotes",
            PLAIN.replace("0.331", '"0,331"')
            .replace("1.89", '"1,89"')
            .replace("6.50859", '"6,50859"')
            .replace("6.51734", '"6,51734"')
            .replace("46.72319", '"46,72319"')
            .replace("46.7243", '"46,7243"'),
        ),
        ("Excel's line", "sep=;\n" + PLAIN.replace(",", ";")),
        ("a separator at the end of rows", PLAIN.replace("0.331", "0.331,").replace("1.89", "1.89,")),
        ("and of the header", PLAIN.replace("\n", ",,\n")),
        ("Windows", PLAIN.replace("\n", "\r\n")),
        ("an old Mac", PLAIN.replace("\n", "\r")),
        ("a mark", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("UTF-16", PLAIN.encode("utf-16")),
        ("quoted headers, spaces", PLAIN.replace(HEAD, '"Plot ID", "Date", LON ,"Latitude",value')),
        ("no line end", PLAIN[:-1]),
        ("rows of nothing", PLAIN.replace("p2", ",,,,\n   \np2")),
        (
            "a column without a name",
            PLAIN.replace(HEAD, "," + HEAD).replace("p1,", "1,p1,").replace("p2,", "2,p2,"),
        ),
    ],
)
def test_the_same_table_in_every_shape(tmp_path, plain, what, content):
    table = read(tmp_path, content)
    assert table.to_dict("list") == plain.to_dict("list"), what


def test_comments_are_left_out_and_lines_counted_as_an_editor_does(tmp_path, plain):
    text = f"# made by me\n\n{HEAD}\n{ROWS[0]}\n  # no sun\n{ROWS[1]}\n"
    table = read(tmp_path, text)
    assert table.index.tolist() == [4, 6]
    assert table.to_dict("list") == plain.to_dict("list")
    # A header may be a comment, and an id may begin like one.
    assert read(tmp_path, "# made by me\n#" + PLAIN).to_dict("list") == plain.to_dict("list")
    assert read(tmp_path, PLAIN.replace("p2", '"#2"'))["plot_id"].tolist() == ["p1", "#2"]
    two = read(tmp_path, PLAIN.replace("p1", '"p1\n# still p1"'))
    assert two.index.tolist() == [2, 4] and two["plot_id"][2] == "p1\n# still p1"


def test_rows_that_are_commented_out_are_counted(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="canopyflow"):
        assert len(read(tmp_path, f"# made by me\n{PLAIN}#{ROWS[0]}\n# the end\n")) == 2
    assert "1 lines that look like rows are comments (first: line 5)" in caplog.text


def test_a_table_of_windows_is_read_with_a_warning(tmp_path, caplog):
    table = read(tmp_path, PLAIN.replace("p2", "Pré2").encode("cp1252"))
    assert table["plot_id"].tolist() == ["p1", "Pré2"]
    assert "read as Windows-1252" in caplog.text and "line 3" in caplog.text and "Pré2" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN.replace("2021-04-05,", ""), r"line 3: 4 fields where the header has 5 .*cut short"),
        (PLAIN + "p3,2021", r"line 4: 2 fields where the header has 5"),
        (PLAIN.replace("1.89", "1,89"), r"line 3: 6 fields.*decimal commas separate by semicolons"),
        (
            PLAIN.replace("1.89", '"1,89"'),
            r"decimal comma \(value '1,89' in row 3\) and with a point \(.*row 2",
        ),
        (
            'plot_id,lon,lat,value\np,6,46,"1,234"\n',
            r"'1,234' in row 2 may be a decimal comma or a mark between",
        ),
        (PLAIN.replace("p1", '"p1'), r"line 2: .*close each quote"),
        (PLAIN.replace("value", "Lon"), r"two columns say 'lon': 'lon', 'Lon'"),
        ("", "has no header and no row"),
        ("# nothing\n\n", "has no header and no row"),
        (b"PK\x03\x04....", "a spreadsheet .* save the sheet as CSV"),
        (b"\x1f\x8b....", "compressed .* unpack it"),
        (PLAIN.encode("utf-16-le"), "zero bytes"),
        (PLAIN.encode() + b"\x81\x8d", "neither UTF-8 nor Windows-1252"),
        ("sep=!\n" + PLAIN, "separated by '!'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_three_figures_after_a_comma_are_decimals_where_commas_separate_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="canopyflow"):
        table = read(tmp_path, "plot_id;value\na;1,234\nb;2\n")
    assert table["value"].tolist() == ["1.234", "2"]
    assert "decimal commas, such as value '1,234' in row 2" in caplog.text
