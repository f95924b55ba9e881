"""From a YAML file to a campaign, or to one line per mistake."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from canopyflow.config.campaign import Campaign
from canopyflow.config.documents import Document, Problem, read_document
from canopyflow.config.mistakes import Told, explain
from canopyflow.errors import ConfigError

STAND_INS: dict[str, Any] = {
    "campaign": "any",
    "area": {"mgrs_tiles": ["31TCJ"]},
    "period": {"start": "2021-01-01", "end": "2021-12-31"},
    "archive": {"catalog": "demo"},
}
"""For keys that are required and wrong, so that all others can be held against each other."""


def read_campaign(path: Path) -> Campaign:
    """The campaign in a YAML file.

    Raises ConfigError if the file is not there, is no YAML or is no campaign; with one line for each mistake,
    which opens with file, line and path of the key.
    """
    document = read_document(path)
    return load_campaign(document.values, [document])


def documents_of(paths: Iterable[Path]) -> list[Document]:
    """Those of Snakemake's configuration files that are about the campaign, read strictly.

    A workflow that uses ours as a module may have files with a campaign as one of several blocks, or none:
    these are its own.

    Raises ConfigError as :func:`read_campaign` for a file that cannot be read.
    """
    found = [read_document(path) for path in paths]
    return [
        each
        for each in found
        if "campaign" in each.values or each.values.keys() <= Campaign.model_fields.keys()
    ]


def load_campaign(values: Mapping[str, Any], documents: Sequence[Document] = ()) -> Campaign:
    """The campaign of a parsed YAML mapping.

    Args:
        values: the mapping.
        documents: the files that it comes from, as they were read strictly; a later one has the last word.

    Raises ConfigError with one line per mistake, those of the documents included. Each opens with the path of
    the key, behind file and line where they are known.
    """
    problems = [(document, problem) for document in documents for problem in document.problems]
    wrong = {problem.place for _, problem in problems}
    found, campaign = _validated(values, {str(place[0]) for place in wrong if place})
    placed = [_placed(told, values, documents) for told in found if told.place not in wrong]
    if problems or placed or campaign is None:
        names = [document.name for document in documents]
        ordered = sorted((*problems, *placed), key=lambda each: _order(each[0], each[1], names))
        lines = [_line(document, problem) for document, problem in ordered]
        raise ConfigError("\n".join(dict.fromkeys(lines)))
    return campaign


def _validated(values: Mapping[str, Any], spoiled: set[str]) -> tuple[list[Told], Campaign | None]:
    """All mistakes, or the campaign; ``spoiled`` are top-level keys that were not read as they were meant."""
    try:
        return [], Campaign.model_validate(dict(values))
    except ValidationError as error:
        found = explain(error, values)
    if any(not told.reads for told in found):
        # Pydantic compares blocks only if each is right in itself: so without those that are not.
        spoiled = spoiled | {str(told.place[0]) for told in found if told.place}
        rest = {key: value for key, value in values.items() if key not in spoiled}
        rest |= {key: value for key, value in STAND_INS.items() if key not in rest}
        try:
            Campaign.model_validate(rest)
        except ValidationError as error:
            found += [told for told in explain(error, rest) if told.reads]
    return [told for told in found if not spoiled.intersection(told.reads)], None


def _placed(
    told: Told, values: Mapping[str, Any], documents: Sequence[Document]
) -> tuple[Document | None, Problem]:
    """A mistake with the last file that says what is wrong, and the line there."""
    for document in reversed(documents):
        line = document.line_of(told.place)
        known = told.place[:1] and told.place[0] in document.values
        if known and _at(document.values, told.place) == _at(values, told.place):
            return document, Problem(told.place, line, told.text)
        if told.is_missing:
            return document, Problem(told.place, document.line_of(told.place[:-1]), told.text)
    return None, Problem(told.place, None, told.text)


def _at(values: Any, place: Iterable[str | int]) -> str:
    """What stands at a place, as text that can be compared; the innermost block that is there."""
    for part in place:
        try:
            values = values[part]
        except (IndexError, KeyError, TypeError):
            break
    return repr(values)


def _order(document: Document | None, problem: Problem, names: Sequence[str]) -> tuple[int, int]:
    """Files in their order, lines in theirs; what stands in no file comes last, as it was found."""
    return (len(names), 0) if document is None else (names.index(document.name), problem.line or 0)


def _line(document: Document | None, problem: Problem) -> str:
    where = "" if document is None else document.name
    where += "" if document is None or problem.line is None else f":{problem.line}"
    key = ".".join(map(str, problem.place))
    return ": ".join(part for part in (where, key, problem.text) if part)
