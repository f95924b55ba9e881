"""What pydantic finds wrong in a campaign, in words of its file: what is there, and what is wanted."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from canopyflow.config.block import Mistake, Mistakes
from canopyflow.config.campaign import Campaign
from canopyflow.config.documents import Place
from canopyflow.options import shown
from canopyflow.registry import nearest

PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, _ and - only, the first a letter or a digit",
}


@dataclass(frozen=True)
class Told:
    """A mistake: where, and what is wrong; ``reads`` are the top-level keys that were compared, if any."""

    place: Place
    text: str
    reads: tuple[str, ...] = ()
    is_missing: bool = False


def explain(error: ValidationError, values: Mapping[str, Any]) -> list[Told]:
    """The mistakes of ``values`` in plain words, in the order in which they were found."""
    found = [told for each in error.errors() for told in _told(each, values)]
    # A tuple whose only item is wrong is also said to be too short: the wrong item is enough.
    outer = {told.place[:n] for told in found if not told.reads for n in range(len(told.place))}
    kept = [told for told in found if told.reads or told.place not in outer]
    return list(dict.fromkeys(kept))


def _told(error: ErrorDetails, values: Mapping[str, Any]) -> Iterator[Told]:
    kind, cause = error["type"], error.get("ctx", {}).get("error")
    place: Place = tuple(part for part in error["loc"] if part != "[key]")
    if isinstance(cause, Mistakes):
        for mistake, reads in cause.found:
            yield Told(_place(mistake.key), str(mistake), reads)
    elif isinstance(cause, Mistake):
        yield Told((*place, *_place(cause.key)), str(cause))
    elif kind == "missing" and isinstance(place[-1], int):
        # Of a list of fixed length; the last that is missing says how long it must be.
        missing = [len(_keys_at(values, place[:-1])), place[-1] + 1]
        wanted = _length(place[:-1]) or missing[1]
        yield Told(place[:-1], f"{wanted} values are wanted, and {missing[0]} given")
    else:
        yield Told(place, WORDS.get(kind, _other)(error), is_missing=kind == "missing")


def _place(key: str) -> Place:
    """The parts of a dotted path; those that are numbers of list items as numbers."""
    parts = key.split(".") if key else []
    return tuple(int(part) if re.fullmatch(r"0|[1-9]\d*", part) else part for part in parts)


def _got(value: Any) -> str:
    return f"(got {shown(value)})"


def _wants(what: str) -> Callable[[ErrorDetails], str]:
    def words(error: ErrorDetails) -> str:
        value = error["input"]
        if value is None:
            return f"{what} is wanted, and nothing stands behind the key"
        if isinstance(value, list | tuple | Mapping):
            kind = "a block of keys" if isinstance(value, Mapping) else "a list"
            return f"{what} is wanted, and this is {kind} {_got(value)}"
        return f"{what} is wanted {_got(value)}"

    return words


def _compared(words: str, limit: str) -> Callable[[ErrorDetails], str]:
    def told(error: ErrorDetails) -> str:
        return f"must be {words} {error['ctx'][limit]:g} {_got(error['input'])}"

    return told


def _text(error: ErrorDetails) -> str:
    value = error["input"]
    if isinstance(value, bool):
        return f"text is wanted, and this is read as {str(value).lower()}: put it in quotes"
    if isinstance(value, int | float | date):
        kind = "a date" if isinstance(value, date) else "a number"
        return f"text is wanted, and {shown(value)} is read as {kind}: put it in quotes"
    return _wants("text")(error)


def _unknown_key(error: ErrorDetails) -> str:
    *above, name = error["loc"]
    known = _keys_of(tuple(above))
    elsewhere = sorted(dotted for dotted in _all_keys() if dotted.rpartition(".")[2] == name)
    if elsewhere:
        return f"unknown key here; there is {' and '.join(elsewhere[:3])}"
    return f"unknown key; {nearest(name, known)}"


def _unknown_value(error: ErrorDetails) -> str:
    value, choices = error["input"], re.findall(r"'([^']+)'", error["ctx"]["expected"])
    if isinstance(value, bool):
        return f"this is read as {str(value).lower()}; a word is wanted, one of {', '.join(choices)}"
    return f"unknown value {shown(value)}; {nearest(value, choices)}"


def _pattern(error: ErrorDetails) -> str:
    wanted = PATTERNS.get(error["ctx"]["pattern"], f"text like {error['ctx']['pattern']}")
    return f"use {wanted} {_got(error['input'])}"


def _multiple(error: ErrorDetails) -> str:
    step = error["ctx"]["multiple_of"]
    return f"{'a whole number' if step == 1 else f'a multiple of {step:g}'} is wanted {_got(error['input'])}"


def _few(error: ErrorDetails) -> str:
    least, there = error["ctx"]["min_length"], error["ctx"]["actual_length"]
    return f"at least {least} {'is' if least == 1 else 'are'} wanted, and {there} given"


def _many(error: ErrorDetails) -> str:
    most, there = error["ctx"]["max_length"], error["ctx"]["actual_length"]
    return f"{most} {'value is' if most == 1 else 'values are'} wanted, and {there or 'more'} given"


def _own(error: ErrorDetails) -> str:
    text = error["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _other(error: ErrorDetails) -> str:
    """A kind of mistake that no campaign could make when this was written."""
    text = error["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    return f"{text[:1].lower()}{text[1:]} {_got(error['input'])}"


BLOCK = _wants("a block of keys, each with its value,")
WHOLE, NUMBER, TRUTH, LIST = map(_wants, ("a whole number", "a number", "true or false", "a list"))
WORDS: dict[str, Callable[[ErrorDetails], str]] = {
    "bool_parsing": TRUTH,
    "bool_type": TRUTH,
    "dict_type": BLOCK,
    "extra_forbidden": _unknown_key,
    "finite_number": _wants("a finite number"),
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "greater_than": _compared("more than", "gt"),
    "greater_than_equal": _compared("at least", "ge"),
    "int_from_float": WHOLE,
    "int_parsing": WHOLE,
    "int_parsing_size": WHOLE,
    "int_type": WHOLE,
    "less_than": _compared("less than", "lt"),
    "less_than_equal": _compared("at most", "le"),
    "literal_error": _unknown_value,
    "missing": lambda _: "this key is required and missing",
    "model_type": BLOCK,
    "multiple_of": _multiple,
    "string_pattern_mismatch": _pattern,
    "string_type": _text,
    "too_long": _many,
    "too_short": _few,
    "tuple_type": LIST,
    "value_error": _own,
}
"""All kinds of errors that a campaign's model can raise; a test makes each of them."""


def _keys_at(values: Any, place: Place) -> Any:
    """The value at a place; an empty tuple if it has no length."""
    for part in place:
        values = values[part]
    return values if isinstance(values, list | tuple) else ()


def _annotation(place: Place) -> Any:
    """The type of what stands at a place of a campaign; Campaign's own for none."""
    at: Any = Campaign
    for part in place:
        block = _block(at)
        if block is not None and part in block.model_fields:
            at = block.model_fields[str(part)].annotation
            continue
        # An index, or the name of a model or a site, stands between a key and what is in it.
        inner = [each for each in get_args(at) if each not in (str, type(None), Ellipsis)]
        at = inner[0] if inner else None
    return at


def _block(annotation: Any) -> type[BaseModel] | None:
    """The block in a type such as `Block | None`; not one in a list or behind names."""
    each = (annotation, *get_args(annotation))
    of_many = getattr(annotation, "__origin__", None) in (tuple, dict)
    blocks = [a for a in each if isinstance(a, type) and issubclass(a, BaseModel)]
    return blocks[0] if blocks and not of_many else None


def _length(place: Place) -> int:
    """How many values a list of fixed length has; 0 for other things."""
    at = _annotation(place)
    for each in (at, *get_args(at)):
        items = get_args(each)
        if getattr(each, "__origin__", None) is tuple and Ellipsis not in items:
            return len(items)
    return 0


def _keys_of(place: Place) -> list[str]:
    block = _block(_annotation(place))
    return list(block.model_fields) if block is not None else []


def _all_keys(block: type[BaseModel] = Campaign, prefix: str = "") -> Iterator[str]:
    """Dotted paths of the keys of all blocks, without lists and names."""
    for name, field in block.model_fields.items():
        yield f"{prefix}{name}"
        inner = _block(field.annotation)
        if inner is not None:
            yield from _all_keys(inner, f"{prefix}{name}.")
