"""What the maps are held against."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from canopyflow.config.block import Block, Distinct, Place


class Evaluation(Block):
    """What the maps are held against."""

    plots: Place | None = Field(
        None, description="table of field plots (CSV or GeoJSON), ${NAME} from the environment; null: none"
    )
    measurands: dict[str, str | None] = Field(
        {}, description="what a word of the table's column variable means, as LAI: gai; null: leave it out"
    )
    label_error: tuple[NonNegativeFloat, NonNegativeFloat] = Field(
        (0.15, 0.12),
        description="standard deviation of a label without uncertainty: "
        "hypot(first, second · value) of leaf areas",
    )
    corrections: Annotated[tuple[Literal["conformal", "variance"], ...], Distinct] = Field(
        (),
        description="of intervals, learned from plots of other sites and shown beside the raw ones; []: none",
    )
    max_days: float = Field(3, ge=0, description="most days between a plot visit and the acquisition")
    truth: Place | None = Field(None, description="folder of reference maps (the demo has one); null: none")
    samples: int = Field(500, ge=50, description="draws per held-back simulation")
