"""The first line of a campaign file, by which editors complete its keys and check its values."""

import json
import os
from pathlib import Path

from canopyflow.atomic import atomic_file
from canopyflow.config.campaign import Campaign

SCHEMA = Path("workflow/schemas/campaign.schema.json")
"""Of a checkout, relative to its top."""

MARK = "# yaml-language-server: $schema="


def schema_text() -> str:
    """The JSON schema of a campaign file."""
    return json.dumps(Campaign.model_json_schema(), indent=2) + "\n"


def line_for(file: Path, schema: Path) -> str:
    """The line that leads from ``file`` to ``schema``, relative to the folder of the file."""
    return MARK + Path(os.path.relpath(schema.absolute(), file.absolute().parent)).as_posix()


def with_line(text: str, file: Path, schema: Path) -> str:
    """A campaign's text with the line to ``schema`` on its top, in place of one that is there."""
    first, _, rest = text.partition("\n")
    return f"{line_for(file, schema)}\n{rest if first.startswith(MARK) else text}"


def schema_for(file: Path) -> Path:
    """The schema that a new campaign file is to name: that of the checkout around it or around the working
    directory; where there is none, ``campaign.schema.json`` beside the file, written if need be."""
    for folder in (*file.absolute().parents, *(Path.cwd() / "any").parents):
        if (folder / SCHEMA).is_file():
            return folder / SCHEMA
    beside = file.absolute().parent / SCHEMA.name
    if not beside.exists() or beside.read_text() != schema_text():
        with atomic_file(beside) as scratch:
            scratch.write_text(schema_text())
    return beside
