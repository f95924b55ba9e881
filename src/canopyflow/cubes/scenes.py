"""The scene store of a tile and month: fetched, harmonised, with angles, and with what went wrong named.

Each scene is fetched for itself: its files come into a scratch folder (:mod:`canopyflow.archive.assets`),
are read strip by strip and written into the scene's slot of the store (:mod:`canopyflow.cubes.growing`). A
scene that cannot be read is *set aside*: its slot stays without data and its record says why. An archive
that does not answer ends the job, and what was fetched until then is kept.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from canopyflow.archive import evidence as evidences
from canopyflow.archive import harmonise
from canopyflow.archive import items as stac
from canopyflow.archive.angles import SceneAngles, angle_nodes, scene_angles
from canopyflow.archive.assets import ATTEMPTS, Archive
from canopyflow.archive.delivery import Delivery, deliveries
from canopyflow.archive.evidence import Evidence
from canopyflow.archive.grid import Grid
from canopyflow.archive.http import Client
from canopyflow.archive.judgement import CONTRADICTED, corrected, judge
from canopyflow.archive.pinned import digest, grid_of, items_of
from canopyflow.archive.reader import BrokenBand, Scene, open_reader
from canopyflow.archive.signing import open_client
from canopyflow.cubes import layout
from canopyflow.cubes.growing import GrowingStore, Record, growing_store
from canopyflow.cubes.stores import ANGLES
from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")

CHECK_SIDE = 500
"""Pixels along a side of the sample on which the offset decision is judged."""
BLOCK_METRES = 20480.0
"""Height of a block of 1024 pixels of 20 m: strips of it make each block of the usual files be decoded
once."""


@dataclass(frozen=True)
class Settings:
    """What a scene is made of besides its item; see :func:`fetch_scenes` and :class:`Options`."""

    bands: Sequence[str]
    reader: str
    view_zenith_if_unknown: float
    offset_contradicted: str


class Options(TypedDict, total=False):
    """Further keywords of :func:`fetch_scenes`.

    Attributes:
        offset_contradicted: what becomes of a scene whose pixels contradict the declared offset clearly: it
            is written with the other one (``correct``, the default) or set aside.
        code: fingerprint of the code that makes a store, if another would have to make it again.
        client: for addresses; by default one with the credentials of the environment.
    """

    offset_contradicted: Literal["correct", "set_aside"]
    code: str
    client: Client


def fetch_scenes(
    pinned: dict[str, Any],
    tile: str,
    month: str,
    out: Path,
    *,
    bands: Sequence[str],
    reader: str,
    asset_base: Path | None,
    view_zenith_if_unknown: float,
    **options: Unpack[Options],
) -> list[Record]:
    """Write the scene store of one tile and month.

    Args:
        pinned: the pinned search.
        tile, month: which of :func:`canopyflow.archive.pinned.tile_months`.
        out: store to write, replaced as a whole. Scenes that it holds already, with the same item, grid,
            settings and ``code``, are taken over.
        bands: band names, in the order of the store.
        reader: ``stackstac`` or ``odc``.
        asset_base: folder that relative hrefs refer to.
        view_zenith_if_unknown: degrees, for scenes whose view angles nobody gives.
        options: see :class:`Options`.

    Returns:
        The records of the scenes, as in the store's attribute ``scenes``. A scene that was set aside has a
        ``problem``; its slot holds no data.

    Raises:
        ArchiveUnreachable: the archive does not answer; the store is not replaced. Scenes that were fetched
            are kept for the next attempt.
        ArchiveError: no item of that tile and month.
    """
    items, grid = items_of(pinned, tile, month), grid_of(pinned, tile)
    if not items:
        raise ArchiveError(f"no item of {tile} in {month} is pinned", "run the search again")
    archive = Archive(options.get("client") or open_client(), asset_base)
    contradicted = options.get("offset_contradicted", "correct")
    settings = Settings(list(bands), reader, view_zenith_if_unknown, contradicted)
    open_reader(reader)  # an unknown one is told before anything is fetched
    keys = [_key(item, grid, settings, options.get("code", "")) for item in items]

    def write_empty(path: Path) -> None:
        layout.write_template(path, _template(items, grid, bands, tile, month), _encoding(grid, len(bands)))

    with growing_store(out, keys, write_empty) as growing:
        wanted = [(key, item) for key, item in zip(keys, items, strict=True) if not growing.is_done(key)]
        log.info("%s %s: %d of %d scenes are to be fetched", tile, month, len(wanted), len(items))
        if not wanted:
            log.info("%s holds all scenes as they are wanted; remove its folder to fetch them again", out)
        files = growing.folder.with_name(f"{growing.folder.name}.files").absolute()
        coming = deliveries([item for _, item in wanted], bands, grid, files, archive)
        try:
            with closing(coming):
                for (key, item), delivery in zip(wanted, coming, strict=True):
                    growing.keep(key, _write_scene(_Slot(growing, key, settings), item, grid, delivery))
        finally:
            # The next attempt copies files anew: these, up to gigabytes, would only lie there.
            shutil.rmtree(files, ignore_errors=True)
        _describe(growing)
    log.info("%s %s: %d requests, %d of them again, %.1f MB", tile, month, *_traffic(archive.client))
    return growing.records


def _traffic(client: Client) -> tuple[int, int, float]:
    asked = client.requests
    return asked["asked"], asked["again"], asked["bytes"] / 1e6


def _key(item: stac.Item, grid: Grid, settings: Settings, code: str) -> str:
    """Digest of all that a scene's slot depends on."""
    content = json.dumps([digest([item], grid), asdict(settings), code])
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _template(
    items: Sequence[stac.Item], grid: Grid, bands: Sequence[str], tile: str, month: str
) -> xr.Dataset:
    n, (rows, columns) = len(items), grid.shape
    y_angle, x_angle = angle_nodes(grid)
    times = np.array([stac.acquired(i).replace(tzinfo=None) for i in items], dtype="datetime64[ns]")
    coords = {
        "time": ("time", times, {"long_name": "acquisition time, UTC"}),
        "band": ("band", np.array(bands, dtype=object)),
        "item": ("time", np.array([i["id"] for i in items], dtype=object)),
        "platform": ("time", np.array([i["canopyflow"]["platform"] for i in items], dtype=object)),
        "y_angle": ("y_angle", y_angle, {"units": "m"}),
        "x_angle": ("x_angle", x_angle, {"units": "m"}),
        **layout.grid_coordinates(grid),
    }
    coarse = ("time", "y_angle", "x_angle")
    shape = (n, len(y_angle), len(x_angle))
    variables: dict[str, Any] = {
        "reflectance": (
            ("time", "band", "y", "x"),
            layout.empty((n, len(bands), rows, columns), np.float32),
            layout.reflectance_attributes(),
        ),
        "scl": (
            ("time", "y", "x"),
            layout.empty((n, rows, columns), np.uint8),
            {"long_name": "scene classification of Sen2Cor", "grid_mapping": "spatial_ref"},
        ),
        "angles_source": ("time", np.array([""] * n, dtype=object)),
    }
    for name in ANGLES:
        variables[name] = (coarse, layout.empty(shape, np.float32), {"units": "degree"})
    attributes = {
        "Conventions": "CF-1.11",
        "tile": tile,
        "month": month,
        "scenes": [],
        **layout.grid_attributes(grid),
    }
    return xr.Dataset(variables, coords, attributes)


def _encoding(grid: Grid, bands: int) -> dict[str, dict[str, Any]]:
    coarse = tuple(len(axis) for axis in angle_nodes(grid))
    return {
        "reflectance": {
            "dtype": "uint16",
            "scale_factor": layout.SCALE,
            "_FillValue": layout.NODATA,
            **layout.in_strips((1, bands, *grid.shape)),
        },
        "scl": {**layout.in_strips((1, *grid.shape)), "_FillValue": None},
        "time": layout.TIME_ENCODING,
        # One scene, one file: a scene is taken over from an older store as it is.
        **{name: {"chunks": (1, *coarse)} for name in ANGLES},
    }


def _describe(growing: GrowingStore) -> None:
    """Write the records of the scenes into the store."""
    store = zarr.open_group(growing.folder, mode="r+", use_consolidated=False)
    sources = [record["angles_source"] for record in growing.records]
    layout.array_of(store, "angles_source")[:] = np.array(sources, dtype=object)
    store.attrs["scenes"] = growing.records


@dataclass(frozen=True)
class _Slot:
    """Where one scene goes."""

    growing: GrowingStore
    key: str
    settings: Settings

    @property
    def store(self) -> zarr.Group:
        return zarr.open_group(self.growing.folder, mode="r+", use_consolidated=False)

    @property
    def index(self) -> int:
        return self.growing.keys.index(self.key)


def _write_scene(slot: _Slot, item: stac.Item, grid: Grid, coming: "Future[Delivery]") -> Record:
    """Fill the slot of a scene; returns its record, with a ``problem`` where it was set aside."""
    began, valid = time.monotonic(), 0.0
    slot.growing.clear(slot.key)
    try:
        delivery = coming.result()
        try:
            record, valid = _write_delivery(slot, delivery)
        finally:
            delivery.remove()
    except ArchiveUnreachable as error:
        former = slot.growing.formerly(slot.key)
        if former is None:
            raise
        log.warning("%s stays set aside: %s", item["id"], error.problem)
        return _set_aside(slot, item, grid, former["problem"])
    except ArchiveError as error:
        slot.growing.clear(slot.key)
        record = _set_aside(slot, item, grid, error.problem)
    for warning in record["warnings"]:
        log.warning("%s: %s", item["id"], warning)
    log.info(
        "scene %s: cloud %s %%, offset %+d, with data %.1f %%, written in %.1f s%s",
        item["id"],
        item["properties"].get("eo:cloud_cover", "?"),
        record["offset"],
        100 * valid,
        time.monotonic() - began,
        f", SET ASIDE: {record['problem']}" if record["problem"] else "",
    )
    return record


def _write_delivery(slot: _Slot, delivery: Delivery) -> tuple[Record, float]:
    """Write the pixels and angles of a scene; its record, and the share of pixels that have all bands."""
    item, settings = delivery.item, slot.settings
    dtypes = {name: asset.dtype for name, asset in delivery.assets.items()}
    decision = harmonise.decide_offset(item, delivery.offset, dtypes)
    scene = Scene(open_reader(settings.reader), item, delivery.assets)
    valid, sample = _write_pixels(slot, delivery, scene, decision)
    judgement = judge(sample[:-1], sample[-1], settings.bands, decision)
    if judgement.verdict == CONTRADICTED:
        if settings.offset_contradicted == "set_aside":
            raise ArchiveError(f"{item['id']}: {judgement.detail}")
        decision = corrected(decision, judgement)
        slot.growing.clear(slot.key)
        valid, _ = _write_pixels(slot, delivery, scene, decision)
    angles = scene_angles(item, delivery.grid, delivery.granule, settings.view_zenith_if_unknown)
    _write_angles(slot, angles)
    found = [e for e in (judgement.evidence(), angles.evidence(), *evidences.of_item(item)) if e]
    return _record(item, decision, angles, delivery.checksums, found), valid


def _write_pixels(
    slot: _Slot, delivery: Delivery, scene: Scene, decision: harmonise.OffsetDecision
) -> tuple[float, npt.NDArray[np.uint16]]:
    """Read strip by strip and write.

    Returns:
        The share of pixels that have all bands, and a regular sample of the DN that were read, (band, y, x)
        with the scene classification last.
    """
    (rows, columns), resolution = delivery.grid.shape, delivery.grid.resolution
    step = max(1, min(rows, columns) // CHECK_SIDE)
    at_once = layout.STRIP * max(1, round(BLOCK_METRES / resolution / layout.STRIP))
    reflectance, scl = (layout.array_of(slot.store, name) for name in ("reflectance", "scl"))
    complete, samples = 0, []
    for many in layout.strips(rows, at_once):
        numbers = _read(delivery, scene, [*slot.settings.bands, stac.SCL], many)
        samples.append(np.stack([band[-many.start % step :: step, ::step] for band in numbers]))
        for few in layout.strips(many.stop - many.start):
            strip = slice(many.start + few.start, many.start + few.stop)
            written = np.stack([harmonise.apply_offset(band[few], decision.offset) for band in numbers[:-1]])
            reflectance[slot.index, :, strip] = written
            scl[slot.index, strip] = np.minimum(numbers[-1][few], 255).astype(np.uint8)
            complete += int((written != layout.NODATA).all(axis=0).sum())
    return complete / (rows * columns), np.concatenate(samples, axis=1)


def _read(
    delivery: Delivery, scene: Scene, names: Sequence[str], rows: slice
) -> list[npt.NDArray[np.uint16]]:
    """DN of all bands in some rows; a remote file that is broken is copied again, and no other."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return scene.read(names, delivery.grid, rows)
        except BrokenBand as error:
            if not left or not delivery.can_again(error.name):
                raise
            log.warning("%s; copying it again", error.problem)
            scene.replace([delivery.again(error.name)])
    raise AssertionError("the last attempt returns or raises")


DOUBTS = (evidences.OFFSET_CORRECTED, evidences.OFFSET_DOUBTED)


def _record(
    item: stac.Item,
    decision: harmonise.OffsetDecision,
    angles: SceneAngles,
    checksums: Mapping[str, str],
    found: Sequence[Evidence],
    problem: str | None = None,
) -> Record:
    names = sorted(item["assets"])
    return {
        "id": item["id"],
        "item_href": stac.item_href(item),
        "platform": item["canopyflow"]["platform"],
        "baseline": stac.baseline(item),
        "offset": decision.offset,
        "offset_reason": decision.reason,
        "hrefs": {name: item["assets"][name]["href"] for name in names},
        "checksums": {name: checksums.get(name, "") for name in names},
        "angles_source": angles.source,
        "evidence": [each.to_dict() for each in found],
        "warnings": [each.detail for each in found if each.kind in DOUBTS],
        "problem": problem,
    }


def _set_aside(slot: _Slot, item: stac.Item, grid: Grid, problem: str) -> Record:
    """The record of a scene that cannot be read: the same whatever was read before it failed."""
    try:
        decision = harmonise.decide_offset(item)
    except ArchiveError as error:
        decision = harmonise.OffsetDecision(0, error.problem)
    angles = scene_angles(item, grid, None, slot.settings.view_zenith_if_unknown)
    _write_angles(slot, angles)
    return _record(item, decision, angles, {}, [], problem)


def _write_angles(slot: _Slot, angles: SceneAngles) -> None:
    store = slot.store
    for name, values in zip(
        ANGLES, (angles.sun.zenith, angles.sun.azimuth, angles.view.zenith, angles.view.azimuth), strict=True
    ):
        layout.array_of(store, name)[slot.index] = values.astype(np.float32)
