"""Colours: QGIS finds in a style what it looks for, and a picture shows what is there."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from canopyflow.products.styles import (
    FLAG_COLOURS,
    MOST_SHOWN,
    RAMPS,
    picture,
    qgis_of_flags,
    qgis_of_values,
    style_of,
)
from canopyflow.products.words import ABOUT
from canopyflow.vocabulary import FLAGS, STATISTICS

STYLES = [(name, statistic) for name in ABOUT for statistic in STATISTICS] + [("fit", None), ("ess", None)]


def read(text: str) -> ElementTree.Element:
    """The renderer of a style, where QgsRasterLayer.readSymbology looks for it."""
    root = ElementTree.fromstring(text)
    assert root.tag == "qgis" and re.match(r"3\.\d+", root.get("version"))
    renderer = root.find("pipe/rasterrenderer")
    assert renderer.get("band") == "1" and renderer.get("opacity") == "1"
    # No stretching to the extent that is looked at.
    assert renderer.findtext("minMaxOrigin/limits") == "None"
    return renderer


@pytest.mark.parametrize(("layer", "statistic"), STYLES, ids=[f"{a}-{b}" for a, b in STYLES])
def test_a_style_has_a_fixed_range_and_a_legend_with_its_unit(layer, statistic):
    style = style_of(layer, statistic)
    renderer = read(qgis_of_values(style))
    assert renderer.get("type") == "singlebandpseudocolor"
    shader = renderer.find("rastershader/colorrampshader")
    assert shader.get("colorRampType") == "INTERPOLATED"
    values = [float(item.get("value")) for item in shader.findall("item")]
    assert values == sorted(set(values)) and 4 <= len(values) <= 12
    assert values[0] == float(shader.get("minimumValue")) == float(renderer.get("classificationMin"))
    assert values[-1] == float(shader.get("maximumValue")) == float(renderer.get("classificationMax"))
    labels = [item.get("label") for item in shader.findall("item")]
    assert len(set(labels)) == len(labels), "each colour has a label of its own"
    assert all(label.endswith(style.unit) for label in labels)
    assert all(re.fullmatch("#[0-9a-f]{6}", item.get("color")) for item in shader.findall("item"))


def test_ranges_are_those_of_the_variable_or_of_what_fields_reach():
    assert (style_of("fapar", "q05").least, style_of("fapar", "q05").most) == (0, 1)
    assert style_of("lai", "mean").most == style_of("lai", "q95").most == 7
    assert style_of("lai", "std").most == 2
    assert all(ABOUT[name].lower < most < ABOUT[name].upper for name, most in MOST_SHOWN.items())


def test_the_legend_has_round_numbers():
    labels = [item.get("label") for item in read(qgis_of_values(style_of("lai", "mean"))).iter("item")]
    assert labels == [f"{i} m² m⁻²" for i in range(8)]
    values = [value for value, _ in style_of("cab", "mean").stops]
    assert values == [20, 30, 40, 50, 60, 70, 80, 90]


def test_ramps_grow_darker_so_that_they_read_without_colours():
    weights = np.array([0.2126, 0.7152, 0.0722])
    for ramp in RAMPS.values():
        light = np.array([list(bytes.fromhex(colour[1:])) for colour in ramp]) @ weights
        assert (np.diff(light) < -10).all()


def test_flags_are_told_by_name_and_coloured_by_the_weightiest():
    assert FLAG_COLOURS.keys() == FLAGS.keys()
    renderer = read(qgis_of_flags({130: 5, 0: 9, 1: 2, 16: 1}))
    assert renderer.get("type") == "paletted"
    entries = renderer.findall("colorPalette/paletteEntry")
    assert [int(entry.get("value")) for entry in entries] == [0, 1, 16, 130]
    assert [entry.get("label") for entry in entries][1:] == [
        "masked (1)",
        "doubted_offset (16)",
        "out_of_domain, misfit (130)",
    ]
    assert entries[-1].get("color") == FLAG_COLOURS["out_of_domain"]


def test_a_picture_hatches_what_is_flagged_and_leaves_out_what_is_masked():
    style = style_of("lai", "mean")
    values = np.full((300, 400), 3.5)
    values[:, 200:] = 99.0
    flags = np.zeros(values.shape, np.uint8)
    flags[:100], flags[100:150] = FLAGS["misfit"], FLAGS["masked"]
    values[200:210] = np.nan
    pixels = picture(values, flags, style)
    assert pixels.shape == (4, 300, 400)
    assert (
        (pixels[3, 100:150] == 0).all() and (pixels[3, 200:210] == 0).all() and (pixels[3, 250:] == 255).all()
    )
    middle, end = (tuple(bytes.fromhex(colour[1:])) for colour in (RAMPS["ylgn"][3], RAMPS["ylgn"][-1]))
    assert tuple(pixels[:3, 260, 10]) == middle and tuple(pixels[:3, 260, 300]) == end
    misfit = np.array(list(bytes.fromhex(FLAG_COLOURS["misfit"][1:])))
    share = (pixels[:3, :100, :200] == misfit[:, None, None]).all(axis=0).mean()
    assert 0.2 < share < 0.5, "the value shows between the strokes"


def test_a_small_map_is_magnified():
    pixels = picture(np.ones((10, 5)), np.zeros((10, 5), np.uint8), style_of("lai", "mean"))
    assert pixels.shape == (4, 260, 130)
