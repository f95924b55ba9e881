"""Areas whose means are tabulated."""

from typing import Self

from pydantic import Field, model_validator

from canopyflow.config.block import Block, Mistake, Place


class Parcels(Block):
    """Areas whose means are tabulated."""

    path: Place | None = Field(
        None,
        description="file of polygons (GeoJSON, GeoPackage or GeoParquet), ${NAME} from the environment; "
        "null: none",
    )
    id: str | None = Field(
        None, description="property that names a parcel; null: the first of parcel, parcel_id, id"
    )
    samples: int = Field(100, ge=20, description="joint draws per pixel, and of the mean over a parcel")
    pixels: int = Field(
        64, ge=1, description="of a parcel with more clear pixels, as many are drawn from, evenly spaced"
    )

    @model_validator(mode="after")
    def _of_parcels(self) -> Self:
        if self.path is None and self.id is not None:
            raise Mistake("id", "is about parcels, and `parcels.path` names none")
        return self
