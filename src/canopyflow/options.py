"""Options that are tables, {name: value}: what may stand behind each name.

A class lists them in ``TABLES``: option → kind of its values → names. It is a literal, so that a campaign is
held to it from the source text, before anything runs; the class holds what it is built with to it too.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from canopyflow.errors import ConfigError
from canopyflow.registry import nearest

LONGEST = 60
"""Characters of a wrong value that are shown."""

VARIABLES = "*"
"""Stands, among the names of a table, for every variable of the pixel model."""

Table = Mapping[str, Sequence[str]]
"""Names by the kind of their values, one of :data:`KINDS`."""


@dataclass(frozen=True)
class Kind:
    """Numbers from ``least`` to ``most``, or ranges of them; ``beyond``: ``least`` itself is too little."""

    wanted: str
    least: float = -sys.float_info.max
    most: float = sys.float_info.max
    beyond: bool = False
    is_range: bool = False

    def fits(self, value: Any) -> bool:
        """Whether ``value`` is of this kind."""
        if self.is_range and not (isinstance(value, list | tuple) and len(value) == 2):
            return False
        low, high = value if self.is_range else (value, value)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
            return False
        enough = low > self.least if self.beyond else low >= self.least
        return bool(enough and low <= high <= self.most)


_RANGE = "two numbers, the least and the largest"

KINDS: dict[str, Kind] = {
    "share": Kind("a number from 0 to 1", 0.0, 1.0),
    "positive": Kind("a number above 0", 0.0, beyond=True),
    "range": Kind(_RANGE, is_range=True),
    "range from 0": Kind(f"{_RANGE}, at least 0", 0.0, is_range=True),
    "positive range": Kind(f"{_RANGE}, above 0", 0.0, beyond=True, is_range=True),
}


def table_mistakes(
    table: Table, given: Any, variables: Iterable[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Name and what is wrong of each value that ``given`` cannot have; the name is empty for what is no
    table. None is an empty one. ``variables`` of the pixel model; where they are not known, a table of them
    may have any name."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield "", must_be("a table {name: value}", given)
        return
    kinds = {name: kind for kind, names in table.items() for name in names}
    of_all = kinds.pop(VARIABLES, None)
    if of_all is not None:
        kinds |= dict.fromkeys(given if variables is None else variables, of_all)
    for name, value in given.items():
        if name not in kinds:
            yield str(name), f"unknown name; {nearest(name, kinds)}"
        elif not KINDS[kinds[name]].fits(value):
            yield str(name), must_be(KINDS[kinds[name]].wanted, value)


def check_tables(
    what: str, tables: Mapping[str, Table], given: Mapping[str, Any], variables: Iterable[str] | None = None
) -> None:
    """Raise ConfigError for the first mistake in the options ``given`` to ``what``."""
    for option, values in given.items():
        for name, text in table_mistakes(tables[option], values, variables):
            raise ConfigError(f"{what}: {option}{'.' if name else ''}{name}: {text}")


def must_be(wanted: str, value: Any) -> str:
    """What to say of a wrong ``value``."""
    return f"must be {wanted} (got {shown(value)}){_meant(value)}"


def shown(value: Any) -> str:
    """A wrong value as the file has it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _meant(value: Any) -> str:
    """What to write instead of a number that YAML takes for text, such as 1e-3."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f"; YAML takes this for text: write {float(value)!r}"
    return ""
