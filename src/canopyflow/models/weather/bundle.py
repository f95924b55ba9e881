"""The saved model of maps from weather: a folder of weights and of a description, without foreign code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from canopyflow.atomic import atomic_folder, write_json
from canopyflow.errors import DataError
from canopyflow.models.weather.autoencoder import WeatherAutoencoder, WeatherOptions
from canopyflow.models.weather.drivers import GrowthDrivers

FORMAT, FORMAT_VERSION = "canopyflow-weather", 1
WEIGHTS, MODEL = "weights.safetensors", "weather.json"
_TABLES = ("day_predicted", "day_errors", "day_left")
"""Buffers that are as long as the days the model learned from."""


@dataclass(frozen=True)
class WeatherBundle:
    """A model with what its maps are: ``places``, a name for each value; ``value``, the name of the
    variable; ``recipe``, how its drivers are made of daily weather, or None if they are given as they are;
    ``training``, in plain values, for the reader."""

    model: WeatherAutoencoder
    places: tuple[str, ...]
    value: str
    recipe: GrowthDrivers | None
    training: dict[str, Any]


def save(bundle: WeatherBundle, folder: str | Path, history: Sequence[dict[str, Any]] = ()) -> None:
    """Write ``bundle`` as a folder, atomically."""
    with atomic_folder(folder) as scratch:
        weights = {k: v.detach().cpu().contiguous() for k, v in bundle.model.state_dict().items()}
        save_file(weights, scratch / WEIGHTS)
        options = asdict(bundle.model.options)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "value": bundle.value,
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
            "drivers": bundle.recipe.state() if bundle.recipe is not None else None,
            "places": list(bundle.places),
            "training": bundle.training,
            "history": list(history),
            "weights_sha256": _sha256(scratch / WEIGHTS),
        }
        write_json(scratch / MODEL, content)


def load(folder: str | Path) -> WeatherBundle:
    """Load what :func:`save` wrote, ready to be asked.

    Raises DataError if a file is missing, damaged, or of another format.
    """
    path = Path(folder) / MODEL
    if not path.is_file():
        raise DataError(
            f"{folder} is no model of weather: it has no {MODEL}", "give a folder that `weather fit` wrote"
        )
    try:
        content = json.loads(path.read_text())
        known = content["format"] == FORMAT and content["format_version"] == FORMAT_VERSION
        if not known:
            raise DataError(f"{path} has another format", "fit the model again with this version")
        weights = Path(folder) / WEIGHTS
        if not weights.is_file() or _sha256(weights) != content["weights_sha256"]:
            raise DataError(
                f"{weights} is not the file that {MODEL} describes", "copy the whole folder again"
            )
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content["options"].items()
        }
        model = WeatherAutoencoder(WeatherOptions(**given))
        state = load_file(weights)
        for name in _TABLES:
            setattr(model, name, state[name])
        model.load_state_dict(state)
        recipe = GrowthDrivers.from_state(content["drivers"]) if content["drivers"] is not None else None
        found = WeatherBundle(
            model.eval().requires_grad_(False),
            tuple(content["places"]),
            content["value"],
            recipe,
            content["training"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{path} is damaged: {error}", "copy the whole folder again") from error
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
