"""Where and when."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from pydantic import Field, model_validator

from canopyflow.archive import mgrs
from canopyflow.archive.areas import is_box
from canopyflow.config.block import Block, Day, Mistake, Place

BoundingBox = tuple[float, float, float, float]

FIRST_ACQUISITION = date(2015, 6, 27)
"""Sentinel-2A was launched on 2015-06-23 and took its first image four days later."""


class AroundPlots(Block):
    """A box around each field plot; boxes that overlap become one. Each is a site with its own grids."""

    table: Place = Field(description="table of plots, as `evaluation.plots`; plot_id and place are enough")
    buffer_metres: float = Field(500, gt=0, le=50_000, description="how far a box reaches beyond its plot")


class Area(Block):
    """Where, in one of five ways."""

    bbox: BoundingBox | None = Field(
        None,
        description="[west, south, east, north] in degrees (WGS 84); west larger than east: across the 180th "
        "meridian",
    )
    sites: dict[str, BoundingBox] = Field(
        default_factory=dict,
        description="name: [west, south, east, north]; for plots far apart, each site gets its own grids",
    )
    geojson: Place | None = Field(
        None, description="file of polygons: tiles that they touch, each as far as their bounds there"
    )
    mgrs_tiles: tuple[str, ...] = Field((), description="whole tiles, such as [32TMT]")
    plots: AroundPlots | None = Field(None, description="boxes around the field plots of a table")

    @model_validator(mode="after")
    def _one_of_them(self) -> Area:
        if len(self.asked) != 1:
            kinds = ", ".join(f"`{name}`" for name in type(self).model_fields)
            raise ValueError(f"give exactly one of {kinds}")
        for name, box in ({"": self.bbox} if self.bbox else self.sites).items():
            if name and not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(f"site name {name!r}: use letters, digits and _ only")
            _check_box(box, f"sites.{name}" if name else "bbox")
        for number, tile in enumerate(self.mgrs_tiles):
            try:
                mgrs.bounds_of(mgrs.tile_name(tile))
            except ValueError as error:
                raise Mistake(f"mgrs_tiles.{number}", str(error)) from None
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """The one way that is given and its value, as :func:`canopyflow.archive.areas.areas_of` takes it."""
        return {name: value for name, value in self.model_dump().items() if value}

    @property
    def file(self) -> str | None:
        """The file that the area is read from, if it is."""
        return self.geojson or (self.plots.table if self.plots else None)


def _check_box(box: BoundingBox, key: str) -> None:
    if not is_box(box):
        raise Mistake(
            key,
            f"{list(box)} is no area: give [west, south, east, north] in degrees, south < north, and "
            "west < east unless it lies across the 180th meridian",
        )


class Period(Block):
    """When."""

    start: Day = Field(description="first day, YYYY-MM-DD")
    end: Day = Field(description="last day, included")

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.end < FIRST_ACQUISITION:
            raise ValueError(f"end {self.end} is before Sentinel-2's first image ({FIRST_ACQUISITION})")
        return self
