"""What leaves the campaign's folder."""

from typing import Annotated

from pydantic import Field

from canopyflow.config.block import Block, Distinct, Output


class Publication(Block):
    """What is published."""

    variables: Annotated[tuple[Output, ...], Distinct] = Field(
        ("lai", "ccc"), min_length=1, description="variables published as COGs"
    )
