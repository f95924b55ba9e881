"""The grid that scenes are resampled to."""

from typing import Annotated

from pydantic import Field

from canopyflow.config.block import Band, Block, Distinct
from canopyflow.vocabulary import BANDS


class Grid(Block):
    """The grid and the bands of the campaign."""

    resolution: float = Field(20, ge=10, le=1000, multiple_of=1, description="pixel size, whole metres")
    bands: Annotated[tuple[Band, ...], Distinct] = Field(
        BANDS, min_length=3, description="bands used, from B02 to B12"
    )
