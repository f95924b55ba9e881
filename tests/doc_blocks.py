"""Blocks of code in the README and the docs, and what the comment above each says about running it.

Above a fence may stand, on the line before it::

    <!-- run -->                                  all of it
    <!-- run lines 1, 3-4; the others not: why --> these lines
    <!-- run after: SOURCE -->                     Python: with this before it, which a reader knows anyway
    <!-- run where NAME is VALUE, ... -->          with these words in place of those
    <!-- not run: why -->                          none; a test that does run it is named by its path
    <!-- file: NAME -->                            the block is a file that later blocks of the page read

Anywhere on a page, ``<!-- blocks not run: why -->`` speaks for all of its blocks without a comment of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "config/README.md", "profiles/README.md", "docs/**/*.md")
SHELL, PYTHON = "shell", "python"
COMMANDS = (
    "apptainer canopyflow cd cp curl git ln make mkdir mkdocs pip podman python rm snakemake source"
)  # fmt: skip
"""First words by which a block without a language is told to be of a shell."""

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\S*)")
_NUMBERS = re.compile(r"lines? (\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*)")


class Mistake(ValueError):
    """A comment above a block that says nothing that is understood."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    said: str | None

    @property
    def kind(self) -> str | None:
        """SHELL or PYTHON; None for what nobody runs."""
        first = next((line.strip() for line in self.text.splitlines() if line.strip()), "")
        if self.language in ("bash", "sh", "console", "shell"):
            return SHELL
        if self.language in ("python", "py"):
            return PYTHON
        word = re.sub(r"^(\$ )?(\w+=\S* )*", "", first).split(" ")[0]
        return SHELL if not self.language and word in COMMANDS.split() else None

    @property
    def file(self) -> str | None:
        """Name of the file that the block is."""
        found = re.fullmatch(r"file: (\S+)", self.said or "")
        return found[1] if found else None

    @property
    def reason(self) -> str | None:
        """Why the block, or a part of it, is not run."""
        found = re.search(r"(?:^|; the others? )not(?: run)?: (.+)$", self.said or "")
        return found[1] if found else None

    def source(self) -> str:
        """What is to be run, empty for none of it. Raises Mistake for a comment that says something else."""
        said = self.said or ""
        if said.startswith("not run: ") and self.reason:
            return ""
        found = re.fullmatch(r"run(?P<how>.*?)(?:; the others? not: .+)?", said)
        how = found["how"] if found else ""
        if found is None or (how and not re.match(r" (lines? \d|after: |where )", how)):
            raise Mistake(f"{self.page}, line {self.line}: say above the block whether it is run: {said!r}")
        lines = self.text.splitlines()
        if chosen := _NUMBERS.search(how):
            if not self.reason:
                raise Mistake(f"{self.page}, line {self.line}: say why the others are not run")
            lines = [lines[number - 1] for number in _numbers(chosen[1])]
        text = "\n".join(line.removeprefix("$ ") for line in lines) + "\n"
        if " after: " in how:
            return how.partition(" after: ")[2] + "\n" + text
        if " where " in how:
            for pair in how.partition(" where ")[2].split(", "):
                name, value = pair.split(" is ")
                text = re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", value, text)
        return text


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(", "):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def pages() -> list[str]:
    """Paths of all pages below the top of the repository."""
    return sorted({p.relative_to(TOP).as_posix() for pattern in PAGES for p in TOP.glob(pattern)})


def blocks(page: str, text: str | None = None) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = (TOP / page).read_text() if text is None else text
    lines, number = text.splitlines(), 0
    of_all = re.search(r"^<!-- blocks (not run: .+) -->$", text, re.MULTILINE)
    otherwise = of_all[1] if of_all else None
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        begin = number
        indent, mark, language = fence.groups()
        number += 1
        body = []
        while number < len(lines) and lines[number].strip() != mark:
            body.append(lines[number].removeprefix(indent))
            number += 1
        above = re.fullmatch(r"\s*<!-- (?!blocks )(.+) -->\s*", lines[begin - 1]) if begin else None
        yield Block(page, begin + 1, language, "\n".join(body), above[1] if above else otherwise)
        number += 1
