"""Radiative transfer, and what is known before the satellite looks."""

from typing import Literal

from pydantic import Field

from canopyflow.config.block import Block


class Noise(Block):
    """Observation noise; the common terms shift all bands of a pixel together (S2 toolbox ATBD)."""

    additive_independent: float = Field(0.01, gt=0, description="standard deviation, reflectance, per band")
    additive_common: float = Field(0.01, ge=0, description="the same, common to all bands")
    multiplicative_independent: float = Field(0.02, ge=0, description="relative, per band")
    multiplicative_common: float = Field(0.02, ge=0, description="relative, common to all bands")


class Physics(Block):
    """The decoder and what is known before the satellite looks."""

    leaf: Literal["prospect-d", "prospect-5b"] = Field("prospect-d", description="leaf model")
    prior: Literal["atbd", "prosail-vae", "uniform"] = Field(
        "atbd", description="prior distribution of the variables"
    )
    noise: Noise = Field(default_factory=Noise, description="observation noise")
