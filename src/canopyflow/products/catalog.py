"""The campaign's STAC catalogue: a root, and a collection for each model, above what was published.

Layout, every link relative, so that the folder can be moved or served anywhere::

    catalog.json
    {model}/collection.json
    {model}/model/                      the bundle that the maps were made with; item.json describes a network
    {model}/{tile}/{month}/             what :mod:`canopyflow.products.publish` wrote

Made from all tile-months at once: what they are is told by the list that is given, never by what lies about
in the folder. Items are read one at a time.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canopyflow import __version__
from canopyflow.archive.footprint import bbox_of, box_of, joined
from canopyflow.atomic import write_json
from canopyflow.products import stac
from canopyflow.products.model_item import FOLDER, ITEM, copy_bundle
from canopyflow.products.words import LEGAL_NOTICE, attribution

log = logging.getLogger("canopyflow")

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
        # Of a season as a whole there is no one time.
        moments = (known[name] for name in ("datetime", "start_datetime", "end_datetime") if known.get(name))
        self.times.extend(moments)
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
        span = {"campaign": series.campaign, "start": series.start, "end": series.end}
        about = copy_bundle(model, bundles[model], folder / FOLDER, **span)
        write_json(folder / stac.COLLECTION, _collection(model, gathered, about, series))
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


def _collection(model: str, gathered: _Gathered, about: dict[str, Any], series: Series) -> dict[str, Any]:
    above = f"../{stac.CATALOGUE}"
    years = {int(time[:4]) for time in gathered.times}
    parts = [each for each in stac.EXTENSIONS if gathered.renders or each != _RENDER]
    network = "mlm:artifact_type" in about
    known = {key: value for key, value in about.items() if key != "mlm:artifact_type"}
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
        "assets": {FOLDER: known | {"href": f"./{FOLDER}/{Path(about['href']).name}"}},
        "links": [
            {"rel": "root", "href": above, "type": "application/json"},
            {"rel": "parent", "href": above, "type": "application/json"},
            *([] if series.simulated else [_LICENCE]),
            *([_described(model)] if network else []),
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


def _described(model: str) -> dict[str, str]:
    return {
        "rel": "describedby",
        "href": f"./{FOLDER}/{ITEM}",
        "type": "application/geo+json",
        "title": f"the model {model}, in the words of MLM",
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
