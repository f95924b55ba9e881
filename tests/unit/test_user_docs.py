"""Pages for users: the messages that they explain are said, and their links lead somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import canopyflow
from canopyflow.archive.presets import PRESETS

SOURCE = Path(canopyflow.__file__).parent
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("first_campaign", "catalogues", "limitations", "glossary", "troubleshooting")


def texts() -> Iterator[str]:
    """All that the library can say, with `…` for what is filled in."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def messages() -> Iterator[str]:
    """What the first column of each row of the page quotes."""
    for line in (DOCS / "troubleshooting.md").read_text().splitlines():
        if line.startswith("| `"):
            first = line[2:].split(" | ")[0]
            yield from re.findall(r"`([^`]+)`", first)


def is_said(message: str, said: list[str]) -> bool:
    """Whether one text holds all parts of a message, in their order."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in said)


def test_every_message_that_is_explained_is_said():
    said = list(texts())
    quoted = list(messages())
    assert len(quoted) > 60
    assert not [message for message in quoted if not is_said(message, said)]


def test_a_message_that_nobody_says_is_found():
    assert not is_said("the catalogue … did not reply", list(texts()))


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = DOCS / f"{name}.md"
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_each_catalogue_stands_in_each_table():
    tables = (DOCS / "catalogues.md").read_text().split("\n\n")
    rows = [block for block in tables if block.startswith("| `archive.catalog`")]
    assert len(rows) == 3
    for name, preset in PRESETS.items():
        assert all(f"`{name}`" in block for block in rows), name
        assert f"`{preset.url}`" in rows[0]
        assert f"`{preset.collection}`" in rows[1]
        for key in (key for group in preset.keys for key in group):
            assert key in rows[0], key


@pytest.mark.parametrize("name", PAGES)
def test_every_shell_block_says_its_language_and_why_it_is_not_run(name):
    lines = (DOCS / f"{name}.md").read_text().splitlines()
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    for number in fences[::2]:
        assert lines[number] == "```bash"
        block = "\n".join(lines[number : fences[fences.index(number) + 1]])
        asks = any(word in block for word in ("--online", "campaign plan", "campaign run"))
        assert (lines[number - 1] == "<!-- not run: needs the network -->") == asks, block
