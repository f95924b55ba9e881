"""What is trained and compared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from canopyflow.config.block import Block, OneOf, check_options
from canopyflow.registry import ESTIMATORS, FAMILIES

FamilyName = Annotated[str, OneOf(FAMILIES.what, FAMILIES)]


class Model(Block):
    """One model: a posterior family with its options, and how posteriors are inferred with it."""

    family: FamilyName = Field(description="posterior family, see `canopyflow families`")
    family_options: dict[str, Any] = Field(default_factory=dict, description="options of the family")
    estimator: Annotated[str, OneOf(ESTIMATORS.what, ESTIMATORS)] = Field(
        "amortised", description="how the posterior of a pixel is found"
    )

    @model_validator(mode="after")
    def _options_belong(self) -> Model:
        check_options(FAMILIES, self.family, self.family_options, "family_options.")
        return self
