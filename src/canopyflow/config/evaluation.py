"""What the maps are held against."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from canopyflow.config.block import Block, Distinct, Mistake, Place

StandardDeviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RelativeDeviation = Annotated[float, Field(ge=0, le=1)]
"""A share: 0.12, not 12 per cent."""


class Evaluation(Block):
    """What the maps are held against."""

    plots: Place | None = Field(
        None,
        description="table of field plots: CSV, GeoJSON, GeoPackage, (Geo)Parquet (docs/field_tables.md), "
        "${NAME} from the environment; null: none",
    )
    measurands: dict[str, str | None] = Field(
        {}, description="what a word of the table's column variable means, as LAI: gai; null: leave it out"
    )
    label_error: tuple[StandardDeviation, RelativeDeviation] = Field(
        (0.15, 0.12),
        description="standard deviation of a label without uncertainty: "
        "hypot(first, second · value) of leaf areas",
    )
    corrections: Annotated[tuple[Literal["conformal", "variance"], ...], Distinct] = Field(
        (),
        description="of intervals, learned from plots of other sites and shown beside the raw ones; []: none",
    )
    max_days: float = Field(3, ge=0, description="most days between a plot visit and the acquisition")
    time: Literal["nearest", "linear"] = Field(
        "nearest",
        description="`nearest`: the acquisition nearest to the visit; `linear`: between the one before and "
        "the one after it, where both are within max_days",
    )
    footprint: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["plot"] | None = Field(
        None,
        description="what of a map is held against a plot: null, the pixel under it; `plot`, the mean over "
        "its polygon, where the table has one; a number, else over a circle of this radius in metres",
    )
    truth: Place | None = Field(None, description="folder of reference maps (the demo has one); null: none")
    samples: int = Field(500, ge=50, description="draws per held-back simulation")

    @model_validator(mode="after")
    def _of_plots(self) -> Self:
        if self.plots is None:
            for key in ("measurands", "corrections", "footprint"):
                if getattr(self, key):
                    raise Mistake(key, "is about field plots, and `evaluation.plots` names none")
        return self
