"""Simulated spectra."""

from typing import Annotated

from pydantic import Field, field_validator

from canopyflow.config.block import Block, Distinct, Platform
from canopyflow.vocabulary import PLATFORMS


class Simulations(Block):
    """Simulated spectra, for training and for calibration."""

    train: int = Field(200_000, ge=1000, description="spectra to train on; noise is drawn anew each epoch")
    validation: int = Field(6_000, ge=100, description="spectra that decide when to stop")
    test: int = Field(3_000, ge=100, description="held-back spectra that calibration is measured on")
    platforms: Annotated[tuple[Platform, ...], Distinct] = Field(
        PLATFORMS, min_length=1, description="satellites simulated; a scene of another one stops inference"
    )
    sun_zenith: tuple[float, float] = Field((20, 65), description="range, degrees")
    view_zenith: tuple[float, float] = Field((0, 12), description="range, degrees")

    @field_validator("sun_zenith", "view_zenith")
    @classmethod
    def _a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] < 85:
            raise ValueError(f"{list(value)} is no range of zenith angles: 0 <= low <= high < 85")
        return value
