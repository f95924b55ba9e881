"""The network that turns what was seen into features."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from canopyflow.config.block import Block, OneOf, check_options
from canopyflow.registry import ENCODERS

DEFAULT = "pixel"


class Encoder(Block):
    """The network that reads a pixel: its kind, and beside it the options that this kind has."""

    model_config = ConfigDict(extra="allow")

    kind: Annotated[str, OneOf(ENCODERS.what, ENCODERS)] = Field(
        DEFAULT, description="which encoder; all other keys are options of it"
    )

    @model_validator(mode="before")
    @classmethod
    def _options_of_its_kind(cls, values: Any) -> Any:
        """Options that were not given take the encoder's defaults: they are part of what is run."""
        if not isinstance(values, Mapping):
            return values
        options = dict(values)
        kind = options.pop("kind", DEFAULT)
        if not isinstance(kind, str) or kind not in ENCODERS:
            return {"kind": kind}
        check_options(ENCODERS, kind, options)
        return {"kind": kind, **ENCODERS.options(kind), **options}
