"""Where scenes come from."""

from typing import Literal

from pydantic import Field

from canopyflow.config.block import Block, Place


class Archive(Block):
    """Which catalogue, and how to read it."""

    catalog: Place = Field(
        description="`demo` (the synthetic archive), the URL of a STAC API, or the path of a static "
        "catalog.json; ${NAME} is read from the environment"
    )
    collection: str = Field("sentinel-2-l2a", description="collection to search")
    pin: str = Field(
        "1",
        description="a remote archive is searched once, and again when this label, what is asked or the code "
        "of the search changes (a local one also when its catalogue changes)",
    )
    max_cloud_cover: float = Field(90, ge=0, le=100, description="skip items cloudier than this, percent")
    reader: Literal["stackstac", "odc"] = Field("stackstac", description="library that reads the pixels")
    offset_contradicted: Literal["correct", "set_aside"] = Field(
        "correct",
        description="what becomes of a scene whose pixels contradict the declared offset: it is written "
        "with the other one, or set aside",
    )
    max_unreadable: int = Field(
        0,
        ge=0,
        description="scenes that may be set aside because they cannot be read; with more, the campaign makes "
        "all else and then fails, and the same command tries them again",
    )
    view_zenith_if_unknown: float = Field(
        5.0, ge=0, lt=15, description="assumed view zenith, degrees, when neither metadata nor item give it"
    )
