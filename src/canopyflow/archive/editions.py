"""Which of several items of one acquisition to keep: editions, parts of one tile, one id for several."""

from collections.abc import Iterator
from datetime import timedelta

from canopyflow.archive import items as stac
from canopyflow.archive.harmonise import NOT_ESA

SAME_STRIP = timedelta(seconds=15)
"""Datastrips that start closer together are editions of one; others are complementary parts of a tile."""
COMPLEMENTARY = 0.5
"""Largest common share of the smaller outline of two items of one datatake that are parts of a tile."""

Rejected = tuple[stac.Item, str]
"""An item, and why it is not kept."""


def tell_apart(items: list[stac.Item]) -> tuple[list[stac.Item], list[Rejected]]:
    """Items of one tile without those whose id is that of another acquisition; equal items count once.

    Ids name scenes in stores and in what is published, so that two acquisitions of one id cannot be kept, and
    which of them is meant nobody can tell.
    """
    groups: dict[str, list[stac.Item]] = {}
    for item in items:
        group = groups.setdefault(item["id"], [])
        if item not in group:
            group.append(item)
    kept: list[stac.Item] = []
    rejected: list[Rejected] = []
    for group in groups.values():
        if len({stac.datatake(item) for item in group}) == 1:
            kept += group
            continue
        days = ", ".join(sorted({stac.acquired(item).date().isoformat() for item in group}))
        rejected += [(item, f"its id is that of several acquisitions ({days})") for item in group]
    return kept, rejected


def one_edition_each(items: list[stac.Item]) -> tuple[list[stac.Item], list[Rejected]]:
    """Of several processing editions of one acquisition the newest, ESA's own before 99.99.

    The edition that CloudFerro generates under baseline 99.99 is newer by its
    clock only: the chain is another, so it stands in only where ESA's is absent.
    """
    kept: list[stac.Item] = []
    rejected: list[Rejected] = []
    for group in _acquisitions(items):
        best = max(
            group, key=lambda i: (stac.baseline(i) != NOT_ESA, stac.generation(i), stac.baseline(i), i["id"])
        )
        kept.append(best)
        for other in group:
            if other is not best:
                editions = f"{_edition(best)}; this one {_edition(other)}"
                rejected.append((other, f"another edition of {best['id']}, which is kept ({editions})"))
    return kept, rejected


def _acquisitions(items: list[stac.Item]) -> Iterator[list[stac.Item]]:
    """Items of one tile in groups that show the same pixels."""
    for of_datatake in by_datatake(items).values():
        groups: list[list[stac.Item]] = []
        for item in sorted(of_datatake, key=lambda i: (str(stac.datastrip_start(i) or ""), i["id"])):
            group = next((group for group in groups if _same_pixels(group[-1], item)), None)
            if group is None:
                groups.append([item])
            else:
                group.append(item)
        yield from groups


def by_datatake(items: list[stac.Item]) -> dict[str, list[stac.Item]]:
    """Items by their datatakes, in the order of these."""
    groups: dict[str, list[stac.Item]] = {}
    for item in items:
        groups.setdefault(stac.datatake(item), []).append(item)
    return dict(sorted(groups.items()))


def _edition(item: stac.Item) -> str:
    return f"baseline {stac.baseline(item) or 'unknown'} of {stac.generation(item) or 'unknown time'}"


def _same_pixels(first: stac.Item, second: stac.Item) -> bool:
    """Whether two items of one tile and datatake are of one datastrip; if none is told, outlines decide."""
    starts = stac.datastrip_start(first), stac.datastrip_start(second)
    if starts[0] is not None and starts[1] is not None:
        return abs(starts[1] - starts[0]) < SAME_STRIP
    outlines = stac.outline(first), stac.outline(second)
    shared = outlines[0].intersection(outlines[1]).area
    return bool(shared > COMPLEMENTARY * min(outline.area for outline in outlines))


def note_duplicates(items: list[stac.Item]) -> None:
    """Record in each of the kept items of a tile which others of them are of the same datatake.

    They are parts of the tile cut by the ends of datastrips; where these overlap, one pixel has two spectra.
    """
    for group in by_datatake(items).values():
        names = {item["id"] for item in group}
        for item in group:
            known = set(item["canopyflow"]["duplicates"])
            item["canopyflow"]["duplicates"] = sorted(known | names - {item["id"]})
