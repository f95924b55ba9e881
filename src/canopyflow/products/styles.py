"""How maps are coloured, the same everywhere: QGIS styles, STAC render blocks, thumbnails.

Ranges are fixed for each variable, so that two maps of different days or models can be compared by eye.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from canopyflow.products.words import ABOUT, PLANES, flags_in_words, in_words, pretty
from canopyflow.vocabulary import FLAGS, MASKED

RAMPS: dict[str, tuple[str, ...]] = {
    "ylgn": ("#f7f3dc", "#dfe7a9", "#b2d58a", "#74b96f", "#379a58", "#127446", "#04452f"),
    "blues": ("#f3f7fb", "#d3e3f1", "#a5cae4", "#6aaad3", "#3a86bd", "#19619c", "#0a3a6b"),
    "purples": ("#f8f6fb", "#dedaee", "#bcb3db", "#9787c4", "#7659a9", "#572f8a", "#38105f"),
    "oranges": ("#f6f4f1", "#fbdcb8", "#f6b878", "#e98a45", "#cc5d25", "#973d17", "#5c210d"),
}
"""Colours from the least to the most, under the names by which tile servers know similar ones."""

MOST_SHOWN: dict[str, float] = {"lai": 7, "gai": 7, "lai_eff": 5, "ccc": 400, "cwc": 0.25}
"""Where the colours end, of variables whose upper bound hardly any field reaches."""

SHARE_OF_RANGE = 0.3
"""Where the colours of a standard deviation end, as a share of its variable's range."""

PLANE_RANGES: dict[str, tuple[float, float]] = {
    "fit": (0.0, 3.0),
    "ess": (0.0, 500.0),
    "unobserved_days": (0.0, 30.0),
}

FLAG_COLOURS: dict[str, str] = {
    "masked": "#9e9e9e",
    "out_of_domain": "#d7301f",
    "input_outside_physics": "#7a0177",
    "misfit": "#fc8d59",
    "unrefined": "#3690c0",
    "doubted_offset": "#c9a227",
    "assumed_angles": "#8c96c6",
    "duplicate": "#66a182",
}
"""By weight: a pixel with several flags has the colour of the first of them."""
BELIEVED = "#eef3e6"

SMALLEST, LARGEST = 256, 512
"""Longest side of a thumbnail, pixels: small sites are magnified, large ones read from an overview."""


@dataclass(frozen=True)
class Style:
    """Colours of one file of values.

    Attributes:
        title: what is shown.
        unit: as people write it, empty for a number.
        least, most: the values of the first and the last colour.
        ramp: one of :data:`RAMPS`.
    """

    title: str
    unit: str
    least: float
    most: float
    ramp: str

    @property
    def stops(self) -> list[tuple[float, tuple[int, ...]]]:
        """Round values from ``least`` to ``most``, and their colours (red, green, blue)."""
        span = self.most - self.least
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = max(power * k for k in (1, 2, 2.5, 5) if span / (power * k) >= 4)
        first, last = math.ceil(self.least / step - 1e-9), math.floor(self.most / step + 1e-9)
        inner = [round(step * i, 10) for i in range(first, last + 1)]
        values = sorted({self.least, *inner, self.most})
        return [
            (value, tuple(map(int, colour)))
            for value, colour in zip(values, self.colours(values), strict=True)
        ]

    def colours(self, values: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
        """Red, green, blue (*shape, 3) of values, rounded; beyond the ends those of the ends."""
        ramp = np.array([_rgb(colour) for colour in RAMPS[self.ramp]], float)
        at = np.linspace(self.least, self.most, len(ramp))
        return np.stack([np.interp(values, at, column) for column in ramp.T], axis=-1).round()

    def label(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.3g} {self.unit}".strip()

    @property
    def caption(self) -> str:
        """Title and range, for a legend."""
        return f"{self.title}, {self.least:g} to {self.label(self.most)}"


def style_of(layer: str, statistic: str | None = None) -> Style:
    """Style of a statistic of a variable, or of a layer that has none."""
    if statistic is None:
        least, most = PLANE_RANGES[layer]
        return Style(PLANES[layer], "", least, most, "blues" if layer == "ess" else "oranges")
    variable = ABOUT[layer]
    title, unit = f"{variable.long_name}, {in_words(statistic)}", pretty(variable.unit)
    most = MOST_SHOWN.get(layer, variable.upper)
    if statistic == "std":
        return Style(title, unit, 0.0, float(f"{SHARE_OF_RANGE * (most - variable.lower):.1g}"), "purples")
    return Style(title, unit, variable.lower, most, "blues" if layer in ("cw", "cwc") else "ylgn")


def qgis_of_values(style: Style) -> str:
    """A QGIS style (QML): one band in pseudocolour, its range fixed, a legend with the unit."""
    document, pipe = _document()
    renderer = _renderer(pipe, "singlebandpseudocolor")
    renderer.attrib |= {
        "classificationMin": f"{style.least:g}",
        "classificationMax": f"{style.most:g}",
    }
    shader = SubElement(
        SubElement(renderer, "rastershader"),
        "colorrampshader",
        {
            "colorRampType": "INTERPOLATED",
            "classificationMode": "1",
            "clip": "0",
            "minimumValue": f"{style.least:g}",
            "maximumValue": f"{style.most:g}",
        },
    )
    for value, colour in style.stops:
        entry = {"value": f"{value:g}", "label": style.label(value), "color": _hex(colour), "alpha": "255"}
        SubElement(shader, "item", entry)
    # The list of colours with their values, not a bar with nothing but its ends.
    SubElement(shader, "rampLegendSettings", {"useContinuousLegend": "0"})
    return _text(document)


def qgis_of_flags(found: Iterable[int]) -> str:
    """The same for ``flags``: one entry for each number that was ``found`` in the file, told in words."""
    document, pipe = _document()
    palette = SubElement(_renderer(pipe, "paletted"), "colorPalette")
    for number in sorted(found):
        entry = {"value": f"{number}", "color": flag_colour(number), "alpha": "255"}
        SubElement(palette, "paletteEntry", entry | {"label": flags_in_words(number)})
    return _text(document)


def _document() -> tuple[Element, Element]:
    document = Element("qgis", {"version": "3.22", "styleCategories": "AllStyleCategories"})
    return document, SubElement(document, "pipe")


def _renderer(pipe: Element, kind: str) -> Element:
    fixed = {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = SubElement(pipe, "rasterrenderer", fixed)
    origin = SubElement(renderer, "minMaxOrigin")
    # Without this, QGIS stretches the colours between the values that it sees.
    SubElement(origin, "limits").text = "None"
    SubElement(renderer, "rasterTransparency")
    return renderer


def _text(document: Element) -> str:
    SubElement(document, "blendMode").text = "0"
    indent(document)
    return f"<!DOCTYPE qgis>\n{tostring(document, encoding='unicode')}\n"


def flag_colour(number: int) -> str:
    """Colour of a number of ``flags``: that of its weightiest bit."""
    return next((colour for name, colour in FLAG_COLOURS.items() if number & FLAGS[name]), BELIEVED)


def picture(values: NDArray[np.float64], flags: NDArray[np.uint8], style: Style) -> NDArray[np.uint8]:
    """RGBA (4, rows, columns) of values (rows, columns): clear where masked, flagged pixels hatched.

    Diagonals of a flagged area have the colour of its flag: the value stays visible beneath. A small map is
    magnified to about :data:`SMALLEST` pixels.
    """
    by = math.ceil(SMALLEST / max(values.shape))
    values, flags = (
        values.repeat(by, axis=0).repeat(by, axis=1),
        flags.repeat(by, axis=0).repeat(by, axis=1),
    )
    known = np.isfinite(values) & (flags & MASKED == 0)
    rgb = np.moveaxis(style.colours(np.where(known, values, style.least)), -1, 0)
    rows, columns = np.indices(values.shape)
    hatched = known & (flags != 0) & ((rows + columns) % 6 < 2)
    for number in np.unique(flags[hatched]):
        rgb[:, hatched & (flags == number)] = np.array(_rgb(flag_colour(int(number))))[:, None]
    return np.concatenate([rgb, np.where(known, 255, 0)[None]]).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _hex(colour: Iterable[int]) -> str:
    return f"#{bytes(colour).hex()}"
