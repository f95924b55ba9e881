"""Getting the files of a scene into a folder of ours, checked, before any library may open them.

Of a GeoTIFF in a remote archive only the blocks that meet the tile's grid are copied, each once, into a
small file of their own (see :mod:`canopyflow.archive.geotiff`); a JPEG 2000 and a file of a server without
ranges are copied whole; a local file is linked. What is in the folder afterwards is one band of plain
numbers in the grid's projection, with 0 for no data: a file that is something else is written again in that
form or refused.

The files come from outside. They are opened with the drivers of GeoTIFF and JPEG 2000 alone, whatever they
are called; drivers that follow paths and addresses (VRT, MRF, WMS) are never tried, and nothing lies beside
the files that GDAL would read as well (masks, overviews, ``.aux.xml``).
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.errors
from affine import Affine
from defusedxml import ElementTree
from rasterio.crs import CRS
from rasterio.windows import Window

from canopyflow.archive import geotiff
from canopyflow.archive.answers import Answer
from canopyflow.archive.grid import Grid
from canopyflow.archive.harmonise import as_dn, asset_scaling
from canopyflow.archive.http import Client, FileChanged, NotObtained, Refused
from canopyflow.archive.items import Item, epsg, resolve_href, transform_of
from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")

CONNECTIONS = 8
"""Files of a scene that are copied at the same time."""
HEAD = 16 * 1024
"""Bytes asked for first: the directories of a cloud-optimised GeoTIFF of a whole tile lie in them."""
GAP = 16 * 1024
"""Bytes between two blocks that are copied with them rather than asked around."""
PIECE = 8 * 2**20
"""Most bytes of one request: with eight at a time, 64 MiB are in memory."""

PLAIN = ("uint8", "uint16")
JP2_MAGIC = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")

GDAL_OPTIONS = {
    # Nothing beside a file counts.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # No address can be opened, should one come here all the same.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing",
}


@dataclass(frozen=True)
class LocalAsset:
    """A band in our folder: north-up pixels in ``epsg``, unsigned integers, 0 where there is no data.

    Attributes:
        name: of the band.
        label: what messages call it: ``B04: B04.tif of <item>``.
        path: the file, absolute. Only blocks that meet the grid are in it.
        transform: of its pixels, in metres.
        shape: its rows and columns.
        block: rows and columns of its blocks.
        dtype: of the original's numbers.
        checksum: what identifies the original: ``multihash:``, ``etag:`` or ``sha256:``, else empty.
    """

    name: str
    label: str
    path: Path
    epsg: int
    transform: Affine
    shape: tuple[int, int]
    block: tuple[int, int]
    dtype: str
    checksum: str

    @property
    def resolution(self) -> float:
        return float(self.transform.a)


@dataclass(frozen=True)
class Archive:
    """Where the files are and how to get them.

    Attributes:
        client: for addresses.
        base: folder that relative hrefs refer to; None for a remote archive.
    """

    client: Client
    base: Path | None

    def locate(self, item: Item, name: str) -> str:
        """Address or absolute path of an asset."""
        href = resolve_href(item["assets"][name]["href"], self.base)
        return href if is_remote(href) else str(Path(href).absolute())


def is_remote(href: str) -> bool:
    return href.startswith(("http://", "https://"))


def label_of(item: Item, name: str) -> str:
    """What messages call an asset: its name, its file's name and its item."""
    file = item["assets"][name]["href"].partition("?")[0].rpartition("/")[2]
    return f"{name}: {file} of {item['id']}"


def obtain(
    item: Item, names: Sequence[str], grid: Grid, folder: Path, archive: Archive
) -> dict[str, LocalAsset]:
    """Get the bands ``names`` of an item into ``folder``, as far as they meet ``grid``.

    Raises:
        ArchiveError: one of them is missing, broken, changed since it was pinned, or cannot be used. The
            message starts with its label.
        ArchiveUnreachable: the archive does not answer.
    """
    with ThreadPoolExecutor(min(CONNECTIONS, len(names))) as pool:
        waiting = [pool.submit(obtain_one, item, name, grid, folder, archive) for name in names]
        try:
            return {name: job.result() for name, job in zip(names, waiting, strict=True)}
        finally:
            for job in waiting:
                job.cancel()


def obtain_one(item: Item, name: str, grid: Grid, folder: Path, archive: Archive) -> LocalAsset:
    """Get one band into ``folder``, in place of what may lie there; see :func:`obtain`."""
    label, href = label_of(item, name), archive.locate(item, name)
    path = folder / f"{name}.partial"
    path.unlink(missing_ok=True)
    asset = item["assets"][name]
    with _named(label):
        if is_remote(href):
            copy = _Copy(href, path, archive.client, _pinned(asset), label)
            window = _Placer(item, name, grid, archive)
            place, etag = copy.make(window)
            checksum = f"etag:{etag}" if etag else ""
        else:
            checksum = _link(Path(href), path, asset, label)
            place = _Placer(item, name, grid, archive)(path, label)
        if asset.get("file:checksum"):
            checksum = f"multihash:{asset['file:checksum']}"
        return _plain(path, place, item, name, grid, label, checksum)


def read_metadata(item: Item, name: str, archive: Archive) -> tuple[bytes, str]:
    """Content of a small asset and its checksum, as in :class:`LocalAsset`.

    Raises:
        ArchiveError: it is missing, cannot be read, or changed since it was pinned.
        ArchiveUnreachable: the archive does not answer.
    """
    label, href, asset = label_of(item, name), archive.locate(item, name), item["assets"][name]
    given = f"multihash:{asset['file:checksum']}" if asset.get("file:checksum") else ""
    with _named(label):
        if is_remote(href):
            with _unchanged(label):
                answer = archive.client.read(href, 0, geotiff.LONGEST_VALUE, _pinned(asset))
            return answer.content, given or (f"etag:{answer.etag}" if answer.etag else "")
        try:
            content = Path(href).read_bytes()
        except OSError as error:
            raise ArchiveError(f"{label} cannot be read: {error.strerror}") from error
        digest = hashlib.sha256(content).hexdigest()
        _compare(asset, len(content), digest, label)
        return content, given or f"sha256:{digest}"


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Errors of the block about a file that has no name of ours yet get ``label``."""
    try:
        yield
    except ArchiveUnreachable:
        raise
    except ArchiveError as error:
        if label in error.problem:
            raise
        # Addresses and attempts are in the log: what fails in the same way again is told in the same words.
        reason = error.reason if isinstance(error, NotObtained) else error.problem
        if isinstance(error, NotObtained):
            log.warning("%s", error.problem)
        raise ArchiveError(f"{label} cannot be had: {reason}", error.remedy) from error


@contextmanager
def _unchanged(label: str) -> Iterator[None]:
    try:
        yield
    except FileChanged as error:
        raise ArchiveError(f"{label} changed since it was pinned", "search the archive again") from error


def _pinned(asset: Mapping[str, Any]) -> Answer | None:
    """What the search pinned of a file: its size, its ETag, or neither."""
    size, etag = asset.get("file:size"), asset.get("canopyflow:etag")
    return None if size is None and not etag else Answer(b"", size, etag)


def _compare(asset: Mapping[str, Any], size: int, sha256: str, label: str) -> None:
    """Hold a whole file against what was pinned."""
    multihash = str(asset.get("file:checksum", "")).lower()
    # 0x12, 0x20: SHA-256 of 32 bytes, https://multiformats.io/multihash
    other = multihash.startswith("1220") and multihash != f"1220{sha256}"
    if other or asset.get("file:size", size) != size:
        raise ArchiveError(f"{label} changed since it was pinned", "search the archive again")


def _link(source: Path, path: Path, asset: Mapping[str, Any], label: str) -> str:
    """Put a link to a local file into our folder; its checksum."""
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise ArchiveError(f"{label} is missing") from error
    except OSError as error:
        raise ArchiveError(f"{label} cannot be read: {error.strerror}") from error
    _compare(asset, size, digest, label)
    path.symlink_to(source)
    return f"sha256:{digest}"


@dataclass(frozen=True)
class _Place:
    """Where a file's pixels lie, and whether the file itself says so."""

    epsg: int
    transform: Affine
    own: bool


class _Copy:
    """One remote file on its way into a local one."""

    def __init__(self, url: str, path: Path, client: Client, pinned: Answer | None, label: str) -> None:
        self.url, self.path, self.client, self.pinned, self.label = url, path, client, pinned, label

    def make(self, placed: "_Placer") -> tuple[_Place, str | None]:
        """Copy what the grid needs; returns where the file's pixels lie and the file's ETag."""
        with _unchanged(self.label):
            first = self.client.read(self.url, 0, HEAD, self.pinned)
            if not geotiff.is_tiff(first.content) or not first.ranged or first.size is None:
                return self._whole(placed, first)
            read = _Reading(self, first)
            try:
                table = geotiff.read_block_table(read.directory, first.size, self.label)
            except geotiff.Unusual:
                return self._whole(placed, first)
            return self._blocks(placed, read, table), first.etag

    def _whole(self, placed: "_Placer", first: Answer) -> tuple[_Place, str | None]:
        with self.path.open("w+b") as file:
            answer = self.client.download(self.url, file, first)
        if placed.asset.get("file:checksum"):
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            _compare(placed.asset, self.path.stat().st_size, digest, self.label)
        return placed(self.path, self.label), answer.etag

    def _blocks(self, placed: "_Placer", read: "_Reading", table: geotiff.BlockTable) -> _Place:
        """Copy the blocks that meet the grid into a file of their own."""
        self.path.write_bytes(geotiff.without_pixels(table))
        place = placed(self.path, self.label)
        rows, columns = window_of(placed.grid, place.transform, table.shape)
        if rows.start == rows.stop or columns.start == columns.stop:
            # Beside the grid: the nearest pixel will do, it is not used.
            rows, columns = (
                slice(min(s.start, n - 1), min(s.start, n - 1) + 1)
                for s, n in zip((rows, columns), table.shape, strict=True)
            )
        copy, transform = geotiff.crop(table, rows, columns, place.epsg, place.transform)
        with self.path.open("w+b") as file:
            file.write(copy.head)
            for blocks in geotiff.requests(copy.blocks, GAP, PIECE):
                first = blocks[0].start
                content = read(first, max(block.start + block.size for block in blocks))
                for block in blocks:
                    file.seek(block.to)
                    file.write(content[block.start - first : block.start - first + block.size])
        return _Place(place.epsg, transform, own=True)


@dataclass
class _Reading:
    """Reads parts of a remote file, those that hold directories once only."""

    copy: _Copy
    first: Answer
    known: list[tuple[int, bytes]] = field(default_factory=list)

    def directory(self, start: int, stop: int) -> bytes:
        for begin, content in ((0, self.first.content), *self.known):
            if begin <= start and stop <= begin + len(content):
                return content[start - begin : stop - begin]
        # Directories are read in small steps, one after the other.
        content = self.copy.client.read(self.copy.url, start, max(stop, start + HEAD), self.first).content
        self.known.append((start, content))
        return content[: stop - start]

    def __call__(self, start: int, stop: int) -> bytes:
        content = self.copy.client.read(self.copy.url, start, stop, self.first).content
        if len(content) != stop - start:
            raise ArchiveError(f"{self.copy.label} is truncated or corrupt")
        return content


@dataclass(frozen=True)
class _Placer:
    """Opens a file in our folder and says where its pixels lie."""

    item: Item
    name: str
    grid: Grid
    archive: Archive

    @property
    def asset(self) -> Mapping[str, Any]:
        asset: Mapping[str, Any] = self.item["assets"][self.name]
        return asset

    def __call__(self, path: Path, label: str) -> _Place:
        """The file's own word, else that of the ``.aux.xml`` beside the original, else the item's.

        Raises:
            ArchiveError: the file is no image of one band, or lies in another projection than the grid.
        """
        with _opened(path, label) as source:
            if source.count != 1:
                raise ArchiveError(f"{label} has {source.count} bands")
            code = source.crs.to_epsg() if source.crs else None
            shape = source.shape
            transform = None if source.transform.is_identity else source.transform
        own = code is not None and transform is not None
        if not own:
            code, transform = self._told(code, transform, shape, label)
        assert code is not None and transform is not None
        place = _Place(code, transform, own)
        if place.epsg != self.grid.epsg:
            raise ArchiveError(f"{label} lies in EPSG:{place.epsg}, the grid in EPSG:{self.grid.epsg}")
        if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise ArchiveError(f"the rows and columns of {label} do not run from north-west to south-east")
        if not np.isclose(transform.a, -transform.e, rtol=1e-6):
            raise ArchiveError(f"the pixels of {label} are not square")
        return place

    def _told(
        self, code: int | None, transform: Affine | None, shape: tuple[int, int], label: str
    ) -> tuple[int, Affine]:
        beside = self._beside(label)
        if beside:
            code = code or _epsg_of(beside.findtext("SRS"))
            numbers = [float(v) for v in (beside.findtext("GeoTransform") or "").split(",") if v.strip()]
            if transform is None and len(numbers) == 6:
                transform = Affine.from_gdal(*numbers)
        said = transform_of(self.item, dict(self.asset))
        if transform is None and said:
            (a, b, c, d, e, f), (rows, columns) = said[0][:6], said[1]
            across, down = columns / shape[1], rows / shape[0]
            transform = Affine(a * across, b * down, c, d * across, e * down, f)
        if transform is None:
            raise ArchiveError(f"neither {label} nor its item says where its pixels lie")
        return code or epsg(self.item), transform

    def _beside(self, label: str) -> Any:
        """Content of the original's ``.aux.xml``; None where there is none."""
        href = f"{self.archive.locate(self.item, self.name)}.aux.xml"
        try:
            if is_remote(href):
                return self.archive.client.get(href, ElementTree.fromstring)
            return ElementTree.fromstring(Path(href).read_bytes()) if Path(href).is_file() else None
        except Refused:
            return None
        except ArchiveUnreachable:
            raise
        except Exception as error:  # defusedxml raises several unrelated types
            raise ArchiveError(f"the .aux.xml beside {label} cannot be read") from error


def _epsg_of(wkt: str | None) -> int | None:
    try:
        return CRS.from_wkt(wkt).to_epsg() if wkt else None
    except rasterio.errors.CRSError:
        return None


@contextmanager
def _opened(path: Path, label: str) -> Iterator[rasterio.DatasetReader]:
    """Open a file of our folder with the driver of what it begins as, and with no other."""
    with path.open("rb") as file:
        head = file.read(12)
    driver = "GTiff" if geotiff.is_tiff(head) else "JP2OpenJPEG"
    if driver != "GTiff" and not head.startswith(JP2_MAGIC):
        raise ArchiveError(f"{label} is truncated or corrupt: neither a GeoTIFF nor a JPEG 2000")
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path, driver=driver, sharing=False) as source:
            yield source
    except rasterio.errors.RasterioError as error:
        raise ArchiveError(f"{label} is truncated or corrupt") from error


def window_of(grid: Grid, transform: Affine, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a north-up file of ``shape`` that meet ``grid``; empty slices where none do."""
    xmin, ymin, xmax, ymax = grid.bounds
    return (
        _covered(transform.f - ymax, transform.f - ymin, -transform.e, shape[0]),
        _covered(xmin - transform.c, xmax - transform.c, transform.a, shape[1]),
    )


def _covered(low: float, high: float, pixel: float, size: int) -> slice:
    first = min(size, max(0, int(np.floor(low / pixel + 1e-6))))
    return slice(first, max(first, min(size, int(np.ceil(high / pixel - 1e-6)))))


def _plain(
    path: Path, place: _Place, item: Item, name: str, grid: Grid, label: str, checksum: str
) -> LocalAsset:
    """Describe the file, written again where it is not what a reader expects."""
    with _opened(path, label) as source:
        nodata, dtype = source.nodata, str(source.dtypes[0])
        scaling = asset_scaling(item, name, dtype)
        described = partial(LocalAsset, name, label, epsg=place.epsg, dtype=dtype, checksum=checksum)
        final = path.with_name(f"{name}.jp2" if source.driver == "JP2OpenJPEG" else f"{name}.tif")
        if scaling.plain and dtype in PLAIN and nodata in (None, 0) and place.own:
            path.rename(final)
            shape, block = source.shape, source.block_shapes[0]
            return described(path=final, transform=place.transform, shape=shape, block=block)
        rows, columns = window_of(grid, place.transform, source.shape)
        final = path.with_name(f"{name}.tif")
        transform = place.transform @ Affine.translation(columns.start, rows.start)
        shape = max(1, rows.stop - rows.start), max(1, columns.stop - columns.start)
        with (
            rasterio.Env(**GDAL_OPTIONS),
            rasterio.open(
                final, "w", driver="GTiff", dtype="uint16", count=1, nodata=0,
                height=shape[0], width=shape[1],
                crs=f"EPSG:{place.epsg}", transform=transform, tiled=True, blockxsize=512, blockysize=512,
            ) as sink,
        ):  # fmt: skip
            for first in range(rows.start, rows.stop if columns.stop > columns.start else 0, 512):
                last = min(first + 512, rows.stop)
                part = Window.from_slices((first, last), (columns.start, columns.stop))
                numbers = as_dn(source.read(1, window=part), scaling, nodata)
                sink.write(numbers, 1, window=Window(0, first - rows.start, shape[1], last - first))
    path.unlink()
    return described(path=final, transform=transform, shape=shape, block=(512, 512))
