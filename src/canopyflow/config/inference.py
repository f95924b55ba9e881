"""From scenes to maps."""

from typing import Annotated, Literal

from pydantic import Field

from canopyflow.config.block import Block, Device, Distinct, Output, Statistic
from canopyflow.vocabulary import MAPPED, OUTPUTS


class Inference(Block):
    """From scenes to maps."""

    summaries: Literal["learned", "drawn"] = Field(
        "learned",
        description="`learned`: by the network that learned them, by draws where it cannot be trusted; "
        "`drawn`: all by draws",
    )
    samples: int = Field(100, ge=20, description="draws per pixel, where a pixel is summarised by draws")
    outputs: Annotated[tuple[Output, ...], Distinct] = Field(
        OUTPUTS,
        min_length=1,
        description="variables mapped; ccc = LAI x chlorophyll, cwc = LAI x water, from joint draws",
    )
    statistics: Annotated[tuple[Statistic, ...], Distinct] = Field(
        MAPPED,
        min_length=1,
        description="statistics mapped of each variable: mean, std, q05, q25, q50, q75, q95",
    )
    workers: int = Field(1, ge=1, description="Dask workers per job")
    batch_pixels: int = Field(512, ge=1, description="pixels drawn from at a time; few stay in the cache")
    refine: Literal["none", "importance"] = Field(
        "none", description="`importance`: draws are weighted by the physics and resampled; slower, exact"
    )
    proposals: int = Field(2000, ge=100, description="draws per pixel that are weighted to refine")
    least_ess: float = Field(
        100, ge=1, description="pixels with fewer effective draws are flagged `unrefined`"
    )
    device: Device = Field("auto", description="auto: GPU when there is one")
