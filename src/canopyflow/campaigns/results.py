"""What a finished campaign says of itself in a terminal: the verdict, its scenes, and where results lie."""

from collections.abc import Iterator
from pathlib import Path

from canopyflow.errors import DataError
from canopyflow.evaluation.pages.comparison import format_table
from canopyflow.evaluation.pages.scenes import read_scenes, told
from canopyflow.evaluation.pages.verdict import as_text, judge, read_tables

PLACES = {
    "page": ("index.html", ", open it in a browser"),
    "report": ("report.html", ""),
    "maps": ("published", " (COGs with STAC items)"),
    "STAC": ("published/catalog.json", ", the root of all items"),
    "parcels": ("parcels/*.csv", ""),
    "tables": ("comparison", ""),
    "matchups": ("matchups", ""),
}
"""Where results lie below a campaign's folder, and what is said of it; of a pattern the first is named, and
how many more there are."""


def lines(folder: Path, full: bool = False) -> Iterator[str]:
    """The verdict on the campaign in ``folder``, what its scenes lack, and the paths that exist.

    With ``full`` all scores follow the verdict. Raises DataError if the models have not been compared.
    """
    table = folder / "comparison/table.csv"
    for needed in (table, folder / "benchmarks/models.csv"):
        if not needed.exists():
            raise DataError(f"{needed} is not there", "run snakemake for this campaign first")
    yield as_text(judge(read_tables(folder)))
    yield ""
    if full:
        yield format_table(table)
        yield ""
    scenes = folder / "comparison/scenes.csv"
    if scenes.exists():
        yield from told(read_scenes(scenes))
        yield ""
    width = max(map(len, PLACES)) + 2
    for name, (place, more) in PLACES.items():
        found = sorted(folder.glob(place))
        if found:
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield f"{name + ':':<{width}}{found[0]}{others}{more}"
