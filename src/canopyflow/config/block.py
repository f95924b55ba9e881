"""What all blocks of the campaign file share: their base class, and types of values."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from canopyflow.errors import ConfigError
from canopyflow.options import LONGEST, must_be, shown, table_mistakes
from canopyflow.registry import Registry, nearest
from canopyflow.vocabulary import BANDS, DERIVED, NAMES, PLATFORMS, STATISTICS


class Block(BaseModel):
    """A part of the campaign file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """`epochs: yes` is no number, though Python counts with it."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        for number, each in enumerate(value) if isinstance(value, list | tuple) else [("", value)]:
            if isinstance(each, bool) and (_holds(annotation, int) or _holds(annotation, float)):
                raise Mistake(str(number), f"a number is wanted (got {str(each).lower()})")
        return value


def _holds(annotation: Any, kind: type) -> bool:
    """Whether a type, or what it is made of, is ``kind``."""
    return annotation is kind or any(_holds(inner, kind) for inner in get_args(annotation))


class Mistake(ValueError):
    """A mistake at ``key``, the dotted path of a key below the block whose validator found it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class Mistakes(ValueError):
    """Mistakes between blocks, each with the top-level keys that its check has read."""

    def __init__(self, found: Iterable[tuple[Mistake, tuple[str, ...]]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(f"{mistake.key}: {mistake}" for mistake, _ in self.found))


Check = Callable[[Any], Iterator[Mistake]]


def check(*reads: str) -> Callable[[Check], Check]:
    """Marks a method of a :class:`Checked` that yields mistakes between blocks; it looks at keys ``reads``.

    What it finds is not said of a file in which one of these keys is wrong itself.
    """

    def marked(method: Check) -> Check:
        method.reads = reads  # type: ignore[attr-defined]
        return method

    return marked


class Checked(Block):
    """A block that says all mistakes that its checks find, and not the first alone."""

    @model_validator(mode="after")
    def _all_checks(self) -> Self:
        methods = [member for member in vars(type(self)).values() if hasattr(member, "reads")]
        found = [(mistake, method.reads) for method in methods for mistake in method(self)]
        if found:
            raise Mistakes(found)
        return self


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation of a string: it is one of ``names`` or of those ``beside`` them.

    A tuple of names is listed in the JSON schema. A registry is not: other packages add entries to it.
    """

    what: str
    names: Collection[str]
    beside: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        listed = {"enum": [*self.beside, *self.names]} if isinstance(self.names, tuple) else {}
        return {**handler(schema), **listed}

    def check(self, name: str) -> str:
        """``name`` itself. Raises ValueError with the nearest name for any other."""
        if name not in self.names and name not in self.beside:
            known = [*self.beside, *self.names]
            raise ValueError(f"unknown {self.what} {shown(name)}; {nearest(name, known)}")
        return name


def check_options(registry: Registry, name: str, options: Mapping[str, Any], key: str = "") -> None:
    """Raises the first of :func:`option_mistakes`, if there is any."""
    for mistake in option_mistakes(registry, name, options, key):
        raise mistake


def option_mistakes(
    registry: Registry, name: str, options: Mapping[str, Any], key: str = ""
) -> Iterator[Mistake]:
    """A Mistake, at ``key`` + option, for each option that ``name`` lacks or whose value it cannot take.

    A value is of the kind of the option's default: true or false, a whole number, a number, a list. Whole
    numbers are sizes and counts: at least 1, unless the option is 0 if nothing is said. Numbers are weights,
    at least 0, or the shares that the entry's class lists as ``SHARES``, less than 1. What it lists as
    ``TABLES`` are tables, see :mod:`canopyflow.options`.
    """
    known = registry.options(name)
    shares, tables = registry.setting(name, "SHARES", ()), registry.setting(name, "TABLES", {})
    for option, value in options.items():
        try:
            registry.check(name, [option])
        except ConfigError as error:
            yield Mistake(f"{key}{option}", str(error))
            continue
        if option in tables:
            for inner, text in table_mistakes(tables[option], value):
                yield Mistake(f"{key}{option}{'.' if inner else ''}{inner}", text)
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        match known[option]:
            case bool():
                fits, wanted = isinstance(value, bool), "true or false"
            case int():
                least = min(1, known[option])
                fits = is_number and isinstance(value, int) and value >= least
                wanted = f"a whole number of at least {least}"
            case float() if option in shares:
                fits, wanted = is_number and value < 1, "a number of at least 0 and less than 1"
            case float():
                fits, wanted = is_number, "a number of at least 0"
            case tuple() | list():
                fits, wanted = isinstance(value, tuple | list), "a list"
            case _:
                fits, wanted = True, ""
        if not fits:
            yield Mistake(f"{key}{option}", must_be(wanted, value))


def _day(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.time() != time():
            raise ValueError(f"a day is wanted, YYYY-MM-DD, without a time (got {value})")
        return value.date()
    if isinstance(value, date):
        return value
    text = str(value)
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}", text.strip()):
        raise ValueError(f"a whole day is wanted, YYYY-MM-DD such as 2021-03-01 (got {text[:LONGEST]})")
    try:
        return date(*map(int, text.split("-")))
    except ValueError:
        raise ValueError(f"the calendar has no day {text}") from None


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"{shown(twice[0])} is named twice")
    return values


def _from_environment(value: str) -> str:
    for name in re.findall(r"\$\{(\w+)\}", value):
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name} is not set; set it first")
    return os.path.expandvars(value)


Distinct = AfterValidator(_distinct)
"""Annotation of a tuple in which nothing may be named twice."""

Place = Annotated[str, AfterValidator(_from_environment)]
"""A path or address; ${NAME} is read from the environment."""

Day = Annotated[date, BeforeValidator(_day)]
"""A day, YYYY-MM-DD; neither a moment, nor a number that would be counted from 1970."""

Band = Annotated[str, OneOf("band", BANDS)]
Platform = Annotated[str, OneOf("satellite", PLATFORMS)]
Output = Annotated[str, OneOf("variable", (*NAMES, *(derived.name for derived in DERIVED)))]
Statistic = Annotated[str, OneOf("statistic", STATISTICS)]
Device = Literal["auto", "cpu", "cuda"]
Share = Annotated[float, Field(ge=0, le=1)]
