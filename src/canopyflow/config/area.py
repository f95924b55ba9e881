"""Where and when."""

from __future__ import annotations

import re
from datetime import date

from pydantic import Field, model_validator

from canopyflow.config.block import Block

BoundingBox = tuple[float, float, float, float]

FIRST_ACQUISITION = date(2015, 6, 27)
"""Sentinel-2A was launched on 2015-06-23 and took its first image four days later."""


class Area(Block):
    """Where: one box, or several named sites."""

    bbox: BoundingBox | None = Field(
        None, description="[west, south, east, north] in degrees (WGS 84); or use `sites`"
    )
    sites: dict[str, BoundingBox] = Field(
        default_factory=dict,
        description="name: [west, south, east, north]; for plots far apart, each site gets its own grids",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Area:
        if (self.bbox is None) == (not self.sites):
            raise ValueError("give either `bbox` or `sites`")
        for name, box in self.boxes.items():
            if name and not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(f"site name {name!r}: use letters, digits and _ only")
            _check_box(box)
        return self

    @property
    def boxes(self) -> dict[str, BoundingBox]:
        """Boxes by site name; a single unnamed area has the empty name."""
        return dict(self.sites) if self.bbox is None else {"": self.bbox}


def _check_box(box: BoundingBox) -> None:
    west, south, east, north = box
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError(
            f"[{west}, {south}, {east}, {north}] is no area: "
            "give [west, south, east, north] in degrees, west < east and south < north"
        )


class Period(Block):
    """When."""

    start: date = Field(description="first day, YYYY-MM-DD")
    end: date = Field(description="last day, included")

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.end < FIRST_ACQUISITION:
            raise ValueError(f"end {self.end} is before Sentinel-2's first image ({FIRST_ACQUISITION})")
        return self
