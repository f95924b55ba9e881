"""Clouds and what else hides the land."""

from typing import Annotated

from pydantic import Field

from canopyflow.config.block import Block, Distinct


class Masking(Block):
    """Which pixels are believed."""

    valid_scl: Annotated[tuple[Annotated[int, Field(ge=0, le=11)], ...], Distinct] = Field(
        (4, 5), min_length=1, description="scene classes kept: 4 vegetation, 5 bare soil"
    )
    dilate_pixels: int = Field(1, ge=0, description="grow clouds and shadows by this many pixels")
    spectral_test: bool = Field(True, description="also drop what looks like haze, snow, water or shadow")
