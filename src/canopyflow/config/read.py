"""From a YAML file to a campaign, or to one line per mistake."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from canopyflow.config.block import Mistake
from canopyflow.config.campaign import Campaign
from canopyflow.errors import ConfigError
from canopyflow.registry import nearest


def read_campaign(path: Path) -> Campaign:
    """The campaign in a YAML file; ConfigError if the file is not there, is no YAML or is no campaign."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"campaign file {path}: {error.strerror}", "name a file that is there") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"campaign file {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"campaign file {path} holds no keys", "see config/README.md for a start")
    return load_campaign(values)


def load_campaign(values: Mapping[str, Any]) -> Campaign:
    """The campaign of a parsed YAML mapping.

    Raises ConfigError with one line per mistake, each opening with the path of the key.
    """
    try:
        return Campaign.model_validate(dict(values))
    except ValidationError as error:
        # A tuple whose only item is wrong is also said to be too short: the wrong item is enough.
        places = [each["loc"] for each in error.errors()]
        outer = {place[:n] for place in places for n in range(len(place))}
        lines = [_explain(each) for each in error.errors() if each["loc"] not in outer]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def _explain(error: ErrorDetails) -> str:
    location, kind, text = error["loc"], error["type"], error["msg"].removeprefix("Value error, ")
    cause = error.get("ctx", {}).get("error")
    parts = [*map(str, location), *([cause.key] if isinstance(cause, Mistake) else [])]
    path = ".".join(parts) or "campaign file"
    if kind == "extra_forbidden":
        return f"{path}: unknown key; {nearest(location[-1], _keys_beside(location))}"
    if kind == "missing":
        return f"{path}: this key is required and missing"
    if kind == "literal_error":
        hint = nearest(error["input"], re.findall(r"'([^']+)'", text))
        return f"{path}: unknown value {error['input']!r}; {hint}"
    shown = "" if kind == "value_error" else f" (got {error['input']!r})"
    return f"{path}: {text[0].lower() + text[1:]}{shown}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys of the block that ``location`` points into."""
    block: type[BaseModel] = Campaign
    for part in location[:-1]:
        # An index, or the name of a model, stands between the key of a block and the keys in it.
        if part in block.model_fields:
            annotation = block.model_fields[str(part)].annotation
            inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type)]
            block = next((a for a in inner if issubclass(a, BaseModel)), block)
    return list(block.model_fields)
