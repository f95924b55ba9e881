"""Getting the files of a scene into a folder of ours, checked, before any library may open them.

Of a GeoTIFF only the blocks that meet the tile's grid are copied, each once, into a small file of their own
(see :mod:`canopyflow.archive.geotiff`); a JPEG 2000 and a file of a server without ranges are copied whole,
or linked where they lie on this machine. What is in the folder afterwards is one band of plain numbers in
the grid's projection, with 0 for no data: a file that is something else is written again in that form or
refused by name.

The files come from outside. They are opened with the drivers of GeoTIFF and JPEG 2000 alone, whatever they
are called; drivers that follow paths and addresses (VRT, MRF, WMS) are never tried, and nothing lies beside
the files that GDAL would read as well (masks, overviews, ``.aux.xml``).
"""

import errno
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import rasterio
import rasterio.errors
from affine import Affine
from defusedxml import ElementTree
from rasterio.crs import CRS
from rasterio.windows import Window

from canopyflow.archive import geotiff
from canopyflow.archive.grid import Grid
from canopyflow.archive.harmonise import as_dn, asset_scaling
from canopyflow.archive.http import Client, FileChanged, NotObtained, Refused
from canopyflow.archive.items import PIXEL_SIZES, Item, Unusable, epsg, resolve_href, transform_of
from canopyflow.archive.originals import HEAD, Original, is_remote, open_original, whole
from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")
# Such a file is placed by what its archive says, or refused by name.
warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

ATTEMPTS = 3
"""Times that a remote file is copied before it counts as broken."""
CONNECTIONS = 8
"""Files of a scene that are copied at the same time."""
GAP = 16 * 1024
"""Bytes between two blocks that are copied with them rather than asked around."""
PIECE = 8 * 2**20
"""Most bytes of one request: with eight at a time, 64 MiB are in memory."""

PLAIN = ("uint8", "uint16")
JP2_MAGIC = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")

GDAL_OPTIONS = {
    # Nothing beside a file counts.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # No address can be opened, should one come here all the same.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing",
}


class BrokenFile(ArchiveError):
    """The content of a file cannot be what it should be."""

    def __init__(self, label: str) -> None:
        super().__init__(f"{label} is truncated or corrupt")


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
        """Address or absolute path of an asset.

        Raises:
            ArchiveError: it leaves the archive, or is of a kind that is not read.
        """
        try:
            href = resolve_href(item["assets"][name]["href"], self.base)
        except Unusable as error:
            raise ArchiveError(f"{label_of(item, name)} is out of reach: {error}") from error
        return href if is_remote(href) else str(Path(href).absolute())

    def is_remote(self, item: Item, name: str) -> bool:
        """Whether an asset comes over the network: a second attempt may then turn out better."""
        return is_remote(self.locate(item, name))


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
    label = label_of(item, name)
    pinned = {"file:size", "file:checksum", "canopyflow:etag"} & item["assets"][name].keys()
    with _named(label):
        for left in reversed(range(ATTEMPTS)):
            try:
                return _obtain(item, name, grid, folder, archive, label)
            except (FileChanged, BrokenFile) as error:
                hopeless = pinned if isinstance(error, FileChanged) else not archive.is_remote(item, name)
                if hopeless or not left:
                    raise
                log.warning("%s; copying it again", error.problem)
    raise AssertionError("the last attempt returns or raises")


def _obtain(item: Item, name: str, grid: Grid, folder: Path, archive: Archive, label: str) -> LocalAsset:
    path = folder / f"{name}.partial"
    path.unlink(missing_ok=True)
    original = open_original(archive.locate(item, name), item["assets"][name], archive.client)
    look = _Look(item, name, grid, archive)
    return _plain(path, _Copy(original, path, label).make(look), look, label, original.checksum)


def read_metadata(item: Item, name: str, archive: Archive) -> tuple[bytes, str]:
    """Content of a small asset and its checksum, as in :class:`LocalAsset`.

    Raises:
        ArchiveError: it is missing, cannot be read, or changed since it was pinned.
        ArchiveUnreachable: the archive does not answer.
    """
    with _named(label_of(item, name)):
        original = open_original(archive.locate(item, name), item["assets"][name], archive.client)
        return whole(original), original.checksum


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Errors of the block about a file that has no name of ours yet get ``label``."""
    try:
        yield
    except ArchiveUnreachable:
        raise
    except NotObtained as error:
        # Addresses and attempts go to the log: what fails in the same way again is told in the same words.
        log.warning("%s: %s", label, error.problem)
        changed = isinstance(error, FileChanged)
        told = "changed since it was pinned" if changed else f"cannot be had: {error.reason}"
        raise ArchiveError(f"{label} {told}", "search the archive again" if changed else None) from error
    except ArchiveError as error:
        if label in error.problem:
            raise
        raise ArchiveError(f"{label} cannot be used: {error.problem}", error.remedy) from error
    except FileNotFoundError as error:
        raise ArchiveError(f"{label} is missing") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ArchiveError(f"{label} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Image:
    """What a file in our folder is; ``placed`` where it says itself where its pixels lie.

    The other attributes are those of :class:`LocalAsset`, and ``nodata`` of the file.
    """

    driver: str
    dtype: str
    nodata: float | None
    shape: tuple[int, int]
    block: tuple[int, int]
    epsg: int
    transform: Affine
    placed: bool


class _Copy:
    """One file on its way into our folder."""

    def __init__(self, original: Original, path: Path, label: str) -> None:
        self.original, self.path, self.label = original, path, label
        self._directories: list[tuple[int, bytes]] = []

    def make(self, look: "_Look") -> _Image:
        """Copy what the grid needs; says what came."""
        original = self.original
        if not geotiff.is_tiff(original.head) or not original.in_parts or original.size is None:
            return self._whole(look)
        try:
            table = geotiff.read_block_table(self._directory, original.size)
        except geotiff.Unusual as reason:
            log.info("%s is copied whole: %s", self.label, reason)
            return self._whole(look)
        except ValueError as error:
            raise BrokenFile(self.label) from error
        return self._blocks(look, table)

    def _whole(self, look: "_Look") -> _Image:
        self.original.put(self.path)
        return look(self.path, self.label)

    def _directory(self, start: int, stop: int) -> bytes:
        """Parts of the file that hold directories; these are read in small steps, one after the other."""
        for begin, content in self._directories:
            if begin <= start and stop <= begin + len(content):
                return content[start - begin : stop - begin]
        content = self.original.read(start, max(stop, start + HEAD))
        self._directories.append((start, content))
        return content[: stop - start]

    def _blocks(self, look: "_Look", table: geotiff.BlockTable) -> _Image:
        """Copy the blocks that meet the grid into a file of their own."""
        self.path.write_bytes(geotiff.without_pixels(table))
        image = look(self.path, self.label)
        rows, columns = window_of(look.grid, image.transform, table.shape)
        if rows.start == rows.stop or columns.start == columns.stop:
            # Beside the grid: the nearest pixel will do, it is not used.
            rows, columns = (
                slice(min(s.start, n - 1), min(s.start, n - 1) + 1)
                for s, n in zip((rows, columns), table.shape, strict=True)
            )
        copy, transform = geotiff.crop(table, rows, columns, image.epsg, image.transform)
        with self.path.open("w+b") as file:
            file.write(copy.head)
            for blocks in geotiff.requests(copy.blocks, GAP, PIECE):
                first = blocks[0].start
                content = self._part(first, max(block.start + block.size for block in blocks))
                for block in blocks:
                    stored = content[block.start - first : block.start - first + block.size]
                    file.seek(block.to)
                    file.write(self._unpacked(table, stored, block).data if copy.unpacked else stored)
        return replace(image, shape=copy.shape, transform=transform, placed=True)

    def _part(self, start: int, stop: int) -> bytes:
        content = self.original.read(start, stop)
        if len(content) != stop - start:
            raise BrokenFile(self.label)
        return content

    def _unpacked(self, table: geotiff.BlockTable, stored: bytes, block: geotiff.Copied) -> npt.NDArray[Any]:
        try:
            return geotiff.unpacked(table, stored, block)
        except ValueError as error:
            raise BrokenFile(self.label) from error


@dataclass(frozen=True)
class _Look:
    """Opens a file in our folder and says what it is."""

    item: Item
    name: str
    grid: Grid
    archive: Archive

    @property
    def asset(self) -> Mapping[str, Any]:
        asset: Mapping[str, Any] = self.item["assets"][self.name]
        return asset

    def __call__(self, path: Path, label: str) -> _Image:
        """Where its pixels lie is the file's own word, else the ``.aux.xml``'s beside it, else the item's.

        Raises:
            ArchiveError: the file is no image of one band, or lies in another projection than the grid.
        """
        with _opened(path, label) as source:
            if source.count != 1:
                raise ArchiveError(f"{label} has {source.count} bands")
            code = self._code(source.crs, label)
            transform = None if source.transform.is_identity else source.transform
            found = partial(
                _Image,
                source.driver,
                str(source.dtypes[0]),
                source.nodata,
                source.shape,
                source.block_shapes[0],
            )
            shape = source.shape
        placed = code is not None and transform is not None
        if code is None or transform is None:
            code, transform = self._told(code, transform, shape, label)
        if code != self.grid.epsg:
            raise ArchiveError(f"{label} lies in EPSG:{code}, the grid in EPSG:{self.grid.epsg}")
        if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise ArchiveError(f"the rows and columns of {label} do not run from north-west to south-east")
        if not math.isclose(transform.a, -transform.e, rel_tol=1e-6):
            raise ArchiveError(f"the pixels of {label} are not square")
        if not PIXEL_SIZES[0] <= transform.a <= PIXEL_SIZES[1]:
            raise ArchiveError(f"the pixels of {label} are {transform.a:g} m wide: none of Sentinel-2 is")
        return found(code, transform, placed)

    def _code(self, crs: CRS | None, label: str) -> int | None:
        """EPSG code of what a file says of its projection; None where it says nothing.

        Raises:
            ArchiveError: it is one without a code, which the item's must not stand in for.
        """
        code = crs.to_epsg() if crs else None
        if crs is None or code is not None:
            return None if code is None else int(code)
        if crs == CRS.from_epsg(self.grid.epsg):
            return self.grid.epsg
        if crs.is_projected or crs.is_geographic:
            raise ArchiveError(f"{label} lies in a projection without an EPSG code")
        return None

    def _told(
        self, code: int | None, transform: Affine | None, shape: tuple[int, int], label: str
    ) -> tuple[int, Affine]:
        beside = self._beside(label)
        if beside:
            code = code or self._code(_crs_of(beside.findtext("SRS")), label)
            numbers = _NUMBER.findall(beside.findtext("GeoTransform") or "")
            if transform is None and len(numbers) == 6:
                transform = Affine.from_gdal(*map(float, numbers))
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


def _crs_of(wkt: str | None) -> CRS | None:
    try:
        return CRS.from_wkt(wkt) if wkt else None
    except rasterio.errors.CRSError:
        return None


@contextmanager
def _opened(path: Path, label: str) -> Iterator[rasterio.DatasetReader]:
    """Open a file of our folder with the driver of what it begins as, and with no other."""
    with path.open("rb") as file:
        head = file.read(12)
    driver = "GTiff" if geotiff.is_tiff(head) else "JP2OpenJPEG"
    if driver != "GTiff" and not head.startswith(JP2_MAGIC):
        raise BrokenFile(label)
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path, driver=driver, sharing=False) as source:
            yield source
    except rasterio.errors.RasterioError as error:
        raise BrokenFile(label) from error


def window_of(grid: Grid, transform: Affine, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a north-up file of ``shape`` that meet ``grid``; empty slices where none do."""
    xmin, ymin, xmax, ymax = grid.bounds
    return (
        _covered(transform.f - ymax, transform.f - ymin, -transform.e, shape[0]),
        _covered(xmin - transform.c, xmax - transform.c, transform.a, shape[1]),
    )


def _covered(low: float, high: float, pixel: float, size: int) -> slice:
    first = min(size, max(0, math.floor(low / pixel + 1e-6)))
    return slice(first, max(first, min(size, math.ceil(high / pixel - 1e-6))))


def _plain(path: Path, image: _Image, look: _Look, label: str, checksum: str) -> LocalAsset:
    """Describe the file, written again where it is not what a reader expects."""
    name, code, dtype = look.name, image.epsg, image.dtype
    scaling = asset_scaling(look.item, name, dtype)
    if scaling.plain and dtype in PLAIN and image.nodata in (None, 0) and image.placed:
        final = path.with_name(f"{name}.jp2" if image.driver == "JP2OpenJPEG" else f"{name}.tif")
        path.rename(final)
        return LocalAsset(
            name, label, final, code, image.transform, image.shape, image.block, dtype, checksum
        )
    rows, columns = window_of(look.grid, image.transform, image.shape)
    final = path.with_name(f"{name}.tif")
    transform = image.transform @ Affine.translation(columns.start, rows.start)
    shape = max(1, rows.stop - rows.start), max(1, columns.stop - columns.start)
    with (
        _opened(path, label) as source,
        rasterio.open(
            final, "w", driver="GTiff", dtype="uint16", count=1, nodata=0, height=shape[0], width=shape[1],
            crs=f"EPSG:{code}", transform=transform, tiled=True, blockxsize=512, blockysize=512,
        ) as sink,
    ):  # fmt: skip
        for first in range(rows.start, rows.stop if columns.stop > columns.start else 0, 512):
            last = min(first + 512, rows.stop)
            part = Window.from_slices((first, last), (columns.start, columns.stop))
            numbers = as_dn(source.read(1, window=part), scaling, image.nodata)
            sink.write(numbers, 1, window=Window(0, first - rows.start, shape[1], last - first))
    path.unlink()
    return LocalAsset(name, label, final, code, transform, shape, (512, 512), dtype, checksum)
