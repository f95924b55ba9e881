"""Write the demo archive: scenes, truth, granule metadata, STAC, field plots.

Layout (all hrefs relative, so the folder can be moved)::

    catalog.json, sentinel-2-l2a/collection.json, sentinel-2-l2a/{item}/{item}.json, *.tif, MTD_TL.xml
    items.json                        all items as one FeatureCollection, hrefs seen from here
    plots.csv                         field measurements
    parcels.geojson                   outlines of the fields
    truth/{item}/{lai,gai,cab,ccc,fapar}.tif    10 m, on the grid of B02, without clouds
    demo.json                         version, seed, bbox, period: written last

Of an archive over several years also::

    weather.csv                       daily weather that drove growth and clouds
    truth/seasons/{year}_{tile}_{lai,ccc}.tif   20 m, every five days of the year
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from rasterio.transform import from_origin

from canopyflow.atomic import atomic_folder, write_json
from canopyflow.demo import stac
from canopyflow.demo.acquisitions import Acquisition, planned, unplanned, with_tiles
from canopyflow.demo.granule import granule_metadata
from canopyflow.demo.landscape import Landscape, build_landscape, tile_classes
from canopyflow.demo.parcels import make_parcels
from canopyflow.demo.plots import make_plots
from canopyflow.demo.scenes import Scene, digital_numbers, make_ground, make_scene, resolution
from canopyflow.demo.season_truth import write_season_truth
from canopyflow.demo.tiles import SIZE, Tile, tiles, union_bbox
from canopyflow.demo.weather import Weather, make_weather, write_weather
from canopyflow.demo.years import build_world
from canopyflow.errors import ArchiveError, DataError
from canopyflow.progress import track

log = logging.getLogger("canopyflow")

VERSION = 4
"""Raise it with any change of the archive's content: an older archive is then written anew."""
SEASON = (date(2021, 3, 1), date(2021, 7, 31))


def _write_cog(path: Path, values: np.ndarray, tile: Tile, metres: int, nodata: float) -> None:
    """One band as a cloud-optimised GeoTIFF; the creation options are fixed, so the bytes are too."""
    rows, columns = values.shape
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=columns,
        height=rows,
        count=1,
        dtype=values.dtype,
        crs=f"EPSG:{tile.epsg}",
        transform=from_origin(tile.ulx, tile.uly, metres, metres),
        nodata=nodata,
        compress="DEFLATE",
        level=6,
        predictor="YES",
        blocksize=128,
        overviews="NONE",
        num_threads=1,
    ) as sink:
        sink.write(values, 1)


def _write_edition(
    folder: Path, scene: Scene, acquisition: Acquisition, tile: Tile, baseline: str
) -> dict[str, Any]:
    """Write one item with its assets and truth; return it with hrefs seen from ``folder``."""
    item = stac.make_item(acquisition, tile, baseline, scene.scl)
    place = folder / stac.COLLECTION / item["id"]
    with atomic_folder(place) as scratch:
        for band, reflectance in scene.reflectance.items():
            numbers = digital_numbers(reflectance, baseline)
            _write_cog(scratch / f"{band}.tif", numbers, tile, resolution(band), 0)
        _write_cog(scratch / "SCL.tif", scene.scl, tile, 20, 0)
        cover = stac.scl_percentages(scene.scl)["eo:cloud_cover"]
        name = stac.granule_id(acquisition, tile.name, baseline)
        (scratch / "MTD_TL.xml").write_bytes(granule_metadata(acquisition, tile, name, baseline, cover))
        write_json(scratch / f"{item['id']}.json", stac.linked(item))
    with atomic_folder(folder / "truth" / item["id"]) as scratch:
        for variable, values in scene.truth.items():
            # Three decimals are below any use of the truth and halve its size.
            _write_cog(scratch / f"{variable}.tif", np.round(values, 3).astype(np.float32), tile, 10, np.nan)
    return stac.rebased(item, f"{stac.COLLECTION}/{item['id']}")


def _write_acquisition(
    folder: Path,
    landscape: Landscape,
    classes: dict[str, np.ndarray],
    grids: dict[str, Tile],
    acquisition: Acquisition,
    seed: int,
) -> list[dict[str, Any]]:
    """Write all tiles and editions of a datatake; return its items."""
    present = np.unique(np.concatenate([classes[name].ravel() for name in acquisition.tiles]))
    ground = make_ground(landscape, acquisition, present)
    items = []
    for name in acquisition.tiles:
        scene = make_scene(ground, acquisition, grids[name], classes[name], seed)
        for baseline in acquisition.editions:
            items.append(_write_edition(folder, scene, acquisition, grids[name], baseline))
    return items


def _write_catalogue(folder: Path, items: list[dict[str, Any]]) -> None:
    items = sorted(items, key=lambda item: str(item["id"]))
    write_json(folder / "catalog.json", stac.make_catalog())
    write_json(folder / stac.COLLECTION / "collection.json", stac.make_collection(items))
    write_json(folder / "items.json", {"type": "FeatureCollection", "features": items})


def _is_ours(folder: Path) -> bool:
    """Whether a demo archive was written here, even if its manifest is gone.

    A workflow engine removes what a job is to write, the manifest among it, before it starts the job
    again. The catalogue stays and tells whose the folder is.
    """
    try:
        catalog = json.loads((folder / "catalog.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(catalog, dict) and catalog.get("id") == stac.make_catalog()["id"]


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The archive's ``demo.json``; empty where there is none."""
    path = folder / "demo.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


@dataclass(frozen=True)
class _Part:
    """What an archive holds of one season: its ground, its acquisitions, and when plots are visited.

    ``year``: that year where weather acts; none for the season of the plain archive.
    """

    landscape: Landscape
    plan: list[Acquisition]
    first: date
    last: date
    year: tuple[int, ...] = ()


def _parts(seed: int, dates: Sequence[str] | None, years: Sequence[int] | None) -> list[_Part]:
    """The seasons of an archive in order of time, with those acquisitions alone that ``dates`` name."""
    if years is None:
        plan = planned(None if dates is None else tuple(dates))
        return [_Part(build_landscape(seed), plan, *SEASON)]
    world = build_world(seed, years)
    wanted = (
        None if dates is None else [world.acquisition(date.fromisoformat(day)) for day in sorted(set(dates))]
    )
    return [
        _Part(
            world.landscape(year),
            world.passes(year) if wanted is None else [a for a in wanted if a.started.year == year],
            *world.season(year),
            (year,),
        )
        for year in world.years
    ]


def _write_plots(path: Path, parts: Sequence[_Part], grids: list[Tile], seed: int) -> None:
    """The field measurements of all seasons in one table, by plot and date."""
    tables = [make_plots(part.landscape, grids, seed, part.first, part.last, *part.year) for part in parts]
    table = (
        tables[0] if len(tables) == 1 else pd.concat(tables).sort_values(["plot_id", "date"], kind="stable")
    )
    table.to_csv(path, index=False, lineterminator="\n")


def _write_years(
    folder: Path,
    parts: Sequence[_Part],
    grids: dict[str, Tile],
    classes: dict[str, np.ndarray],
    weather: Weather,
) -> None:
    """What an archive over years has beyond its scenes: the weather, and the truth of whole years."""
    write_weather(folder / "weather.csv", weather)
    for part in parts:
        for name, tile in grids.items():
            write_season_truth(folder, part.landscape, classes[name], tile, *part.year)


def write_archive(
    folder: str | Path,
    seed: int = 0,
    size: int = SIZE,
    dates: Sequence[str] | None = None,
    years: Sequence[int] | None = None,
) -> None:
    """Write the demo archive into ``folder``; nothing is done where it already lies complete.

    The same arguments give the same bytes. ``size`` (rows of a tile at 10 m, a multiple of 6) and ``dates``
    (ISO dates; default the whole season) make a smaller archive for tests. With ``years`` weather drives
    growth and clouds, see :mod:`canopyflow.demo.years`, and the truth of whole years comes with it. What an
    interrupted call left is replaced. Raises DataError if the folder holds something else, or a date is of
    none of the years.
    """
    folder = Path(folder).resolve()
    wanted: dict[str, Any] = {
        "version": VERSION, "seed": seed, "size": size, "dates": None if dates is None else sorted(set(dates))
    }  # fmt: skip
    asked = None if years is None else sorted(set(years))
    found = _read_manifest(folder)
    if found and all(found.get(key) == value for key, value in (wanted | {"years": asked}).items()):
        log.info("demo: %s is complete", folder)
        return
    strange = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if strange and not found and not _is_ours(folder):
        raise DataError(f"{folder} exists and is no demo archive", "name a new or empty folder")
    parts, grids = _parts(seed, dates, asked), tiles(size)
    ground = parts[0].landscape
    classes = {name: tile_classes(ground, tile) for name, tile in grids.items()}
    with atomic_folder(folder) as scratch:
        items = []
        for part, acquisition in track([(p, a) for p in parts for a in p.plan], "demo archive"):
            items += _write_acquisition(scratch, part.landscape, classes, grids, acquisition, seed)
        _write_plots(scratch / "plots.csv", parts, list(grids.values()), seed)
        write_json(scratch / "parcels.geojson", make_parcels(ground, list(grids.values())))
        if asked is not None:
            _write_years(scratch, parts, grids, classes, make_weather(seed, asked))
        _write_catalogue(scratch, items)
        period = [parts[0].first.isoformat(), parts[-1].last.isoformat()]
        about = {"bbox": union_bbox(list(grids.values())), "period": period, "tiles": sorted(grids)}
        over = {} if asked is None else {"years": asked}
        write_json(scratch / "demo.json", {**wanted, **over, **about, "items": len(items)})
    log.info("demo: %d items of %d acquisitions in %s", len(items), sum(len(p.plan) for p in parts), folder)


def add_scene(folder: str | Path, day: str, on: Sequence[str] | None = None) -> list[str]:
    """Add one acquisition of ``day`` (ISO date) to an archive; return its item ids.

    It is of orbit 108, in the reprocessed edition; ``on`` restricts it to some of the tiles.
    The scenes come first and the catalogue last, so a reader sees either the old or the new archive.
    Raises ArchiveError without an archive, DataError if the items exist.
    """
    folder = Path(folder).resolve()
    manifest = _read_manifest(folder)
    if not manifest:
        raise ArchiveError(f"{folder} holds no demo archive", f"canopyflow demo {folder}")
    seed, years = int(manifest["seed"]), manifest.get("years")
    if years is None:
        acquisition, landscape = unplanned(day), build_landscape(seed)
    else:
        world, on_day = build_world(seed, years), date.fromisoformat(day)
        acquisition, landscape = world.acquisition(on_day), world.landscape(on_day.year)
    if on is not None:
        acquisition = with_tiles(acquisition, tuple(on))
    known = json.loads((folder / "items.json").read_text())["features"]
    grids = tiles(int(manifest["size"]))
    taken = {(item["properties"]["datetime"][:10], item["properties"]["s2:mgrs_tile"]) for item in known}
    clash = [name for name in acquisition.tiles if (day, name) in taken]
    if clash:
        raise DataError(f"the archive already has {day} for tile {clash[0]}", "choose another date")
    classes = {name: tile_classes(landscape, grids[name]) for name in acquisition.tiles}
    items = _write_acquisition(folder, landscape, classes, grids, acquisition, seed)
    _write_catalogue(folder, [*known, *items])
    write_json(folder / "demo.json", {**manifest, "items": len(known) + len(items)})
    return sorted(str(item["id"]) for item in items)
