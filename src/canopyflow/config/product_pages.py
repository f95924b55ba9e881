"""Documentation rendered from the vocabulary: the tables of variables, statistics and flags."""

import re
from pathlib import Path

from canopyflow.products.words import ABOUT, FLAG_MEANINGS, MEASURANDS, SYMBOLS, in_words, pretty
from canopyflow.vocabulary import FLAGS, STATISTICS

PAGE = Path("docs/products.md")
ROW = re.compile(r"^\| `(\w+)` \|.*$", re.MULTILINE)
"""A row of one of the tables; which rows there are, and in which order, the page itself says."""


def products_page(top: Path) -> dict[Path, str]:
    """The page by its path, relative to ``top``, the top of the repository; other tables stay as they are."""
    return {PAGE: ROW.sub(_row, (top / PAGE).read_text())}


def _row(found: re.Match[str]) -> str:
    name = found[1]
    if name in ABOUT:
        cells = [SYMBOLS[name], pretty(ABOUT[name].unit) or "1", _bounds(name), *MEASURANDS[name]]
    elif name in STATISTICS:
        cells = [in_words(name)]
    elif name in FLAGS:
        cells = [str(FLAGS[name]), FLAG_MEANINGS[name]]
    else:
        return found[0]
    return f"| `{name}` | {' | '.join(cells)} |"


def _bounds(name: str) -> str:
    return f"{ABOUT[name].lower:g} to {ABOUT[name].upper:g}"
