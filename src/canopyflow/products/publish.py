"""Publish one product store: COGs, a STAC item per scene, a collection, and the provenance.

Layout of the folder::

    collection.json
    provenance.json
    {item}/{item}.json
    {item}/{variable}.tif     a band per statistic of the product
    {item}/fit.tif, {item}/flags.tif, and {item}/ess.tif if the draws are refined

Values are integers with the scale and offset of the product, as GDAL's band metadata and in the items.

Ids follow from campaign, model, tile and source scene; nothing depends on the
time of the run, so publishing twice gives the same bytes.
"""

import calendar
import json
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import xarray as xr
from pyproj import Transformer
from rasterio.transform import Affine

from canopyflow import __version__
from canopyflow.archive.footprint import geojson_of_ring
from canopyflow.archive.grid import grid_of_product
from canopyflow.archive.names import plain
from canopyflow.atomic import STORE_METADATA, atomic_folder, write_json
from canopyflow.errors import ConfigError
from canopyflow.inference.stored import clear_share, open_product, row_strips, statistics_of
from canopyflow.products.cog import Numbers, write_cog
from canopyflow.vocabulary import QUANTILES

log = logging.getLogger("canopyflow")

PROVENANCE = "provenance.json"
EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)

_MADE_WITH = ("tile", "month", "seed", "summaries", "drawn_share", "samples", "bundle_sha256")
"""Attributes of a product that its provenance repeats."""

_PLANES = {
    "fit": "distance of the posterior from the observation, in units of the noise",
    "ess": "effective number of importance-weighted draws",
    "flags": "why not to believe a pixel",
}
"""Layers without statistics; ``ess`` only where the draws were refined."""


def publish(
    product: Path,
    out: Path,
    *,
    campaign: str,
    model: str,
    variables: list[str],
    scenes: Path,
    provenance: dict[str, Any],
) -> list[str]:
    """Write the folder ``out`` and return the ids of its STAC items, in order of time.

    Parameters
    ----------
    product: product store of one tile-month of ``model``.
    variables: output variables to publish; each must be in the product, of a baseline one of them.
    scenes: the scene store behind the product; its pinned sources (ids, hrefs, offsets) go into
        the provenance, and ``item_href`` of a source, where it has one, into the ``derived_from`` link.
    provenance: what else made the product (code fingerprints, versions, configuration), as plain
        values. ``provenance["versions"]`` ({software: version}) is also told by every item.

    A scene without any clear pixel has no item; the provenance names it, and why. Raises ConfigError for a
    variable that the product does not have, DataError for an item id that would lead out of ``out``.
    """
    with open_product(product, decode=False) as store:
        missing = [name for name in variables if name not in store.data_vars]
        if "estimator" in store.attrs and len(missing) < len(variables):
            # A baseline does not estimate all that families do.
            variables = [name for name in variables if name not in missing]
        elif missing:
            raise ConfigError(
                f"publication.variables: {missing[0]!r} is not in the product",
                f"it has {', '.join(sorted(str(n) for n in store.data_vars if n not in _PLANES))}",
            )
        sources = {str(scene["id"]): scene for scene in _sources(scenes)}
        record = _provenance(store, campaign, model, list(sources.values()), provenance)
        with atomic_folder(out) as scratch:
            collection = _collection(store, campaign, model)
            for time in range(store.sizes["time"]):
                name = str(store["item"].values[time])
                clear = clear_share(store, time)
                if not clear:
                    reason = sources.get(name, {}).get("problem") or "no clear pixel"
                    record["left_out"].append({"id": name, "reason": reason})
                    continue
                item = _item(store, time, campaign, model, record, sources.get(name, {}), clear)
                _write_layers(store, time, variables, item, scratch / plain(item.id, product))
                collection.add_item(item)
            _save(collection, scratch)
            write_json(scratch / PROVENANCE, record)
    ids = [item.id for item in collection.get_items()]
    log.info(
        "%s: published %d scenes x %s; %d without a clear pixel left out",
        out,
        len(ids),
        ", ".join(variables),
        len(record["left_out"]),
    )
    return ids


def _sources(scenes: Path) -> list[dict[str, Any]]:
    """The pinned sources of a scene store, read from its root metadata alone."""
    content = json.loads((scenes / STORE_METADATA).read_text())
    found: list[dict[str, Any]] = content["attributes"].get("scenes", [])
    return found


def _provenance(
    store: xr.Dataset, campaign: str, model: str, sources: list[dict[str, Any]], given: dict[str, Any]
) -> dict[str, Any]:
    used = {str(name) for name in store["item"].values}
    return {
        **given,
        "campaign": campaign,
        "model": model,
        **{key: store.attrs.get(key) for key in _MADE_WITH},
        "product_sha256": store.attrs.get("content_sha256"),
        "scenes": [scene for scene in sources if str(scene["id"]) in used],
        "left_out": [],
    }


def _footprint(store: xr.Dataset) -> tuple[dict[str, Any], list[float], Affine, tuple[int, int]]:
    """Grid as GeoJSON polygon and bbox, its transform, and its shape (rows, columns)."""
    grid = grid_of_product(store.attrs, store.sizes)
    west, south, east, north = grid.bounds
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    ring = [to_degrees.transform(*corner) for corner in corners]
    # Seven decimals of a degree are a centimetre, and keep the last bits of PROJ out of the file.
    geometry, box = geojson_of_ring(ring, digits=7)
    return geometry, box, grid.transform, grid.shape


def _collection(store: xr.Dataset, campaign: str, model: str) -> pystac.Collection:
    _, box, _, _ = _footprint(store)
    tile, month = str(store.attrs["tile"]), str(store.attrs["month"])
    year, number = (int(part) for part in month.split("-"))
    first = datetime(year, number, 1, tzinfo=UTC)
    last = datetime(year, number, calendar.monthrange(year, number)[1], 23, 59, 59, tzinfo=UTC)
    collection = pystac.Collection(
        id=f"{campaign}-{model}-{tile}-{month}",
        title=f"{campaign}: leaf and canopy variables of {tile}, {month} ({model})",
        description=(
            "Leaf and canopy variables retrieved from Sentinel-2 surface reflectance by a variational "
            f"auto-encoder with a PROSAIL decoder, model {model}. The bands of a variable are statistics of "
            f"its posterior: {_in_words(statistics_of(store))}. `fit` is the distance of the posterior from "
            "the observed spectrum in units of the noise, `flags` says where not to believe it and what is "
            "doubted about its scene. Values are number x scale + offset, as the bands say."
        ),
        extent=pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[first, last]])),
        license="other",
        keywords=["Sentinel-2", "leaf area index", "chlorophyll", "PROSAIL", "posterior"],
    )
    collection.add_asset(
        "provenance",
        pystac.Asset(
            PROVENANCE, title="what this was made from", media_type="application/json", roles=["metadata"]
        ),
    )
    return collection


def _in_words(statistics: Sequence[str]) -> str:
    words = {"mean": "mean", "std": "standard deviation"}
    words |= {name: f"{100 * p:g} % quantile" for name, p in QUANTILES.items()}
    return ", ".join(f"{words[name]} (`{name}`)" for name in statistics)


def _item(
    store: xr.Dataset,
    time: int,
    campaign: str,
    model: str,
    record: dict[str, Any],
    source: dict[str, Any],
    clear: float,
) -> pystac.Item:
    """The STAC item of one scene, without its assets; ``clear``: share of its pixels with a posterior."""
    name, tile = str(store["item"].values[time]), str(store.attrs["tile"])
    geometry, box, transform, shape = _footprint(store)
    platform = str(store["platform"].values[time])
    software = record.get("versions") or {"canopyflow": __version__}
    item = pystac.Item(
        id=f"{campaign}-{model}-{tile}-{name}",
        geometry=geometry,
        bbox=box,
        datetime=pd.Timestamp(store["time"].values[time]).to_pydatetime().replace(tzinfo=UTC),
        properties={
            "platform": f"sentinel-2{platform[-1].lower()}",
            "constellation": "sentinel-2",
            "gsd": transform.a,
            "proj:code": f"EPSG:{int(store.attrs['epsg'])}",
            "proj:transform": list(transform)[:6],
            "proj:shape": list(shape),
            "processing:lineage": f"canopyflow, model {model}, from {name}",
            "processing:software": {str(k): str(v) for k, v in sorted(software.items())},
            "canopyflow:campaign": campaign,
            "canopyflow:model": model,
            "canopyflow:tile": tile,
            "canopyflow:bundle_sha256": store.attrs.get("bundle_sha256"),
            "canopyflow:summaries": store.attrs.get("summaries"),
            "canopyflow:samples": store.attrs.get("samples"),
            "canopyflow:clear_share": round(clear, 4),
            "canopyflow:boa_offset": source.get("offset"),
            **({"canopyflow:evidence": source["evidence"]} if source.get("evidence") else {}),
        },
        stac_extensions=list(EXTENSIONS),
    )
    # A static archive's items may have no address of their own: then the link leads to the pinned record.
    href = source.get("item_href") or f"../{PROVENANCE}"
    item.add_link(pystac.Link("derived_from", href, media_type="application/json", title=name))
    return item


def _write_layers(
    store: xr.Dataset, time: int, variables: list[str], item: pystac.Item, folder: Path
) -> None:
    """COGs of one scene, and the assets that describe them."""
    folder.mkdir()
    scene, grid = store.isel(time=time), grid_of_product(store.attrs, store.sizes)
    transform = grid.transform
    tags = {"source": str(store["item"].values[time]), "item": item.id}
    for name in [*variables, *(name for name in _PLANES if name in scene)]:
        layer, bands = scene[name], [name] if name in _PLANES else statistics_of(store)
        numbers, units = _numbers(layer), None if name == "flags" else layer.attrs.get("units", "1")
        strips = (layer.isel(y=rows).values for rows in row_strips(layer))
        write_cog(
            folder / f"{name}.tif",
            (strip.reshape(len(bands), *strip.shape[-2:]) for strip in strips),
            grid,
            numbers=numbers,
            names=bands,
            units=units if name in variables else None,
            tags=tags,
        )
        title = _PLANES.get(name) or layer.attrs.get("long_name", name)
        about = {"bands": [{"name": band, **({"unit": units} if units else {})} for band in bands]}
        extra = {**about, **_stac(numbers), **(_bitfields(layer.attrs) if name == "flags" else {})}
        _add_asset(item, name, title, extra, transform)


def _numbers(layer: xr.DataArray) -> Numbers:
    """How the values of an undecoded layer are stored."""
    fill = math.nan if layer.dtype.kind == "f" else layer.attrs.get("_FillValue")
    scale, offset = (float(layer.attrs.get(k, v)) for k, v in (("scale_factor", 1), ("add_offset", 0)))
    return Numbers(layer.dtype, None if fill is None else float(fill), scale, offset)


def _stac(numbers: Numbers) -> dict[str, Any]:
    """The same in the words of STAC's common metadata and raster extension."""
    out: dict[str, Any] = {"data_type": np.dtype(numbers.dtype).name}
    if numbers.nodata is not None:
        out["nodata"] = "nan" if math.isnan(numbers.nodata) else int(numbers.nodata)
    if (numbers.scale, numbers.offset) != (1.0, 0.0):
        out |= {"raster:scale": numbers.scale, "raster:offset": numbers.offset}
    return out


def _add_asset(item: pystac.Item, name: str, title: str, extra: dict[str, Any], transform: Affine) -> None:
    item.add_asset(
        name,
        pystac.Asset(
            f"./{name}.tif",
            title=title,
            media_type=pystac.MediaType.COG,
            roles=["metadata"] if name == "flags" else ["data"],
            extra_fields={"raster:sampling": "area", "raster:spatial_resolution": transform.a, **extra},
        ),
    )


def _bitfields(attrs: dict[str, Any]) -> dict[str, Any]:
    """CF flag attributes as STAC classification:bitfields."""
    masks = [int(mask) for mask in np.atleast_1d(attrs.get("flag_masks", []))]
    names = str(attrs.get("flag_meanings", "")).split()
    fields = [
        {
            "name": name,
            "offset": mask.bit_length() - 1,
            "length": 1,
            "classes": [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}],
        }
        for mask, name in zip(masks, names, strict=True)
    ]
    return {"classification:bitfields": fields} if fields else {}


def _save(collection: pystac.Collection, folder: Path) -> None:
    """Write collection and items with relative links, so that the folder can be moved or served anywhere."""
    collection.set_self_href(str(folder / "collection.json"))
    for item in collection.get_items():
        item.set_self_href(str(folder / item.id / f"{item.id}.json"))
    collection.catalog_type = pystac.CatalogType.SELF_CONTAINED
    for item in collection.get_items():
        write_json(folder / item.id / f"{item.id}.json", item.to_dict(include_self_link=False))
    write_json(folder / "collection.json", collection.to_dict(include_self_link=False))
