"""The models that come with the package: ready to use, nothing to train.

Each is a model bundle in ``models/shipped/{name}/``, made and put there by the rule ``ship`` of the workflow
from a campaign file of its own (docs/shipped.md). Free of torch: whoever checks a campaign asks here too.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from canopyflow import registry
from canopyflow.atomic import atomic_folder
from canopyflow.errors import ConfigError

CAMPAIGNS: dict[str, str] = {"s2": "shipped", "s2-9": "shipped_nine"}
"""The models that are shipped, each with the campaign that trains it: of all ten bands, and without B08."""

COMMAND = "snakemake ship --configfile config/campaigns/{}.yaml --cores all --forcerun put_into_package"
"""What trains and ships a model, given its campaign."""

MODEL = "model.json"
FILES = (MODEL, "weights.safetensors", "history.jsonl", "card.md")
"""Files of a bundle."""


def folder() -> Path:
    """Where the bundles lie."""
    return registry.SOURCE / "models" / "shipped"


class _Shipped:
    """Names of the models that are here, looked up whenever they are asked for."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __len__(self) -> int:
        return len(self._names())

    @staticmethod
    def _names() -> list[str]:
        return [name for name in CAMPAIGNS if (folder() / name / MODEL).is_file()]


SHIPPED = _Shipped()


def bundle_of(model: str | Path) -> Path:
    """Folder of a model that is given by the name of a shipped one, or by its folder.

    A name comes before a folder of that name in the working directory, which is reached as ``./s2`` or as a
    Path. Raises ConfigError for the name of a model that should be here and is not.
    """
    if model not in CAMPAIGNS:
        return Path(model)
    if model not in SHIPPED:
        raise ConfigError(
            f"the model {model!r} does not come with this version",
            f"train it: {COMMAND.format(CAMPAIGNS[model])}",
        )
    return folder() / model


def take(name: str, out: str | Path) -> None:
    """Copy a shipped model to the folder ``out``, atomically. Raises ConfigError if it is not here."""
    source = bundle_of(name)
    with atomic_folder(out) as scratch:
        for file in FILES:
            shutil.copyfile(source / file, scratch / file)


def digest(model: str | Path) -> str:
    """SHA-256 of ``model.json``, which holds that of the weights: another model has another one; another card
    or record beside the same weights changes nothing. Raises ConfigError if it is not here."""
    return hashlib.sha256((bundle_of(model) / MODEL).read_bytes()).hexdigest()


def description(name: str) -> dict[str, Any]:
    """``model.json`` of a shipped model. Raises ConfigError for a name that there is not."""
    if name not in SHIPPED:
        raise ConfigError(f"unknown shipped model {name!r}", registry.nearest(name, SHIPPED))
    path = folder() / name / MODEL
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
