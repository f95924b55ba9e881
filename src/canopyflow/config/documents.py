"""A YAML file read strictly: what is written twice, or read otherwise than it looks, is named with its line.

YAML takes ``010`` for eight, ``12:30`` for 750, ``no`` for false, and of a key that is given twice the last.
Snakemake reads campaign files by the usual reader, which says nothing of this; so the workflow reads them
again here (:func:`canopyflow.config.read.load_campaign`). What this reader lets pass, it reads as the usual
one does, but for a date that does not exist, which stays text and is refused as a day.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from canopyflow.errors import ConfigError

Place = tuple[str | int, ...]
"""Keys, and numbers of items in lists, from the top of a file to a value."""

DEEPEST = 50
"""Blocks within blocks; a campaign has six."""
MOST = 50_000
"""Values of a file with all that its anchors stand for; a campaign of a thousand sites has some 6,000."""

_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_KINDS = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}
_SYNTAX = (
    (r"'\t'", "a tab, where YAML allows spaces only: indent with spaces"),
    ("mapping values are not allowed", "a second `: ` in one line: put text that holds one in quotes"),
    ("could not find expected ':'", "a key without `:` behind it"),
    ("while scanning a quoted scalar", "a quote is opened here and never closed"),
    ("while parsing a flow sequence", "a list is opened by [ and not closed, or a comma is missing"),
    ("while parsing a flow mapping", "a block is opened by { and not closed, or a comma is missing"),
    ("found undefined alias", "stands for an anchor (&name) that is not given above"),
    ("found duplicate anchor", "an anchor of this name is given above already"),
    ("expected <block end>", "does not stand in line with what is above it: mend the indentation"),
    ("while scanning a simple key", "a key without `:` behind it"),
    ("cannot start any token", "a character that cannot begin a value: put the text in quotes"),
)
"""What the YAML library says, and what it comes to."""


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place of a file; ``line`` counts from 1, None where it is not known."""

    place: Place
    line: int | None
    text: str


@dataclass
class Document:
    """A file as it was read.

    Attributes:
        name: of the file.
        values: what it says; where something is wrong, the most likely.
        lines: the line of each key and item.
        problems: what is wrong, in order of lines.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, place: Place) -> int | None:
        """The line of a place, or of the nearest block around it that the file has."""
        return next(
            (self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), None
        )


def read_document(path: Path) -> Document:
    """The YAML file ``path``. What is wrong is collected in it as far as the file can be read at all.

    Raises:
        ConfigError: there is no such file, it is no YAML, or it holds no keys.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"campaign file {path}: {error.strerror}", "name a file that is there") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _no_yaml(path, line, "bytes that are no UTF-8: save the file as UTF-8") from None
    out = Document(str(path))
    try:
        loader = _Composer(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"campaign file {path} holds no keys", "see config/README.md for a start")
        out.values = _Reading(out, loader).value(root, ())
    except yaml.YAMLError as error:
        raise _no_yaml(path, *_syntax(error, text)) from None
    out.problems += [Problem((), line, said) for line, said in loader.tagged]
    return out


def _no_yaml(path: Path, line: int | None, said: str) -> ConfigError:
    return ConfigError(f"campaign file {path} is no YAML, line {line}: {said}")


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line of what the YAML library could not read, and plain words for it."""
    if isinstance(error, yaml.reader.ReaderError):
        character = error.character if isinstance(error.character, int) else ord(error.character[:1] or "?")
        return text[: error.position].count("\n") + 1, f"the character U+{character:04X}, which no text holds"
    said = " ".join(str(error).split())
    opened, found = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if "expected a single document" in said and found is not None:
        return found.line + 1, "a second document begins (---): a file holds one campaign"
    words = next((words for sign, words in _SYNTAX if sign in said), getattr(error, "problem", None) or said)
    # What is opened is looked for where it is opened; all else where it is found.
    is_open = any(sign in words for sign in ("is opened", "a key without"))
    mark = opened if opened is not None and (is_open or found is None) else found
    return (mark.line + 1 if mark is not None else 1), words


class _Composer(yaml.SafeLoader):
    """Builds the tree of a file without values; notes explicit tags, which nothing here reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tagged: list[tuple[int, str]] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.tagged.append(
                (event.start_mark.line + 1, f"the tag {shown} is not read: leave it out, and quote text")
            )
            event.tag = None
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(
                None, None, f"more than {DEEPEST} blocks within each other", event.start_mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reading:
    """Makes values of the tree of one file."""

    def __init__(self, out: Document, loader: yaml.SafeLoader) -> None:
        self._out, self._loader = out, loader
        self._around: list[yaml.Node] = []
        self._values = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        """The value of a node; what is wrong with it goes into the document."""
        self._values += 1
        if self._values > MOST:
            raise yaml.composer.ComposerError(
                None, None, f"anchors that stand for more than {MOST} values", node.start_mark
            )
        if node in self._around:
            return self._wrong(place, node, "an anchor within what it stands for")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        self._around.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            out = []
            for number, item in enumerate(node.value):
                self._out.lines[*place, number] = item.start_mark.line + 1
                out.append(self.value(item, (*place, number)))
            return out
        finally:
            self._around.pop()

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        own: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(place, key, "a key that is a list or a block: keys are words")
                continue
            name = str(key.value)
            here = (*place, name)
            if name in own:
                self._wrong(here, key, f"given twice, first in line {own[name]}: keep one of them")
                continue
            own[name] = line
            self._out.lines[here] = line
            if key.tag != _STR:
                kind = next((words for end, words in _KINDS.items() if key.tag.endswith(end)), "a date")
                shown = name or "(nothing)"
                self._wrong(here, key, f"the key {shown} is read as {kind}: put it in quotes")
            found[name] = self.value(value, here)
        for inherited in self._merged(node, place):
            found = {**inherited, **found}
        return found

    def _merged(self, node: yaml.MappingNode, place: Place) -> Iterator[dict[str, Any]]:
        """What `<<` takes over, the first first: it stands behind whatever the block says itself."""
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(part, yaml.MappingNode):
                    yield self.value(part, place)
                else:
                    self._wrong((*place, "<<"), part, "takes over the keys of a block, and this is none")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text = str(node.value)
        if node.style is None and (said := _otherwise(text, node.tag)):
            self._wrong(place, node, said)
            return text
        if node.tag == _STR or node.tag.endswith(":value"):
            return text
        try:
            return self._loader.construct_object(node)
        except ValueError:  # a date that does not exist
            return text

    def _wrong(self, place: Place, node: yaml.Node, text: str) -> None:
        self._out.problems.append(Problem(place, node.start_mark.line + 1, text))


def _otherwise(text: str, tag: str) -> str:
    """Why a plain value is not what it looks like; nothing if it is."""
    if re.fullmatch(r"[-+]?0[oO]?[0-9_]+", text):
        plain = text.lower().replace("o", "").lstrip("-+0_") or "0"
        return f"{text} is an octal number to some readers: write {plain}, or put it in quotes"
    if re.fullmatch(r"[-+]?0[xXbB][0-9a-fA-F_]+", text):
        return f"{text} is no decimal number: write it as one, or put it in quotes"
    if ":" in text and tag.endswith((":int", ":float")):
        return f"{text} is a number to base 60 to some readers: put it in quotes"
    return ""
