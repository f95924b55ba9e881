"""Days of field visits as people write them: read where they say one day, refused by name where they do not.

A month is no day: matched with an image of its first, a plot of its last is compared with another canopy.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd

from canopyflow.errors import DataError

WRITE = "write dates as YYYY-MM-DD"

_CLOCK = r"(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)"
_ZONE = r"(?: ?(?:Z|UTC|[+-]\d{2}(?::?\d{2})?))?"
_ISO = re.compile(rf"(\d{{4}})[-/](\d{{1,2}})[-/](\d{{1,2}})({_CLOCK}{_ZONE})?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})?(Z)?)?")
_DOTTED = re.compile(rf"(\d{{1,2}})\. ?(\d{{1,2}})\. ?(\d{{4}})({_CLOCK})?")
_SLASHED = re.compile(rf"(\d{{1,2}})[/-](\d{{1,2}})[/-](\d{{4}})({_CLOCK})?")
_ORDINAL = re.compile(r"(\d{4})-(\d{3})")
_WEEKDAY = re.compile(r"(\d{4})-?W(\d{2})-?([1-7])")

_EXCEL = (20_000, 80_000)
"""Day numbers of spreadsheets from 1954 to 2119."""
_EXCEL_ZERO = date(1899, 12, 30)
_YEARS = (1950, 2100)

_PARTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{4}"), "is a month and not a day", WRITE),
    (re.compile(r"\d{4}"), "is a year and not a day", WRITE),
    (re.compile(r"\d{4}-?[Ww]\d{1,2}"), "is a week and not a day", WRITE),
    (re.compile(r"\d{4}-?[Qq]\d"), "is a quarter and not a day", WRITE),
    (
        re.compile(r"today|now|yesterday|tomorrow|heute|gestern|aujourd'hui|hier|oggi|hoy|ieri|ayer", re.I),
        "is another day each time it is read",
        WRITE,
    ),
    (re.compile(r"\d{10}(?:\d{3})?(?:\.\d*)?"), "looks like seconds since 1970", WRITE),
    (
        re.compile(r"\d{4}-\d{1,2}-\d{1,2} ?(?:/|–|to|\.\.) ?\d.*"),
        "is a period and not a day",
        "give each visit its row and its day, as YYYY-MM-DD",
    ),
    (re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2}"), "has a year of two digits", WRITE),
    (
        re.compile(rf"\d{{4}}-\d{{1,2}}-\d{{1,2}}{_CLOCK} ?[A-Za-z/_]+"),
        "is of a time zone by name, which means different hours at different places",
        "write the hours from UTC, as 2021-04-13T10:30+02:00, or the day alone",
    ),
)


def read_dates(cells: pd.Series, where: Callable[[int], str]) -> pd.Series:
    """Days and times (datetime64[ns], UTC, without a zone) of cells of text.

    Read are ISO 8601 days, times (with hours from UTC or none, which is UTC), days of a year and of a week,
    ``2021/04/13``, and ``13.04.2021``, whose day comes first. ``13/04/2021`` is read where the column shows
    by a number above 12 which one is the day. ``where``: from a row to the words that name it in a message.

    Raises DataError for anything else, naming the first row, what it looks like and what to write.
    """
    cells = cells.str.strip()
    day_first = _order(cells, where)
    read: dict[str, pd.Timestamp] = {}
    for row, text in zip(cells.index, cells, strict=True):
        if text not in read:
            try:
                read[text] = _moment(text, day_first)
            except _NoDate as error:
                count = int((cells == text).sum())
                more = f" (and {count - 1} more rows)" if count > 1 else ""
                raise DataError(f"{where(row)}: date {text!r} {error.problem}{more}", error.remedy) from None
    found = pd.Series([read[text] for text in cells], index=cells.index, dtype="datetime64[ns]")
    return found


class _NoDate(Exception):
    def __init__(self, problem: str, remedy: str = WRITE) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _order(cells: pd.Series, where: Callable[[int], str]) -> bool | None:
    """Whether the day comes first in dates with slashes; None if there are none or nothing shows it.

    Raises DataError for a column that has both orders.
    """
    day = month = None
    for row, text in zip(cells.index, cells, strict=True):
        found = _SLASHED.fullmatch(text)
        if found and int(found[1]) > 12:
            day = row if day is None else day
        elif found and int(found[2]) > 12:
            month = row if month is None else month
    if day is not None and month is not None:
        raise DataError(
            f"{where(day)}: date {cells[day]!r} has the day first, and {cells[month]!r} of row {month} "
            "the month",
            WRITE,
        )
    return None if day is None and month is None else day is not None


def _moment(text: str, day_first: bool | None) -> pd.Timestamp:
    if found := _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
        year, month, day = (int(found[i]) for i in (1, 2, 3))
        rest = found[4] or ""
        if found.re is _COMPACT and rest:
            rest = f"T{rest}:{found[5]}:{found[6] or '00'}{found[7] or ''}"
        return _checked(year, month, day, rest)
    if found := _DOTTED.fullmatch(text):
        return _checked(int(found[3]), int(found[2]), int(found[1]), found[4] or "")
    if found := _SLASHED.fullmatch(text):
        if day_first is None:
            raise _NoDate("may have the day or the month first")
        first, second = int(found[1]), int(found[2])
        day, month = (first, second) if day_first else (second, first)
        return _checked(int(found[3]), month, day, found[4] or "")
    try:
        if found := _ORDINAL.fullmatch(text):
            day_of_year = date(int(found[1]), 1, 1) + timedelta(int(found[2]) - 1)
            if day_of_year.year == int(found[1]):
                return _in_reach(pd.Timestamp(day_of_year))
        if found := _WEEKDAY.fullmatch(text):
            return _in_reach(pd.Timestamp(date.fromisocalendar(*(int(found[i]) for i in (1, 2, 3)))))
    except ValueError:
        raise _NoDate("is no day of the calendar") from None
    raise _refusal(text)


def _checked(year: int, month: int, day: int, rest: str) -> pd.Timestamp:
    """A day of the calendar with its time of day."""
    try:
        start = pd.Timestamp(date(year, month, day))
        if not rest:
            return _in_reach(start)
        clock = rest.replace(",", ".").replace("UTC", "Z").strip()
        moment = pd.Timestamp(f"{year:04d}-{month:02d}-{day:02d}T{clock.lstrip('T').replace(' ', '')}")
    except ValueError:
        raise _NoDate("is no day of the calendar") from None
    return _in_reach(moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None))


def _in_reach(moment: pd.Timestamp) -> pd.Timestamp:
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise _NoDate(f"is of the year {moment.year}", "correct the year")
    return moment


def _refusal(text: str) -> _NoDate:
    for pattern, problem, remedy in _PARTS:
        if pattern.fullmatch(text):
            return _NoDate(problem, remedy)
    if re.fullmatch(r"\d{5}(?:\.\d*)?", text) and _EXCEL[0] <= float(text) <= _EXCEL[1]:
        meant = _EXCEL_ZERO + timedelta(int(float(text)))
        return _NoDate(
            f"looks like a spreadsheet's day number (of {meant}, if it counts from 1900)",
            "give the column the format YYYY-MM-DD before it is saved",
        )
    return _NoDate("is not a date" if text else "is empty: a plot without a day cannot be matched")
