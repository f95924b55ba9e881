"""Where scenes come from."""

import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from canopyflow.archive.addresses import is_address, without_secrets
from canopyflow.archive.presets import DEMO, PRESETS, address_of, collection_of
from canopyflow.config.block import Block, Mistake
from canopyflow.registry import nearest

DEMO_CATALOG = Path("demo-archive/items.json")
"""Of the synthetic archive, which a campaign that asks for it writes into the working directory."""


class Archive(Block):
    """Which catalogue, and how to read it."""

    catalog: str = Field(
        description=f"`{DEMO}` (the synthetic archive), {', '.join(f'`{name}`' for name in PRESETS)}, "
        "the URL of a STAC API, or path or URL of a static catalog.json; ${NAME} is read from the environment"
    )
    collection: str | None = Field(None, description="collection to search; null: the one of Level-2A")
    pin: str = Field(
        "1",
        description="a remote archive is searched once, and again when this label, what is asked or the code "
        "of the search changes (a local one also when its catalogue changes); see also `canopyflow search`",
    )
    lock: Literal["assets", "items"] = Field(
        "assets",
        description="what is pinned of each file: its size and ETag, asked of the server where the item does "
        "not state them; or `items`: only what it states",
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

    @field_validator("catalog")
    @classmethod
    def _can_be_found(cls, value: str) -> str:
        # The variables stay in the text: what stands in them may be secret, and this text is recorded.
        for name in re.findall(r"\$\{(\w+)\}", value):
            if not os.environ.get(name):
                raise ValueError(f"the environment variable {name} is not set; set it first")
        is_word = re.fullmatch(r"[\w-]{1,100}", value) is not None
        if is_word and value not in (DEMO, *PRESETS) and not Path(value).exists():
            hint = nearest(value, (DEMO, *PRESETS))
            raise ValueError(f"unknown catalogue {value!r}, and no file or folder of this name; {hint}")
        return value

    @model_validator(mode="after")
    def _collection_is_there(self) -> Self:
        if self.catalog in PRESETS and self.collection is not None:
            known = (PRESETS[self.catalog].collection, *PRESETS[self.catalog].others)
            if self.collection not in known:
                hint = nearest(self.collection, known)
                raise Mistake(
                    "collection", f"{self.catalog} has no Level-2A called {self.collection!r}; {hint}"
                )
        return self

    @field_serializer("catalog")
    def _told(self, value: str) -> str:
        return without_secrets(value)

    @property
    def address(self) -> str:
        """URL or path of the catalogue; may hold secrets."""
        return address_of(self.catalog)

    @property
    def is_remote(self) -> bool:
        """Whether the catalogue is read over the network."""
        return is_address(self.address)

    @property
    def searched(self) -> str:
        """The collection that is searched."""
        return self.collection or collection_of(self.catalog)
