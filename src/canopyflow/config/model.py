"""What is trained and compared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from canopyflow.config.block import Block, OneOf, check_options
from canopyflow.registry import FAMILIES

FamilyName = Annotated[str, OneOf(FAMILIES.what, FAMILIES)]


class Model(Block):
    """One model: a posterior family with its options."""

    family: FamilyName = Field(description="posterior family, see `canopyflow families`")
    family_options: dict[str, Any] = Field(default_factory=dict, description="options of the family")

    @model_validator(mode="after")
    def _options_belong(self) -> Model:
        check_options(FAMILIES, self.family, self.family_options, "family_options.")
        return self
