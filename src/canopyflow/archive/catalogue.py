"""Two kinds of catalogue behind one question: which items touch this box in this period?

A STAC API is asked; a static catalogue is walked and filtered here, because it cannot search. What an API
answers is filtered again by the caller: some ignore parts of a query without saying so.
"""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import pystac
import pystac_client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.exceptions import RequestException
from urllib3 import Retry

from canopyflow.archive.grid import Bounds
from canopyflow.archive.items import Item
from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")

PAGE = 100
TIMEOUT = (15.0, 60.0)
"""Seconds to connect, seconds between two bytes of an answer."""
ATTEMPTS = 4
TRY_LATER = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Found:
    """An item as the catalogue gives it, and the folder its relative hrefs refer to (None: none)."""

    item: Item
    folder: Path | None


class Catalogue(Protocol):
    """``label`` names it in lock and messages, ``base`` is the folder of its files if it has one."""

    label: str
    base: Path | None

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        """Items that may match: a catalogue may give more than it was asked for, never fewer."""
        ...


class Api:
    """A STAC API: POST searches, paged, with an explicit retry policy (the client's default has none)."""

    def __init__(self, url: str, base: Path | None) -> None:
        self.url, self.base = url, base
        retry = Retry(
            total=ATTEMPTS,
            backoff_factor=0.5,
            status_forcelist=list(TRY_LATER),
            allowed_methods=None,
            respect_retry_after_header=True,
        )
        try:
            self.client = pystac_client.Client.open(
                url, stac_io=StacApiIO(max_retries=retry, timeout=TIMEOUT)
            )
        except Exception as error:  # what answers may be anything, and so may pystac's complaint about it
            raise _translated(error, url) from error
        # The address of an API on the local machine changes from run to run; its id does not.
        self.label = self.client.id if base is not None else url

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        try:
            query = self.client.search(
                method="POST",
                collections=[collection],
                bbox=list(area),
                datetime=f"{start.isoformat()}T00:00:00Z/{end.isoformat()}T23:59:59.999999Z",
                limit=PAGE,
            )
            for item in query.items_as_dicts():
                yield Found(item, self.base)
        except Exception as error:
            raise _translated(error, self.url) from error


def _translated(error: Exception, url: str) -> ArchiveError:
    status = getattr(error, "status_code", None)
    text = " ".join(str(_innermost(error)).split())[:200]
    if status is not None and status not in TRY_LATER:
        return ArchiveError(
            f"the catalogue {url} refused the request ({status}): {text}", "check address and collection"
        )
    if isinstance(error, (APIError, RequestException)):
        return ArchiveUnreachable(
            f"the catalogue {url} did not answer: {text}", "check the address, or try again later"
        )
    return ArchiveError(
        f"what answers at {url} is no STAC API that can be searched ({type(error).__name__}: {text})",
        "give the address of the API's landing page",
    )


def _innermost(error: BaseException) -> BaseException:
    """The first cause of a failed connection, without the layers of clients that passed it on."""
    inner = error.__cause__ or error.__context__
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    for candidate in (reason, inner):
        if isinstance(candidate, BaseException) and candidate is not error:
            return _innermost(candidate)
    return error


class Static:
    """A catalogue of files: opened, walked, its hrefs relative to each item's own file."""

    def __init__(self, catalog: Path, base: Path | None) -> None:
        path = catalog / "catalog.json" if catalog.is_dir() else catalog
        if not path.is_file():
            raise ArchiveError(
                f"there is no catalogue at {catalog}", "give a STAC API's URL or a catalog.json"
            )
        try:
            self.root = pystac.Catalog.from_file(str(path))
        except (
            Exception
        ) as error:  # pystac raises KeyError, STACTypeError, JSONDecodeError ... for a bad file
            raise ArchiveError(f"{catalog} is not a STAC catalogue: {error}") from error
        self.base: Path | None = base or path.parent
        self.label = self.root.id

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        seen = 0
        try:
            for item in self.root.get_items(recursive=True):
                if item.collection_id == collection:
                    seen += 1
                    href = item.get_self_href() or ""
                    plain = item.to_dict(include_self_link=False, transform_hrefs=False)
                    yield Found(plain, Path(href).parent)
        except Exception as error:  # as above: pystac complains in many ways
            raise ArchiveError(
                f"a file that {self.label} links to cannot be read: {error}", "mend the catalogue"
            ) from error
        if not seen:
            log.warning("%s has no item in a collection called %s", self.label, collection)


def open_catalogue(catalog: str, asset_base: Path | None) -> Catalogue:
    """The catalogue behind a URL or path.

    Raises:
        ArchiveError: no such catalogue.
        ArchiveUnreachable: the API does not answer.
    """
    if catalog.startswith(("http://", "https://")):
        with warnings.catch_warnings():
            # Small APIs do not list every conformance class; what matters is filtered again by us.
            warnings.simplefilter("ignore")
            return Api(catalog, asset_base)
    return Static(Path(catalog), asset_base)
