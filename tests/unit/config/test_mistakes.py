"""Every kind of error that a campaign's model can raise is told in plain words."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from canopyflow.config import Campaign
from canopyflow.config.files import DEMO
from canopyflow.config.mistakes import WORDS, explain

ECHO = re.compile(
    r"input should|field required|valid (string|integer|number|boolean|tuple|dict)", re.IGNORECASE
)
WRONG = [None, True, "many", -1, 2.5, float("inf"), [], ["x"], {"x": 1}, "1" * 5000]

KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "bool_parsing": (
        {"masking": {"spectral_test": "x"}},
        "masking.spectral_test: true or false is wanted (got 'x')",
    ),
    "bool_type": (
        {"masking": {"spectral_test": [1]}},
        "masking.spectral_test: true or false is wanted, and this is a list (got [1])",
    ),
    "dict_type": (
        {"family_options": ["nsf"]},
        "family_options: a block of keys, each with its value, is wanted, and this is a list (got ['nsf'])",
    ),
    "extra_forbidden": ({"grids": 1}, "grids: unknown key; did you mean 'grid'? known: "),
    "finite_number": (
        {"evaluation": {"max_days": float("inf")}},
        "evaluation.max_days: a finite number is wanted",
    ),
    "float_parsing": ({"evaluation": {"max_days": "x"}}, "evaluation.max_days: a number is wanted (got 'x')"),
    "float_type": (
        {"evaluation": {"max_days": None}},
        "evaluation.max_days: a number is wanted, and nothing stands behind the key",
    ),
    "greater_than": ({"training": {"clip_norm": 0}}, "training.clip_norm: must be more than 0 (got 0)"),
    "greater_than_equal": ({"seed": -1}, "seed: must be at least 0 (got -1)"),
    "int_from_float": ({"seed": 0.5}, "seed: a whole number is wanted (got 0.5)"),
    "int_parsing": ({"seed": "x"}, "seed: a whole number is wanted (got 'x')"),
    "int_parsing_size": ({"seed": "1" * 5000}, "seed: a whole number is wanted (got '1111"),
    "int_type": ({"seed": [1]}, "seed: a whole number is wanted, and this is a list (got [1])"),
    "less_than": ({"training": {"seeds": [1000]}}, "training.seeds.0: must be less than 1000 (got 1000)"),
    "less_than_equal": ({"patches": {"min_valid": 25}}, "patches.min_valid: must be at most 1 (got 25)"),
    "literal_error": (
        {"physics": {"prior": "fields"}},
        "physics.prior: unknown value 'fields'; did you mean 'field'?",
    ),
    "missing": ({"archive": {}}, "archive.catalog: this key is required and missing"),
    "model_type": (
        {"grid": None},
        "grid: a block of keys, each with its value, is wanted, and nothing stands behind the key",
    ),
    "multiple_of": ({"grid": {"resolution": 12.5}}, "grid.resolution: a whole number is wanted (got 12.5)"),
    "string_pattern_mismatch": (
        {"campaign": "my region"},
        "campaign: use letters, digits, _ and - only, the first a letter or a digit (got 'my region')",
    ),
    "string_type": (
        {"campaign": 2021},
        "campaign: text is wanted, and 2021 is read as a number: put it in quotes",
    ),
    "too_long": ({"area": {"bbox": [1, 43, 2, 44, 5]}}, "area.bbox: 4 values are wanted, and 5 given"),
    "too_short": ({"grid": {"bands": ["B02"]}}, "grid.bands: at least 3 are wanted, and 1 given"),
    "tuple_type": ({"families": "nsf"}, "families: a list is wanted (got 'nsf')"),
    "value_error": (
        {"patches": {"fractions": [0.5, 0.5, 0.5]}},
        "patches.fractions: the three shares add up to 1.5, not 1",
    ),
}


def found(changes: dict[str, Any]) -> tuple[set[str], list[str]]:
    """Kinds of the errors of a campaign with these changes, and what is said of them."""
    values = {**DEMO, **changes}
    try:
        Campaign.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, told.place))}: {told.text}" for told in explain(error, values)]
        return {each["type"] for each in error.errors()}, lines
    return set(), []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_error_has_its_words(kind):
    changes, line = KINDS[kind]
    kinds, (told,) = found(changes)
    assert kind in kinds
    assert told.startswith(line)


def test_each_kind_that_has_words_is_shown():
    assert KINDS.keys() == WORDS.keys()


def paths(block: type[BaseModel] = Campaign, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of every block; of lists and names of blocks the first."""
    for name, field in block.model_fields.items():
        yield (*inside, name)
        parts = (field.annotation, *get_args(field.annotation))
        for part in (p for p in parts if isinstance(p, type) and issubclass(p, BaseModel)):
            origin = getattr(field.annotation, "__origin__", None)
            step = ("[]",) if origin is tuple else ("{}",) if origin is dict else ()
            yield from paths(part, (*inside, name, *step))


def nested(path: tuple[str, ...], value: Any) -> Any:
    """Blocks around a value."""
    for part in reversed(path):
        value = [value] if part == "[]" else {"a": value} if part == "{}" else {part: value}
    return value


@pytest.mark.parametrize("path", list(paths()), ids=".".join)
def test_whatever_stands_behind_a_key_is_taken_or_refused_in_plain_words(path):
    for value in WRONG:
        kinds, lines = found(nested(path, value))
        assert bool(kinds) == bool(lines), (value, lines)
        assert kinds <= WORDS.keys(), (value, kinds)
        for line in lines:
            assert not ECHO.search(line), line
            assert re.match(rf"({path[0]}|{'|'.join(Campaign.model_fields)})[.:]", line), line
            assert len(line) < 600, line


def test_a_kind_that_is_new_to_us_is_told_by_what_pydantic_says():
    class Block(BaseModel):
        when: bytes

    with pytest.raises(ValidationError) as caught:
        Block.model_validate({"when": 3})
    (told,) = explain(caught.value, {"when": 3})
    assert told.text == "a valid bytes (got 3)"
