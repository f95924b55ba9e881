"""The page of models: costs, scores and distances, side by side."""

from canopyflow.evaluation.pages.models import BLOCKS, COLUMNS


def test_the_page_of_families_shows_every_column_once():
    order = list(COLUMNS)
    shown = [c for first, last in BLOCKS.values() for c in order[order.index(first) : order.index(last) + 1]]
    assert shown == order
