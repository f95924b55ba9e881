"""The page about published maps: complete, right, and its recipes run."""

import re
from pathlib import Path

from canopyflow.config.product_pages import ROW
from canopyflow.inference.encoding import FIT_SCALE, scale_of
from canopyflow.products.words import ABOUT
from canopyflow.vocabulary import FLAGS, STATISTICS

PAGE = (Path(__file__).resolve().parents[3] / "docs/products.md").read_text()


def test_every_variable_statistic_and_flag_has_its_row_and_each_once():
    rows = [row for row in ROW.findall(PAGE) if row in {*ABOUT, *STATISTICS, *FLAGS}]
    assert sorted(rows) == sorted([*ABOUT, *STATISTICS, *FLAGS])


def test_rows_have_units_bounds_and_bits_of_the_vocabulary():
    assert re.search(r"^\| `ccc` \| CCC \| µg cm⁻² \| 0 to 900 \|", PAGE, re.MULTILINE)
    assert re.search(r"^\| `misfit` \| 128 \|", PAGE, re.MULTILINE)


def test_the_scales_are_those_of_the_products():
    (listed,) = re.findall(r"Scales: ([^.]*(?:\.\d[^.]*)*)\.\n", PAGE)
    scales = {name: float(scale) for name, scale in re.findall(r"(\w+) (\d\S*?)(?=[,\s]|$)", listed)}
    assert scales == {name: scale_of(name) for name in ABOUT} | {"fit": FIT_SCALE}


def test_each_property_of_the_page_is_one_that_items_have():
    source = Path(__file__).resolve().parents[3] / "src/canopyflow/products"
    code = "".join(path.read_text() for path in source.glob("*.py"))
    for name in re.findall(r"`((?:canopyflow|view|eo|file|proj):\w+)`", PAGE):
        assert f'"{name}"' in code, name
