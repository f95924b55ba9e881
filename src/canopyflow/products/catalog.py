"""The campaign's STAC catalogue: a root, and a collection for each model, above what was published.

Layout, every link relative, so that the folder can be moved or served anywhere::

    catalog.json
    {model}/collection.json
    {model}/model/                      the bundle that the maps were made with
    {model}/{tile}/{month}/             what :mod:`canopyflow.products.publish` wrote

Made from all tile-months at once: what they are is told by the list that is given, never by what lies about
in the folder. Items are read one at a time.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from canopyflow import __version__
from canopyflow.archive.footprint import bbox_of, box_of, joined
from canopyflow.atomic import atomic_folder, write_json
from canopyflow.products import stac
from canopyflow.products.words import LEGAL_NOTICE, attribution
from canopyflow.vocabulary import ANGLES

log = logging.getLogger("canopyflow")

MODEL = "model"
"""Folder of the bundle's copy, and key of its asset."""
_BUNDLE, _WEIGHTS = "model.json", "weights.safetensors"

_LISTED = ("platform", "constellation", "instruments", "gsd", "proj:code", "processing:level")
"""Properties that a collection summarises as the values that there are."""
_SPANNED = (
    "eo:cloud_cover",
    "view:sun_elevation",
    "view:off_nadir",
    "canopyflow:clear_share",
)
"""Those of which it says the least and the most."""
_OF_ONE_FILE = ("href", "file:size", "file:checksum")


@dataclass(frozen=True)
class Series:
    """What the collections of a campaign have in common.

    Attributes:
        campaign: its name.
        start, end: first and last day that it asks for, YYYY-MM-DD; what a collection without items spans.
        simulated: whether its scenes are the demo's, which no satellite took.
    """

    campaign: str
    start: str
    end: str
    simulated: bool = False


@dataclass
class _Gathered:
    """What the items of one model have in common, and where they are."""

    links: list[dict[str, str]] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    values: dict[str, set[Any]] = field(default_factory=dict)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    renders: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, item: Mapping[str, Any], href: str) -> None:
        """Take one item into account."""
        known = item["properties"]
        self.links.append(
            {"rel": "item", "href": href, "type": "application/geo+json", "title": known["title"]}
        )
        self.times.append(known["datetime"])
        for name in (*_LISTED, *_SPANNED):
            values = known.get(name, ())
            listed = values if isinstance(values, list | tuple) else [values]
            self.values.setdefault(name, set()).update(listed)
        for key, asset in item["assets"].items():
            common = {name: value for name, value in asset.items() if name not in _OF_ONE_FILE}
            self.assets.setdefault(key, common)
        self.renders |= {key: block for key, block in known["renders"].items() if key not in self.renders}

    @property
    def summaries(self) -> dict[str, Any]:
        spans = {name: sorted(self.values.get(name, ())) for name in (*_LISTED, *_SPANNED)}
        return {
            name: {"minimum": values[0], "maximum": values[-1]} if name in _SPANNED else values
            for name, values in spans.items()
            if values
        }


def write_catalog(
    published: Path, months: Mapping[str, Sequence[Path]], bundles: Mapping[str, Path], series: Series
) -> None:
    """Write ``catalog.json`` and the collections into ``published``, a campaign's folder of that name.

    Parameters
    ----------
    months: of each model, in the order of the catalogue, the provenance files of its tile-months.
    bundles: the folder of each model's bundle, which is copied beside its collection.

    Raises OSError for a tile-month that is not there.
    """
    for model, records in months.items():
        folder = published / model
        gathered = _gather(folder, records)
        bundle = json.loads((bundles[model] / _BUNDLE).read_text())
        _copy_bundle(bundles[model], folder / MODEL)
        write_json(folder / stac.COLLECTION, _collection(model, gathered, bundle, folder, series))
        log.info("%s: %d items of %d tile-months", folder, len(gathered.links), len(records))
    write_json(published / stac.CATALOGUE, _root(list(months), series))


def _gather(folder: Path, records: Sequence[Path]) -> _Gathered:
    gathered = _Gathered()
    for path in sorted(records):
        record = json.loads(path.read_text())
        if record["bbox"] not in gathered.boxes:
            gathered.boxes.append(record["bbox"])
        for entry in record["items"]:
            item = path.parent / entry["id"] / f"{entry['id']}.json"
            href = f"./{item.relative_to(folder).as_posix()}"
            gathered.add(json.loads(item.read_text()), href)
    return gathered


def _copy_bundle(bundle: Path, out: Path) -> None:
    with atomic_folder(out) as scratch:
        for path in sorted(path for path in bundle.iterdir() if path.is_file()):
            shutil.copyfile(path, scratch / path.name)


def _root(models: Sequence[str], series: Series) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": stac.STAC_VERSION,
        "id": series.campaign,
        "title": f"{series.campaign}: leaf and canopy variables from Sentinel-2",
        "description": (
            f"Maps of the campaign {series.campaign}, {series.start} to {series.end}: leaf and canopy "
            f"variables with their posteriors, a collection for each model ({', '.join(models)})."
        ),
        "links": [
            {"rel": "root", "href": f"./{stac.CATALOGUE}", "type": "application/json"},
            *(
                {
                    "rel": "child",
                    "href": f"./{model}/{stac.COLLECTION}",
                    "type": "application/json",
                    "title": model,
                }
                for model in models
            ),
        ],
    }


def _collection(
    model: str, gathered: _Gathered, bundle: Mapping[str, Any], folder: Path, series: Series
) -> dict[str, Any]:
    above = f"../{stac.CATALOGUE}"
    years = {int(time[:4]) for time in gathered.times}
    about = _model_asset(model, bundle, folder / MODEL)
    parts = [each for each in stac.EXTENSIONS if gathered.renders or each != _RENDER]
    if "mlm:name" in about:
        parts.append(stac.MODEL_EXTENSION)
    return {
        "type": "Collection",
        "stac_version": stac.STAC_VERSION,
        "stac_extensions": parts,
        "id": f"{series.campaign}-{model}",
        "title": f"{series.campaign}: leaf and canopy variables, {model}",
        "description": _description(model, series, attribution(years, series.simulated)),
        "keywords": ["Sentinel-2", "leaf area index", "chlorophyll", "PROSAIL", "posterior"],
        "license": "other",
        "providers": list(_providers(series)),
        "extent": _extent(gathered, series),
        "summaries": gathered.summaries,
        "item_assets": gathered.assets,
        **({"renders": gathered.renders} if gathered.renders else {}),
        "assets": {MODEL: about},
        "links": [
            {"rel": "root", "href": above, "type": "application/json"},
            {"rel": "parent", "href": above, "type": "application/json"},
            *([] if series.simulated else [_LICENCE]),
            *gathered.links,
        ],
    }


_RENDER = next(each for each in stac.EXTENSIONS if "/render/" in each)
_LICENCE = {
    "rel": "license",
    "href": LEGAL_NOTICE,
    "type": "application/pdf",
    "title": "Legal notice on the use of Copernicus Sentinel Data and Service Information",
}


def _description(model: str, series: Series, credit: str) -> str:
    return (
        "Leaf and canopy variables retrieved from Sentinel-2 surface reflectance with radiative transfer "
        f"(PROSAIL), model {model} of the campaign {series.campaign}. Each asset is one statistic of the "
        "posterior of one variable, `lai_mean` or `lai_q05`; `fit` is the distance of the posterior from the "
        "observed spectrum in units of the noise, `flags` says where not to believe it and what is doubted "
        f"about its scene. Values are number x scale + offset, as `raster:bands` says. {credit}."
    )


def _providers(series: Series) -> Iterator[dict[str, Any]]:
    if not series.simulated:
        yield {
            "name": "European Union, Copernicus Sentinel data, processed by ESA",
            "roles": ["producer", "licensor"],
            "url": "https://sentinels.copernicus.eu",
        }
    yield {
        "name": f"canopyflow campaign {series.campaign}",
        "description": "who ran the campaign; the provenance of each tile-month has its settings",
        "roles": ["processor"],
        "processing:level": stac.LEVEL,
        "processing:software": {"canopyflow": __version__},
    }


def _extent(gathered: _Gathered, series: Series) -> dict[str, Any]:
    """The box around all, then that of each grid; where nothing was found, the world and the period."""
    boxes: list[list[float]] = [[-180.0, -90.0, 180.0, 90.0]]
    if gathered.boxes:
        around = [round(value, 7) for value in bbox_of(joined(map(box_of, gathered.boxes)))]
        boxes = gathered.boxes if len(gathered.boxes) == 1 else [around, *gathered.boxes]
    times = gathered.times or [f"{series.start}T00:00:00Z", f"{series.end}T23:59:59Z"]
    return {"spatial": {"bbox": boxes}, "temporal": {"interval": [[min(times), max(times)]]}}


def _model_asset(model: str, bundle: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The bundle's weights, with what MLM says of a network; of a baseline the bundle's description."""
    weights, family = folder / _WEIGHTS, bundle.get("family")
    if family is None or not weights.is_file():
        return {
            "href": f"./{MODEL}/{_BUNDLE}",
            "type": "application/json",
            "title": f"the estimator {model}",
            "roles": ["metadata"],
            **stac.of_file(folder / _BUNDLE),
        }
    bands = list(bundle["bands"])
    return {
        "href": f"./{MODEL}/{_WEIGHTS}",
        "type": "application/octet-stream; application=safetensors",
        "title": f"weights of {model}; model.json beside them says what they are",
        "roles": ["mlm:model", "mlm:weights"],
        **stac.of_file(weights),
        "mlm:name": f"canopyflow-{model}",
        "mlm:architecture": f"{bundle['encoder']['name']} encoder, {family['name']} posterior",
        "mlm:framework": "pytorch",
        "mlm:framework_version": str(bundle["versions"]["torch"]),
        "mlm:artifact_type": "safetensors",
        "mlm:tasks": ["regression"],
        "mlm:total_parameters": _parameters(weights),
        "mlm:input": [_input("reflectance", bands, len(bands)), _input("angles", [], len(ANGLES))],
        "mlm:output": [_output([each["name"] for each in bundle["variables"]])],
        "bands": [{"name": band} for band in bands],
    }


def _input(name: str, bands: list[str], size: int) -> dict[str, Any]:
    structure = {"shape": [-1, size], "dim_order": ["batch", "bands"], "data_type": "float32"}
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
    total = 0
    with safe_open(weights, framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            size = 1
            for side in file.get_slice(key).get_shape():
                size *= side
            total += size
    return total
