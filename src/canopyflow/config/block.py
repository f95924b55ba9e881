"""What all blocks of the campaign file share: their base class, and types of values."""

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from canopyflow.errors import ConfigError
from canopyflow.registry import Registry, nearest
from canopyflow.vocabulary import BANDS, DERIVED, NAMES, PLATFORMS, STATISTICS


class Block(BaseModel):
    """A part of the campaign file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Mistake(ValueError):
    """A mistake at ``key``, the dotted path of a key below the block whose validator found it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


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
            raise ValueError(f"unknown {self.what} {name!r}; {nearest(name, known)}")
        return name


def check_options(registry: Registry, name: str, options: Mapping[str, Any], key: str = "") -> None:
    """Raises Mistake, at ``key`` + option, for an option that ``name`` lacks or a value it cannot take.

    A value is of the kind of the option's default: true or false, a whole number, a number, a list. Whole
    numbers are sizes and counts: at least 1, unless the option is 0 if nothing is said. Numbers are weights,
    at least 0, or the shares that the entry's class lists as ``SHARES``, less than 1.
    """
    known = registry.options(name)
    shares = registry.setting(name, "SHARES", ())
    for option, value in options.items():
        try:
            registry.check(name, [option])
        except ConfigError as error:
            raise Mistake(f"{key}{option}", str(error)) from None
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
            raise Mistake(f"{key}{option}", f"must be {wanted} (got {value!r})")


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice")
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

Band = Annotated[str, OneOf("band", BANDS)]
Platform = Annotated[str, OneOf("satellite", PLATFORMS)]
Output = Annotated[str, OneOf("variable", (*NAMES, *(derived.name for derived in DERIVED)))]
Statistic = Annotated[str, OneOf("statistic", STATISTICS)]
Device = Literal["auto", "cpu", "cuda"]
Share = Annotated[float, Field(ge=0, le=1)]
