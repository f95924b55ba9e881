"""Publish one product store: COGs, a STAC item per scene, styles, a picture, and the provenance.

Layout of the folder, which is ``published/{model}/{tile}/{month}`` of a campaign::

    provenance.json
    {item}/{item}.json
    {item}/{variable}_{statistic}.tif     for every variable that is published and every statistic mapped
    {item}/fit.tif, {item}/flags.tif, and {item}/ess.tif if the draws are refined
    {item}/*.qml                          a QGIS style beside each file, under its name
    {item}/thumbnail.png

Of a product of a season, ``published/{model}/{tile}/{year}``, every date that is mapped takes the place of a
scene, with ``unobserved_days.tif``; and the item ``{tile}_{year}`` has the maps of the season as a whole
(``season_start_mean.tif``, ...) with the flags of all dates. All of them were made of all passes, and say so.

The items link to the model's collection and the campaign's catalogue, which stand above the folder and are
made from all tile-months (:mod:`canopyflow.products.catalog`). Values are integers with the scale and offset
of the product, as GDAL's band metadata and in the items.

Ids follow from campaign, model, tile and source scene; nothing depends on the time of the run, so publishing
twice gives the same bytes.
"""

import calendar
import hashlib
import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.directions import Direction, mean_direction
from canopyflow.archive.evidence import ANGLES_ASSUMED
from canopyflow.archive.grid import grid_of_product
from canopyflow.archive.masks import CLOUD_CLASSES
from canopyflow.archive.names import plain
from canopyflow.atomic import atomic_folder, write_json
from canopyflow.errors import ConfigError
from canopyflow.inference.stored import clear_share, open_product, row_strips, statistics_of
from canopyflow.products import stac, styles
from canopyflow.products.cog import Numbers, Sheet, Tally, write_cogs, write_picture
from canopyflow.products.stac import PROVENANCE, THUMBNAIL, Item, Sight
from canopyflow.products.words import PLANES, attribution, in_words
from canopyflow.vocabulary import SEASONAL

log = logging.getLogger("canopyflow")

_MADE_WITH = ("tile", "month", "seed", "summaries", "drawn_share", "samples", "bundle_sha256")
"""Attributes of a product that its provenance repeats."""

SEASON_NAMES = tuple(variable.name for variable in SEASONAL)


def publish(
    product: Path,
    out: Path,
    *,
    campaign: str,
    model: str,
    variables: list[str],
    scenes: Path | Sequence[Path],
    provenance: dict[str, Any],
    simulated: bool = False,
) -> list[str]:
    """Write the folder ``out`` and return the ids of its STAC items, in order of time.

    Parameters
    ----------
    product: product store of one tile-month of ``model``.
    variables: output variables to publish; each must be in the product, of a baseline one of them.
    scenes: the scene store behind the product, or those of all months behind the product of a season;
        their pinned sources (ids, hrefs, offsets) go into the provenance, ``item_href`` of a source, where
        it has one, into the ``derived_from`` link, and its angles and classes into the items' properties.
    provenance: what else made the product (code fingerprints, versions, configuration), as plain
        values. ``provenance["versions"]`` ({software: version}) is also told by every item.
    simulated: of the demo's scenes, which are nobody's.

    A scene without any clear pixel has no item; the provenance names it, and why. Raises ConfigError for a
    variable that the product does not have, DataError for an item id that would lead out of ``out``.
    """
    stores = [scenes] if isinstance(scenes, Path) else list(scenes)
    with open_product(product, decode=False) as store, ExitStack() as stack:
        archives = [stack.enter_context(_open_scenes(path)) for path in stores]
        variables = _published(store, variables)
        sources = {str(scene["id"]): scene for each in archives for scene in each.attrs.get("scenes", [])}
        record = _provenance(store, campaign, model, list(sources.values()), provenance)
        record["attribution"] = attribution(_years(store), simulated)
        made: list[str] = []
        with atomic_folder(out) as scratch:
            for time in range(store.sizes["time"]):
                name = str(store["item"].values[time])
                source = sources.get(name, {})
                clear = clear_share(store, time)
                if not clear:
                    reason = source.get("problem") or "no clear pixel"
                    record["left_out"].append({"id": name, "reason": reason})
                    continue
                item = _item(store, time, record, clear)
                item.properties |= _sight(archives[0], name, source).properties()
                plain(item.name, product)
                _write_item(store.isel(time=time), variables, item, scratch, record)
                made.append(item.name)
            if _is_season(store) and made:
                item = _item_of_season(store, record, clear_share(store, 0))
                # What is known of single dates is with them.
                whole = store.isel(season=0).drop_vars(["fit", "unobserved_days"])
                _write_item(whole, list(SEASON_NAMES), item, scratch, record)
                made.append(item.name)
            write_json(scratch / PROVENANCE, record)
    log.info(
        "%s: published %d scenes x %s; %d without a clear pixel left out",
        out,
        len(made),
        ", ".join(variables),
        len(record["left_out"]),
    )
    return made


def _write_item(
    scene: xr.Dataset, variables: list[str], item: Item, out: Path, record: dict[str, Any]
) -> None:
    """Write the folder of an item, and note it in the ``record``."""
    folder = out / item.name
    folder.mkdir()
    _write_maps(scene, variables, item, folder, record["attribution"])
    write_json(folder / f"{item.name}.json", item.to_dict(f"{record['campaign']}-{record['model']}"))
    record["items"].append({"id": item.name, "sha256": _digest(folder / f"{item.name}.json")})


def _is_season(store: xr.Dataset) -> bool:
    return "pass" in store.sizes


def _origin(store: xr.Dataset, name: str) -> str:
    """What a map was made from, in words."""
    if not _is_season(store):
        return name
    return f"{store.sizes['pass']} passes over {store.attrs['tile']} in {store.attrs['month']}"


def _used(store: xr.Dataset) -> set[str]:
    """Ids of the scenes behind a product."""
    if _is_season(store):
        return {name for names in store["pass_item"].values for name in str(names).split()}
    return {str(name) for name in store["item"].values}


def _published(store: xr.Dataset, variables: list[str]) -> list[str]:
    """Those of ``variables`` that the product has; a family has to have them all."""
    missing = [name for name in variables if name not in store.data_vars]
    if "estimator" in store.attrs and len(missing) < len(variables):
        # A baseline does not estimate all that families do.
        return [name for name in variables if name not in missing]
    if missing:
        raise ConfigError(
            f"publication.variables: {missing[0]!r} is not in the product",
            f"it has {', '.join(sorted(str(n) for n in store.data_vars if n not in PLANES))}",
        )
    return variables


def _open_scenes(path: Path) -> xr.Dataset:
    """The scene store, lazily and undecoded."""
    return xr.open_zarr(path, consolidated=False, chunks=None, mask_and_scale=False)


def _years(store: xr.Dataset) -> set[int]:
    return {int(year) for year in pd.DatetimeIndex(store["time"].values).year}


def _provenance(
    store: xr.Dataset, campaign: str, model: str, sources: list[dict[str, Any]], given: dict[str, Any]
) -> dict[str, Any]:
    used = _used(store)
    _, box = stac.footprint(grid_of_product(store.attrs, store.sizes))
    start, end = _period(store)
    return {
        **given,
        "campaign": campaign,
        "model": model,
        **{key: store.attrs.get(key) for key in _MADE_WITH},
        "bbox": box,
        "period": [f"{start}T00:00:00Z", f"{end}T23:59:59Z"],
        "product_sha256": store.attrs.get("content_sha256"),
        "scenes": [scene for scene in sources if str(scene["id"]) in used],
        "left_out": [],
        "items": [],
    }


def _period(store: xr.Dataset) -> tuple[str, str]:
    """First and last day of a month, or of the season that was mapped."""
    if _is_season(store):
        start, end = store.attrs["period"]
        return str(start), str(end)
    window = str(store.attrs["month"])
    year, month = (int(part) for part in window.split("-"))
    return f"{window}-01", f"{window}-{calendar.monthrange(year, month)[1]}"


def _item_of_season(store: xr.Dataset, record: dict[str, Any], clear: float) -> Item:
    """The STAC item of a season as a whole, without its assets."""
    tile, year = str(store.attrs["tile"]), str(store.attrs["month"])
    name = f"{tile}_{year}"
    item = _item(store, 0, record, clear)
    times = pd.DatetimeIndex(store["time"].values)
    item.properties |= {
        "title": f"{tile}, season {year}, {record['model']}",
        "datetime": None,
        "start_datetime": f"{times[0]:%Y-%m-%dT%H:%M:%SZ}",
        "end_datetime": f"{times[-1]:%Y-%m-%dT%H:%M:%SZ}",
    }
    return replace(item, name=f"{record['campaign']}-{record['model']}-{name}")


def _item(store: xr.Dataset, time: int, record: dict[str, Any], clear: float) -> Item:
    """The STAC item of one scene, without its assets; ``clear``: share of its pixels with a posterior."""
    name, tile = str(store["item"].values[time]), str(store.attrs["tile"])
    campaign, model = record["campaign"], record["model"]
    platform = str(store["platform"].values[time])
    moment = pd.Timestamp(store["time"].values[time])
    grid = grid_of_product(store.attrs, store.sizes)
    behind = _behind(store, name, record)
    properties = {
        "title": f"{tile}, {moment:%Y-%m-%d}, {model}",
        "datetime": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        # A date of a season is no satellite's.
        "platform": platform and f"sentinel-2{platform[-1].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        **stac.place(grid),
        **stac.processing(model, _origin(store, name), record.get("versions")),
        "canopyflow:campaign": campaign,
        "canopyflow:model": model,
        "canopyflow:tile": tile,
        "canopyflow:bundle_sha256": store.attrs.get("bundle_sha256"),
        "canopyflow:summaries": store.attrs.get("summaries"),
        "canopyflow:samples": store.attrs.get("samples"),
        "canopyflow:clear_share": round(clear, 4),
        **(_of_season(behind) if _is_season(store) else _of_scene(behind[0])),
    }
    # There are no empty properties: what is not known is left out.
    properties = {key: value for key, value in properties.items() if value not in (None, "", [])}
    # A static archive's items may have no address of their own: then the provenance alone names the source.
    links = [stac.derived_from(each["item_href"], each["id"]) for each in behind if each.get("item_href")]
    return Item(f"{campaign}-{model}-{tile}-{name}", grid, properties, sources=links)


def _behind(store: xr.Dataset, name: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of the scenes that a map was made of, in order of time: ``name`` alone, of a season all that
    could be read. Of a scene without a record its id is known."""
    records = {str(scene["id"]): scene for scene in record["scenes"]}
    if not _is_season(store):
        return [records.get(name, {"id": name})]
    every = [each for names in store["pass_item"].values for each in str(names).split()]
    found = [records.get(each, {"id": each}) for each in every]
    return [scene for scene in found if not scene.get("problem")]


def _of_scene(scene: dict[str, Any]) -> dict[str, Any]:
    """What an item says of the scene that it was made of."""
    return {
        "canopyflow:scene": scene["id"],
        "canopyflow:boa_offset": scene.get("offset"),
        "canopyflow:angles_source": scene.get("angles_source"),
        "canopyflow:evidence": scene.get("evidence"),
    }


def _of_season(scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """What an item says of all scenes of a season: evidence with the scene that it is about."""
    evidence = [{**found, "scene": each["id"]} for each in scenes for found in each.get("evidence", ())]
    return {"canopyflow:scenes": [each["id"] for each in scenes], "canopyflow:evidence": evidence}


def _sight(archive: xr.Dataset, name: str, source: dict[str, Any]) -> Sight:
    """Angles and clouds of a scene; view angles that were only assumed are not told."""
    items = [str(each) for each in archive["item"].values] if "item" in archive.variables else []
    if name not in items:
        return Sight()
    scene = archive.isel(time=items.index(name))
    sun, view = (
        mean_direction(scene[f"{kind}_zenith"].values.ravel(), scene[f"{kind}_azimuth"].values.ravel())
        for kind in ("sun", "view")
    )
    if any(found["kind"] == ANGLES_ASSUMED for found in source.get("evidence", ())):
        view = Direction(np.array(np.nan), np.array(np.nan))
    seen = cloudy = 0
    for rows in row_strips(scene["scl"]):
        classes = scene["scl"].isel(y=rows).values
        seen += int(np.count_nonzero(classes))
        cloudy += int(np.isin(classes, CLOUD_CLASSES).sum())
    return Sight(
        float(sun.zenith),
        float(sun.azimuth),
        float(view.zenith),
        float(view.azimuth),
        100 * cloudy / seen if seen else math.nan,
    )


def _write_maps(scene: xr.Dataset, variables: list[str], item: Item, folder: Path, copyright_: str) -> None:
    """COGs of one scene with their styles, a picture of the first, and the assets that describe them."""
    tags = {
        "source": _origin(scene, item.properties.get("canopyflow:scene", item.name)),
        "item": item.name,
        "TIFFTAG_COPYRIGHT": copyright_,
    }
    for name in [*variables, *(name for name in PLANES if name in scene)]:
        layer = scene[name]
        planes: list[str | None] = [None] if name in PLANES else [*statistics_of(scene)]
        sheets = [_sheet(folder, name, plane, layer.attrs) for plane in planes]
        numbers = _numbers(layer)
        strips = (_numbers_of(layer.isel(y=rows)) for rows in row_strips(layer))
        tallies = write_cogs(
            sheets,
            (strip.reshape(len(sheets), *strip.shape[-2:]) for strip in strips),
            item.grid,
            numbers=numbers,
            tags=tags,
        )
        for sheet, plane, tally in zip(sheets, planes, tallies, strict=True):
            # Not every estimator has every statistic.
            if tally.count:
                _tell(item, sheet, name, plane, tally)
    if variables:
        _draw(item, variables[0], folder)
    item.assets[PROVENANCE.removesuffix(".json")] = {
        "href": f"../{PROVENANCE}",
        "type": "application/json",
        "title": "what this was made from: pinned scenes, settings, code",
        "roles": ["metadata"],
    }


def _numbers_of(layer: xr.DataArray) -> NDArray[Any]:
    """The numbers of a strip; of the flags of several dates every bit that one of them has."""
    if "time" not in layer.dims:
        return layer.values
    return reduce(np.bitwise_or, (layer.isel(time=time).values for time in range(layer.sizes["time"])))


def _sheet(folder: Path, layer: str, statistic: str | None, attrs: dict[str, Any]) -> Sheet:
    if statistic is None:
        unit = None if layer == "flags" else str(attrs.get("units", "1"))
        return Sheet(folder / f"{layer}.tif", layer, PLANES[layer], unit)
    name = f"{layer}_{statistic}"
    title = f"{attrs.get('long_name', layer)}, {in_words(statistic)}"
    return Sheet(folder / f"{name}.tif", name, title, str(attrs.get("units", "1")))


def _tell(item: Item, sheet: Sheet, layer: str, statistic: str | None, tally: Tally) -> None:
    """The asset of a written file, how to draw it, and its style for QGIS."""
    asset = stac.map_asset(sheet, tally.numbers, item.grid.resolution)
    item.assets[sheet.name] = asset
    beside = sheet.path.with_suffix(".qml")
    if layer == "flags":
        asset["classification:bitfields"] = stac.bitfields()
        item.properties["canopyflow:flagged_shares"] = stac.shares_of_flags(tally.histogram)
        beside.write_text(styles.qgis_of_flags(tally.histogram))
        return
    style = styles.style_of(layer, statistic)
    item.renders[sheet.name] = stac.render(sheet.name, style, tally.numbers)
    beside.write_text(styles.qgis_of_values(style))


def _draw(item: Item, variable: str, folder: Path) -> None:
    """A picture of the variable's mean, or of whichever statistic there is."""
    drawn = next((n for n in (f"{variable}_mean", *item.assets) if n.startswith(f"{variable}_")), None)
    if drawn is None or drawn not in item.assets:
        return
    with rasterio.open(folder / f"{drawn}.tif") as file, rasterio.open(folder / "flags.tif") as flags:
        shrunk = max(1, math.ceil(max(file.shape) / styles.LARGEST))
        shape = tuple(math.ceil(side / shrunk) for side in file.shape)
        numbers = file.read(1, out_shape=shape, masked=True)
        values = (numbers.astype(float) * file.scales[0] + file.offsets[0]).filled(np.nan)
        bits = flags.read(1, out_shape=shape)
    statistic = drawn.removeprefix(f"{variable}_")
    pixels = styles.picture(values, bits, styles.style_of(variable, statistic))
    write_picture(folder / THUMBNAIL, pixels)
    item.assets["thumbnail"] = {
        "href": f"./{THUMBNAIL}",
        "type": "image/png",
        "title": styles.style_of(variable, statistic).caption,
        "roles": ["thumbnail"],
        **stac.of_file(folder / THUMBNAIL),
    }


def _numbers(layer: xr.DataArray) -> Numbers:
    """How the values of an undecoded layer are stored."""
    fill = math.nan if layer.dtype.kind == "f" else layer.attrs.get("_FillValue")
    scale, offset = (float(layer.attrs.get(k, v)) for k, v in (("scale_factor", 1), ("add_offset", 0)))
    return Numbers(layer.dtype, None if fill is None else float(fill), scale, offset)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
