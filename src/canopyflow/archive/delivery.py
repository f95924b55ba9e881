"""All that a scene is made of: its bands in a folder of ours, and what its metadata say."""

import logging
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from canopyflow.archive.angles import GranuleAngles, parse_granule
from canopyflow.archive.assets import (
    ATTEMPTS,
    Archive,
    LocalAsset,
    obtain,
    obtain_one,
    read_metadata,
    window_of,
)
from canopyflow.archive.grid import Grid
from canopyflow.archive.harmonise import metadata_offset
from canopyflow.archive.items import GRANULE_METADATA, PRODUCT_METADATA, SCL, Item
from canopyflow.errors import ArchiveError

T = TypeVar("T")
log = logging.getLogger("canopyflow")


@dataclass(frozen=True)
class Delivery:
    """The files of one item.

    Attributes:
        item: as it was pinned.
        assets: its bands and scene classification, by name; they lie in ``folder``.
        granule: angles of its granule metadata, None where it has none.
        offset: of its product metadata, None where it has none.
        checksums: of all files, by name; see :class:`~canopyflow.archive.assets.LocalAsset`.
    """

    item: Item
    grid: Grid
    folder: Path
    archive: Archive
    assets: Mapping[str, LocalAsset]
    granule: GranuleAngles | None
    offset: int | None
    checksums: Mapping[str, str]

    def can_again(self, name: str) -> bool:
        """Whether a file that turns out to be broken may come out well when it is copied once more."""
        return self.archive.is_remote(self.item, name)

    def again(self, name: str) -> LocalAsset:
        """Copy one band once more; errors as in :func:`deliver`."""
        return obtain_one(self.item, name, self.grid, self.folder, self.archive)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def deliver(item: Item, bands: Sequence[str], grid: Grid, folder: Path, archive: Archive) -> Delivery:
    """Get the files of an item into ``folder``, which is emptied before.

    Raises:
        ArchiveError: a file is missing, broken, changed since it was pinned, beside the grid, or cannot be
            used. Metadata too: what they would have said must not be assumed.
        ArchiveUnreachable: the archive does not answer.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checksums: dict[str, str] = {}
    angles_of = partial(parse_granule, bands=bands, name=f"{GRANULE_METADATA} of {item['id']}")
    offset_of = partial(metadata_offset, name=f"{PRODUCT_METADATA} of {item['id']}")
    granule = _metadata(item, GRANULE_METADATA, archive, angles_of, checksums)
    offset = _metadata(item, PRODUCT_METADATA, archive, offset_of, checksums)
    assets = obtain(item, [*bands, SCL], grid, folder, archive)
    for asset in assets.values():
        window = window_of(grid, asset.transform, asset.shape)
        if any(part.start == part.stop for part in window):
            raise ArchiveError(f"{asset.label} lies beside the grid, which its item says it meets")
    checksums |= {name: asset.checksum for name, asset in assets.items()}
    return Delivery(item, grid, folder, archive, assets, granule, offset, checksums)


def _metadata(
    item: Item, name: str, archive: Archive, parse: Callable[[bytes], T], checksums: dict[str, str]
) -> T | None:
    if name not in item["assets"]:
        return None
    for left in reversed(range(ATTEMPTS)):
        content, checksums[name] = read_metadata(item, name, archive)
        try:
            return parse(content)
        except ArchiveError as error:
            if not left or not archive.is_remote(item, name):
                raise
            log.warning("%s; copying it again", error.problem)
    raise AssertionError("the last attempt returns or raises")


def deliveries(
    items: Sequence[Item], bands: Sequence[str], grid: Grid, folder: Path, archive: Archive
) -> Generator["Future[Delivery]", None, None]:
    """One delivery after the other, each begun when the one before it has come: while that one is worked on.

    Args:
        folder: for the files; two deliveries lie there at most.

    Whoever takes them asks for the result of each, removes it when it is done with, and ends the iteration
    where the archive does not answer.
    """
    with ThreadPoolExecutor(1) as pool:

        def begin(number: int) -> "Future[Delivery]":
            return pool.submit(deliver, items[number], bands, grid, folder / str(number % 2), archive)

        upcoming = begin(0) if items else None
        for number in range(len(items)):
            assert upcoming is not None
            current = upcoming
            current.exception()  # waits
            if number + 1 < len(items):
                upcoming = begin(number + 1)
            yield current
