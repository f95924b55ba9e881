"""Days as people write them: one day, or a refusal that says what it is."""

import pandas as pd
import pytest

from canopyflow.errors import DataError
from canopyflow.evaluation.plot_dates import read_dates


def read(*text):
    cells = pd.Series(text, index=range(2, 2 + len(text)), dtype=object)
    return [str(each) for each in read_dates(cells, lambda row: f"row {row}")]


@pytest.mark.parametrize(
    "text",
    [
        "2021-04-13", "20210413", "2021-4-13", "2021/04/13", "13.04.2021", "13. 4. 2021", "2021-103",
        "2021-W15-2", "2021-04-13T00:00:00", "2021-04-13 00:00", "2021-04-13T00:00:00Z", "20210413T000000Z",
        "2021-04-13T02:00+02:00", "2021-04-12T22:00:00.000-02", "2021-04-13 00:00:00 UTC", "13.04.2021 00:00",
    ],
)  # fmt: skip
def test_one_day_in_many_spellings(text):
    assert read(text) == ["2021-04-13 00:00:00"]


def test_the_first_number_is_the_day_where_the_column_shows_it():
    assert read("04/05/2021", "13/05/2021") == ["2021-05-04 00:00:00", "2021-05-13 00:00:00"]
    assert read("04-05-2021", "05-13-2021") == ["2021-04-05 00:00:00", "2021-05-13 00:00:00"]
    assert read("04.05.2021") == ["2021-05-04 00:00:00"]
    with pytest.raises(DataError, match="row 2: date '04/05/2021' may have the day or the month first"):
        read("04/05/2021", "05/05/2021")
    with pytest.raises(
        DataError, match="row 3: date '13/05/2021' has the day first, and '05/13/2021' of row 2"
    ):
        read("05/13/2021", "13/05/2021")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2021-05", "is a month and not a day"),
        ("05/2021", "is a month"),
        ("2021", "is a year"),
        ("2021-W15", "is a week"),
        ("2021-Q2", "is a quarter"),
        ("today", "is another day each time it is read"),
        ("Now", "is another day"),
        ("44299", r"spreadsheet's day number \(of 2021-04-13, if it counts from 1900\).*before it is saved"),
        ("44299.5", "spreadsheet's day number"),
        ("1618272000", "seconds since 1970"),
        ("2021-04-13/2021-04-20", "is a period .* give each visit its row"),
        ("13.04.21", "year of two digits"),
        ("2021-04-13 10:30 CEST", "time zone by name.* hours from UTC"),
        ("2021-04-31", "is no day of the calendar"),
        ("2021-13-01", "is no day of the calendar"),
        ("2021-04-13T25:00", "is no day of the calendar"),
        ("2021-W54-1", "is no day of the calendar"),
        ("2201-04-13", "is of the year 2201"),
        ("2021-366", "is not a date"),
        ("13 April 2021", "is not a date .* YYYY-MM-DD"),
        ("", "is empty"),
    ],
)
def test_what_is_no_day_is_refused_by_name(text, message):
    with pytest.raises(DataError, match=rf"row 3: date '.*' .*{message}"):
        read("2021-04-13", text)


def test_all_rows_of_one_fault_are_counted_and_none_are_read():
    with pytest.raises(DataError, match=r"row 2: .*and 2 more rows"):
        read("2021", "2021", "2021-04-13", "2021")
    assert read() == []
