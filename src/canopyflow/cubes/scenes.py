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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from canopyflow.archive import evidence as evidences
from canopyflow.archive import harmonise
from canopyflow.archive import items as stac
from canopyflow.archive.angles import SceneAngles, angle_nodes, parse_granule, scene_angles
from canopyflow.archive.assets import Archive, is_remote, obtain, obtain_one, read_metadata
from canopyflow.archive.evidence import Evidence
from canopyflow.archive.grid import Grid
from canopyflow.archive.http import Client
from canopyflow.archive.judgement import CONTRADICTED, corrected, judge
from canopyflow.archive.pinned import digest, grid_of, items_of
from canopyflow.archive.reader import BrokenBand, Reader, Scene, open_reader
from canopyflow.archive.signing import open_client
from canopyflow.cubes import layout
from canopyflow.cubes.growing import GrowingStore, Record, growing_store
from canopyflow.cubes.stores import ANGLES
from canopyflow.errors import ArchiveError, ArchiveUnreachable

T = TypeVar("T")
log = logging.getLogger("canopyflow")

CHECK_SIDE = 500
"""Pixels along a side of the sample on which the offset decision is judged."""
BLOCK_METRES = 20480.0
"""Height of a block of 1024 pixels of 20 m: strips of it make each block of the usual files be decoded
once."""
ATTEMPTS = 3
"""Times that a remote file is copied before it counts as broken."""


@dataclass(frozen=True)
class Source:
    """How to get at the archive, and what to make of it; see :func:`fetch_scenes`."""

    reader: Reader
    archive: Archive
    bands: Sequence[str]
    view_zenith_if_unknown: float
    offset_contradicted: str

    @property
    def names(self) -> list[str]:
        """The bands and the scene classification."""
        return [*self.bands, stac.SCL]


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
    offset_contradicted: Literal["correct", "set_aside"] = "correct",
    code: str = "",
    client: Client | None = None,
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
        offset_contradicted: what becomes of a scene whose pixels contradict the declared offset clearly:
            written with the other offset, or set aside.
        code: fingerprint of the code that makes a store, if another would have to make it again.
        client: for addresses; by default one with the credentials of the environment.

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
    archive = Archive(client or open_client(), asset_base)
    source = Source(open_reader(reader), archive, bands, view_zenith_if_unknown, offset_contradicted)
    settings = [list(bands), reader, view_zenith_if_unknown, offset_contradicted, code]
    keys = [_key(item, grid, settings) for item in items]

    def write_empty(path: Path) -> None:
        layout.write_template(path, _template(items, grid, bands, tile, month), _encoding(grid, len(bands)))

    with growing_store(out, keys, write_empty) as growing:
        for key, item in zip(keys, items, strict=True):
            if growing.is_done(key):
                log.info("scene %s %s: here already", tile, item["id"])
            else:
                growing.keep(key, _fetch_scene(growing, key, item, grid, source))
        _describe(growing)
    return growing.records


def _key(item: stac.Item, grid: Grid, settings: Sequence[Any]) -> str:
    """Digest of all that a scene's slot depends on."""
    return hashlib.sha256(json.dumps([digest([item], grid), *settings]).encode()).hexdigest()[:24]


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


def _fetch_scene(growing: GrowingStore, key: str, item: stac.Item, grid: Grid, source: Source) -> Record:
    """Fill the slot of a scene; returns its record, with a ``problem`` where it was set aside."""
    began, asked = time.monotonic(), source.archive.client.requests.copy()
    files = growing.folder.with_name(f"{growing.folder.name}.files")
    growing.clear(key)
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    try:
        fetched = _Fetch(growing, key, item, grid, source, files.absolute()).run()
    except ArchiveUnreachable as error:
        former = growing.formerly(key)
        if former is None:
            raise
        log.warning("%s stays set aside: %s", item["id"], error.problem)
        return former
    except ArchiveError as error:
        growing.clear(key)
        fetched = _set_aside(growing, key, item, grid, source, error.problem)
    finally:
        shutil.rmtree(files, ignore_errors=True)
    for warning in fetched.warnings:
        log.warning("%s: %s", item["id"], warning)
    spent = source.archive.client.requests - asked
    log.info(
        "scene %s: cloud %s %%, offset %+d, with data %.1f %%, %d requests (%d again), %.1f MB, %.1f s%s",
        item["id"],
        item["properties"].get("eo:cloud_cover", "?"),
        fetched.record["offset"],
        100 * fetched.valid,
        spent["asked"],
        spent["again"],
        spent["bytes"] / 1e6,
        time.monotonic() - began,
        f", SET ASIDE: {fetched.record['problem']}" if fetched.record["problem"] else "",
    )
    return fetched.record


@dataclass(frozen=True)
class _Fetched:
    """``valid``: share of pixels that have all bands."""

    record: Record
    valid: float = 0.0

    @property
    def warnings(self) -> list[str]:
        return list(self.record["warnings"])


@dataclass
class _Fetch:
    """One scene on its way into its slot."""

    growing: GrowingStore
    key: str
    item: stac.Item
    grid: Grid
    source: Source
    files: Path
    checksums: dict[str, str] = field(default_factory=dict)

    def run(self) -> _Fetched:
        angles_of = partial(
            parse_granule, bands=self.source.bands, name=f"{stac.GRANULE_METADATA} of {self.item['id']}"
        )
        granule = self._metadata(stac.GRANULE_METADATA, angles_of)
        offset = self._metadata(stac.PRODUCT_METADATA, harmonise.metadata_offset)
        archive = self.source.archive
        assets = obtain(self.item, self.source.names, self.grid, self.files, archive)
        self.checksums |= {name: asset.checksum for name, asset in assets.items()}
        decision = harmonise.decide_offset(self.item, offset, assets[self.source.bands[0]].dtype)
        scene = Scene(self.source.reader, self.item, assets)
        store = zarr.open_group(self.growing.folder, mode="r+", use_consolidated=False)
        valid, sample = self._write_pixels(store, scene, decision)
        judgement = judge(sample[:-1], sample[-1], self.source.bands, decision)
        if judgement.verdict == CONTRADICTED:
            if self.source.offset_contradicted == "set_aside":
                raise ArchiveError(f"{self.item['id']}: {judgement.detail}")
            decision = corrected(decision, judgement)
            valid, _ = self._write_pixels(store, scene, decision)
        angles = scene_angles(self.item, self.grid, granule, self.source.view_zenith_if_unknown)
        _write_angles(store, self._slot, angles)
        found = [judgement.evidence(), angles.evidence(), *evidences.of_item(self.item)]
        return _Fetched(self._record(decision, angles, [e for e in found if e]), valid)

    @property
    def _slot(self) -> int:
        return self.growing.keys.index(self.key)

    def _metadata(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Content of a metadata file, None where the item has none.

        Raises:
            ArchiveError: it cannot be had or read: what it would have said must not be assumed.
        """
        if name not in self.item["assets"]:
            return None
        remote = is_remote(self.source.archive.locate(self.item, name))
        for attempt in range(1, ATTEMPTS + 1):
            content, self.checksums[name] = read_metadata(self.item, name, self.source.archive)
            try:
                return parse(content)
            except ArchiveError as error:
                if not remote or attempt == ATTEMPTS:
                    raise
                log.warning("%s; copying it again", error.problem)
        raise AssertionError("unreachable")

    def _write_pixels(
        self, store: zarr.Group, scene: Scene, decision: harmonise.OffsetDecision
    ) -> tuple[float, npt.NDArray[np.uint16]]:
        """Read strip by strip and write.

        Returns:
            The share of pixels that have all bands, and a regular sample of the DN that were read, (band,
            y, x) with the scene classification last.
        """
        rows, columns = self.grid.shape
        step = max(1, min(rows, columns) // CHECK_SIDE)
        complete, samples = 0, []
        for many in layout.strips(rows, self._rows_at_once()):
            numbers = self._read(scene, many)
            samples.append(np.stack([band[-many.start % step :: step, ::step] for band in numbers]))
            for few in layout.strips(many.stop - many.start):
                strip = slice(many.start + few.start, many.start + few.stop)
                reflectance = np.stack(
                    [harmonise.apply_offset(band[few], decision.offset) for band in numbers[:-1]]
                )
                layout.array_of(store, "reflectance")[self._slot, :, strip] = reflectance
                layout.array_of(store, "scl")[self._slot, strip] = numbers[-1][few].astype(np.uint8)
                complete += int((reflectance != layout.NODATA).all(axis=0).sum())
        return complete / (rows * columns), np.concatenate(samples, axis=1)

    def _rows_at_once(self) -> int:
        return layout.STRIP * max(1, round(BLOCK_METRES / self.grid.resolution / layout.STRIP))

    def _read(self, scene: Scene, rows: slice) -> list[npt.NDArray[np.uint16]]:
        """DN of all bands in some rows; a remote file that is broken is copied again, for itself."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return scene.read(self.source.names, self.grid, rows)
            except BrokenBand as error:
                archive = self.source.archive
                if attempt == ATTEMPTS or not is_remote(archive.locate(self.item, error.name)):
                    raise
                log.warning("%s; copying it again", error.problem)
                scene.replace([obtain_one(self.item, error.name, self.grid, self.files, archive)])
        raise AssertionError("unreachable")

    def _record(
        self, decision: harmonise.OffsetDecision, angles: SceneAngles, found: Sequence[Evidence]
    ) -> Record:
        return _record(self.item, decision, angles, self.checksums, found, None)


DOUBTS = (evidences.OFFSET_CORRECTED, evidences.OFFSET_DOUBTED)


def _record(
    item: stac.Item,
    decision: harmonise.OffsetDecision,
    angles: SceneAngles,
    checksums: dict[str, str],
    found: Sequence[Evidence],
    problem: str | None,
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


def _set_aside(
    growing: GrowingStore, key: str, item: stac.Item, grid: Grid, source: Source, problem: str
) -> _Fetched:
    """The record of a scene that cannot be read: the same whatever was read before it failed."""
    try:
        decision = harmonise.decide_offset(item)
    except ArchiveError as error:
        decision = harmonise.OffsetDecision(0, error.problem)
    angles = scene_angles(item, grid, None, source.view_zenith_if_unknown)
    store = zarr.open_group(growing.folder, mode="r+", use_consolidated=False)
    _write_angles(store, growing.keys.index(key), angles)
    return _Fetched(_record(item, decision, angles, {}, [], problem))


def _write_angles(store: zarr.Group, index: int, angles: SceneAngles) -> None:
    for name, values in zip(
        ANGLES, (angles.sun.zenith, angles.sun.azimuth, angles.view.zenith, angles.view.azimuth), strict=True
    ):
        layout.array_of(store, name)[index] = values.astype(np.float32)
