"""Pieces of scenes, to train on."""

from pydantic import Field, field_validator

from canopyflow.config.block import Block, Share


class Patches(Block):
    """Patch cubes for training on real pixels."""

    size: int = Field(16, ge=1, description="patch side, pixels")
    block_metres: float = Field(480, gt=0, description="side of the spatial blocks that splits are made of")
    fractions: tuple[Share, Share, Share] = Field(
        (0.7, 0.15, 0.15), description="share of blocks for train, validation, test"
    )
    max_patches: int = Field(4096, ge=1, description="at most this many patches per split")
    min_valid: Share = Field(0.25, description="least share of clear pixels in a patch")

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-9:
            raise ValueError(f"the three shares add up to {sum(value):g}, not 1")
        return value
