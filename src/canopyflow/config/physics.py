"""Radiative transfer, and what is known before the satellite looks."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from canopyflow.config.block import Block, Mistake
from canopyflow.vocabulary import NAMES

OF_FIELDS: dict[str, tuple[str, ...]] = {
    "dead_leaves": ("green", "dead_N", "dead_cab", "dead_cbrown", "dead_cw", "dead_cm"),
    "clumping": ("clumping",),
    "partly_bare": ("cover", "contrast"),
    "shadows": ("shade",),
    "many_soils": ("soil_kind", "soil_shape", "soil_moisture"),
}
"""Variables that ingredients of the field law add to the state."""


class Noise(Block):
    """Observation noise; the common terms shift all bands of a pixel together (S2 toolbox ATBD)."""

    additive_independent: float = Field(0.01, gt=0, description="standard deviation, reflectance, per band")
    additive_common: float = Field(0.01, ge=0, description="the same, common to all bands")
    multiplicative_independent: float = Field(0.02, ge=0, description="relative, per band")
    multiplicative_common: float = Field(0.02, ge=0, description="relative, common to all bands")
    multiplicative_smooth: float | None = Field(
        None, ge=0, description="relative, changing slowly over the spectrum; null: what the prior says"
    )
    smooth_length: float = Field(250.0, gt=0, description="nanometres over which the smooth error changes")


class Ingredients(Block):
    """What of fields the field law holds beside a green, closed, even canopy; false leaves it out."""

    dead_leaves: bool = Field(True, description="a share of the plant area is dead")
    clumping: bool = Field(True, description="leaves hide behind each other more than by chance")
    partly_bare: bool = Field(True, description="the canopy stands on a part of the pixel")
    shadows: bool = Field(True, description="crowns and rows throw shade that a sensor sees")
    many_soils: bool = Field(True, description="soils of the world, wet and dry, beside PROSAIL's two")
    wide_leaves: bool = Field(
        True, description="leaves and leaf angles as measured, independent of leaf area"
    )
    smooth_noise: bool = Field(True, description="an error that changes slowly over the spectrum")


class Physics(Block):
    """The decoder and what is known before the satellite looks."""

    leaf: Literal["prospect-d", "prospect-5b"] = Field("prospect-d", description="leaf model")
    prior: Literal["field", "atbd", "prosail-vae", "uniform"] = Field(
        "field",
        description="what pixels are: `field` holds what fields hold; the others are laws of a green, closed "
        "canopy, for comparison and for truth that was drawn so",
    )
    field: Ingredients = Field(default_factory=Ingredients, description="ingredients of the field law")
    noise: Noise = Field(default_factory=Noise, description="observation noise")

    @model_validator(mode="after")
    def _ingredients_are_of_the_field_law(self) -> Self:
        if self.prior != "field" and self.field != Ingredients():
            off = next(name for name, held in self.field.model_dump().items() if not held)
            raise Mistake(f"field.{off}", f"is of the field law, not of prior {self.prior!r}; leave it out")
        return self

    @property
    def generative(self) -> str:
        """Name of the generative model."""
        return "field" if self.prior == "field" else "prosail"

    @property
    def not_estimated(self) -> tuple[str, ...]:
        """Variables of other laws that this one does not have."""
        return ("psoil", "rsoil") if self.prior == "field" else ("lai_eff", "senescent")

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the variables of a pixel's state, estimated or not."""
        if self.prior != "field":
            return NAMES
        leaves = tuple(name for name in NAMES if name not in self.not_estimated)
        added = (name for which, names in OF_FIELDS.items() if getattr(self.field, which) for name in names)
        return (*leaves, "soil_brightness", "soil_hue", *added)

    @property
    def law(self) -> dict[str, Any]:
        """Options of the generative model without its noise: what simulations depend on."""
        if self.prior == "field":
            return {"leaf": self.leaf, "ingredients": self.field.model_dump()}
        return {"leaf": self.leaf, "prior": self.prior}

    @property
    def options(self) -> dict[str, Any]:
        """Options of the generative model."""
        return {**self.law, "noise": self.noise.model_dump(exclude_none=True)}
