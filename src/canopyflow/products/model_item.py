"""The model behind the maps, beside their collection: a copy of its bundle, and an item in the words of MLM.

The item stands in no collection, since it is no map; the collection links to it. Source of the words: the
STAC extension Machine Learning Model, https://github.com/stac-extensions/mlm.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from canopyflow.atomic import atomic_folder, write_json
from canopyflow.products import stac
from canopyflow.vocabulary import ANGLES

FOLDER = "model"
"""Where the copy lies, below the model's collection; also the key of its asset."""
ITEM = "item.json"
_BUNDLE, _WEIGHTS = "model.json", "weights.safetensors"
_EXTENSIONS = [
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    *(each for each in stac.EXTENSIONS if "/file/" in each),
]


def copy_bundle(
    model: str, bundle: Path, out: Path, *, campaign: str, start: str, end: str
) -> dict[str, Any]:
    """Copy the folder ``bundle`` to ``out`` and, of a network, describe it by an item there.

    ``start`` and ``end``: the days, YYYY-MM-DD, that the campaign asks for. Returns the asset of the weights,
    its address relative to ``out``; of an estimator without any, that of its description.
    """
    content = json.loads((bundle / _BUNDLE).read_text())
    with atomic_folder(out) as scratch:
        for path in sorted(path for path in bundle.iterdir() if path.is_file()):
            shutil.copyfile(path, scratch / path.name)
        asset = _asset(model, content, scratch)
        if _is_network(content):
            about = _properties(model, content, _parameters(scratch / _WEIGHTS))
            period = {"start_datetime": f"{start}T00:00:00Z", "end_datetime": f"{end}T23:59:59Z"}
            title = {"title": f"{campaign}: the model {model}", "datetime": None, **period}
            write_json(scratch / ITEM, _item(f"{campaign}-{model}-model", title | about, asset))
    return asset


def _asset(model: str, bundle: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    weights = folder / _WEIGHTS
    file = weights if weights.is_file() else folder / _BUNDLE
    kind, what = ("application/json", "settings")
    if file == weights:
        kind, what = ("application/octet-stream", "weights, which model.json beside them describes")
    asset = {
        "href": f"./{file.name}",
        "type": kind,
        "title": f"{model}: {what}",
        "roles": ["mlm:model", "mlm:weights"] if _is_network(bundle) else ["metadata"],
        **stac.of_file(file),
    }
    if _is_network(bundle):
        asset |= {
            "bands": [{"name": band} for band in bundle["bands"]],
            "mlm:artifact_type": "safetensors.torch.save_file",
        }
    return asset


def _is_network(bundle: Mapping[str, Any]) -> bool:
    return "family" in bundle


def _item(name: str, properties: dict[str, Any], asset: dict[str, Any]) -> dict[str, Any]:
    above = f"../../{stac.CATALOGUE}"
    return {
        "type": "Feature",
        "stac_version": stac.STAC_VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": name,
        # It was trained on physics, which is of no place.
        "geometry": None,
        "properties": {**properties, "bands": asset["bands"]},
        "links": [
            {"rel": "root", "href": above, "type": "application/json"},
            {"rel": "parent", "href": above, "type": "application/json"},
        ],
        "assets": {FOLDER: asset},
    }


def _properties(model: str, bundle: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    return {
        "mlm:name": f"canopyflow-{model}",
        "mlm:architecture": f"{bundle['encoder']['name']} encoder, {bundle['family']['name']} posterior",
        "mlm:framework": "PyTorch",
        "mlm:framework_version": str(bundle["versions"]["torch"]),
        "mlm:tasks": ["regression"],
        "mlm:total_parameters": parameters,
        "mlm:input": [
            _input("reflectance", list(bundle["bands"]), len(bundle["bands"])),
            _input("angles", [], len(ANGLES)),
        ],
        "mlm:output": [_output([each["name"] for each in bundle["variables"]])],
    }


def _input(name: str, bands: list[str], size: int) -> dict[str, Any]:
    order = ["batch", "bands" if bands else "channel"]
    structure = {"shape": [-1, size], "dim_order": order, "data_type": "float32"}
    return {"name": name, "bands": bands, "input": structure}


def _output(variables: list[str]) -> dict[str, Any]:
    return {
        "name": "posterior",
        "description": f"draws of {', '.join(variables)}",
        "tasks": ["regression"],
        "result": {
            "shape": [-1, -1, len(variables)],
            "dim_order": ["draw", "batch", "variable"],
            "data_type": "float32",
        },
    }


def _parameters(weights: Path) -> int:
    """How many numbers the weights are; only their shapes are read."""
    with safe_open(weights, framework="numpy") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
