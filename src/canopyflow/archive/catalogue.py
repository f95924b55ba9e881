"""Two kinds of catalogue behind one question: which items touch this box in this period?

A STAC API is asked; a static catalogue, on disk or over HTTP, is walked and filtered here, because it cannot
search. What an API answers is filtered again by the caller: some ignore parts of a query without saying so.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import pystac
import pystac_client
from pystac_client.stac_api_io import StacApiIO

from canopyflow.archive.addresses import is_address
from canopyflow.archive.answers import shown
from canopyflow.archive.grid import Bounds
from canopyflow.archive.http import Client, NotObtained, Refused
from canopyflow.archive.items import Item
from canopyflow.archive.signing import open_client
from canopyflow.errors import ArchiveError, ArchiveUnreachable

log = logging.getLogger("canopyflow")

PAGE = 100
MISREAD = (ArchiveError, AttributeError, LookupError, OSError, TypeError, ValueError)
"""What reading a file of a static catalogue can raise."""


@dataclass(frozen=True)
class Found:
    """An item as the catalogue gives it, and what its relative hrefs refer to.

    ``folder`` is the folder of a file on disk, or the address of a file over HTTP; None for an item of a
    remote API, whose hrefs are absolute.
    """

    item: Item
    folder: Path | str | None


class Catalogue(Protocol):
    """``label`` names it in lock and messages, ``base`` is the folder of its files if it has one."""

    label: str
    base: Path | None

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        """Items that may match: a catalogue may give more than it was asked for, never fewer."""
        ...


class Transport(StacApiIO):
    """Lets pystac and pystac_client read through our :class:`~canopyflow.archive.http.Client`.

    A body that is no JSON, or an answer to a search that holds no list of items, is asked for again like any
    other broken body: pystac_client would take the latter for the end of all pages.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(max_retries=None)
        self._client = client

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Content of a link or an address; a server does not lead us to files of this machine.

        Raises:
            ArchiveError: as :meth:`request`.
        """
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """The text that answers a request.

        Raises:
            ArchiveError: as :class:`~canopyflow.archive.http.Client`.
        """
        method = (method or "GET").upper()
        searches = method == "POST" or urlsplit(href).path.rstrip("/").endswith("/search")

        def check(content: bytes) -> str:
            answer = json.loads(content)
            if not isinstance(answer, dict) or (searches and not isinstance(answer.get("features"), list)):
                raise ValueError("no list of items" if searches else "no object")
            return content.decode()

        question = {"body": parameters or {}} if method == "POST" else {"params": parameters}
        return self._client.request(method, href, check, headers=headers, **question)

    def get_pages(
        self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Pages with items, to the last: pystac_client's own stops at the first page that is empty.

        Raises:
            ArchiveError: a page leads back to an earlier one; or as :meth:`request`.
        """
        page = self.read_json(url, method=method, parameters=parameters)
        passed: set[str] = set()
        while True:
            if page.get("features"):
                yield page
            link = next((link for link in page.get("links") or [] if link.get("rel") == "next"), None)
            if link is None:
                return
            step = json.dumps(link, sort_keys=True)
            if step in passed:
                raise ArchiveError(f"the pages that {shown(url)} gives lead in a circle")
            passed.add(step)
            page = self.read_json(pystac.Link.from_dict(link), parameters=parameters)


class Api:
    """A STAC API: POST searches, paged."""

    def __init__(self, url: str, base: Path | None, client: Client) -> None:
        self.url, self.base = url, base
        try:
            with _small_apis():
                self.client = pystac_client.Client.open(url, stac_io=Transport(client))
        except Exception as error:  # what answers may be anything, and so may pystac's complaint about it
            raise _translated(error, url) from error
        links = (link.rel for link in self.client.get_links())
        self.searches = bool(self.client.get_conforms_to()) or "search" in links
        # The address of an API on the local machine changes from run to run; its id does not.
        self.label = self.client.id if base is not None else shown(url)

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        question = {
            "collections": [collection],
            "bbox": list(area),
            "datetime": f"{start.isoformat()}T00:00:00Z/{end.isoformat()}T23:59:59.999999Z",
            "limit": PAGE,
        }
        try:
            try:
                yield from self._search("POST", question)
            except Refused as refused:
                if refused.status != 405:
                    raise
                yield from self._search("GET", question)
        except Exception as error:
            raise _translated(error, self.url) from error

    def _search(self, method: str, question: dict[str, Any]) -> Iterator[Found]:
        with _small_apis():
            query = self.client.search(method=method, **question)
        for item in query.items_as_dicts():
            yield Found(item, self.base)


@contextmanager
def _small_apis() -> Iterator[None]:
    """Small APIs do not list every conformance class; what matters is filtered again by us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _translated(error: Exception, url: str) -> ArchiveError:
    """What went wrong with a catalogue, in one line with a remedy."""
    error = _first_cause(error)
    name, text = shown(url), _text(error)
    if isinstance(error, Refused):
        return ArchiveError(
            f"the catalogue {name} refused the request: {text}", "check address and collection"
        )
    if isinstance(error, ArchiveUnreachable) or type(error) is NotObtained:
        told = text.removeprefix("the archive does not answer: ")
        return ArchiveUnreachable(
            f"the catalogue {name} did not answer: {told}", "check the address, or try again later"
        )
    return ArchiveError(
        f"what answers at {name} is no STAC API that can be searched ({text})",
        "give the address of the API's landing page",
    )


def _first_cause(error: Exception) -> Exception:
    """The error of ours that pystac wrapped into one of its own, else ``error``."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ArchiveError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def _text(error: Exception) -> str:
    """An exception's message in one short line, with its type where that is not one of ours."""
    text = " ".join(str(getattr(error, "problem", error)).split())[:400]
    return text if isinstance(error, ArchiveError) else f"{type(error).__name__}: {text}"


def _misread(error: Exception, problem: str, place: str, remedy: str | None) -> ArchiveError:
    """What stopped the walk through a static catalogue: a server that is gone, or a bad file."""
    if isinstance(error, ArchiveUnreachable):
        return error
    said = _text(error)
    name = "" if place in said or shown(place) in said else f"{shown(place)}: "
    return ArchiveError(f"{problem}: {name}{said}", remedy)


class Static:
    """A catalogue of files, on disk or over HTTP: walked, its hrefs relative to each item's own file.

    Read as plain JSON: an item that is not as it should be is judged like any other, and costs no other.
    """

    def __init__(self, catalog: str, base: Path | None, client: Client) -> None:
        self._client = client
        self._remote = is_address(catalog)
        self._root = catalog if self._remote else str(_on_disk(Path(catalog)))
        name = shown(catalog) if self._remote else catalog
        try:
            content = self._read(self._root)
        except MISREAD as error:
            raise _misread(error, f"{name} is not a STAC catalogue", self._root, None) from error
        if "links" not in content or "stac_version" not in content:
            raise ArchiveError(f"{name} is not a STAC catalogue: it has no links or no stac_version")
        self.base: Path | None = base or (None if self._remote else Path(self._root).parent)
        self.label = shown(catalog) if self._remote and base is None else str(content.get("id"))

    def items(self, collection: str, area: Bounds, start: date, end: date) -> Iterator[Found]:
        seen = 0
        for here, item in self._walk():
            if item.get("collection") == collection:
                seen += 1
                yield self._found(here, item)
        if not seen:
            log.warning("%s has no item in a collection called %s", self.label, collection)

    def _walk(self) -> Iterator[tuple[str, Item]]:
        """All items with the places of their files, each file read once."""
        waiting, known = [self._root], {self._root}
        while waiting:
            here = waiting.pop()
            try:
                content = self._read(here)
                is_item = content.get("type") == "Feature"
                linked = [
                    _place(here, str(link["href"]))
                    for link in (not is_item and content.get("links")) or []
                    if link.get("rel") in ("child", "item")
                ]
            except MISREAD as error:
                problem = f"a file that {self.label} links to cannot be read"
                raise _misread(error, problem, here, "mend the catalogue") from error
            if is_item:
                yield here, content
                continue
            fresh = [place for place in dict.fromkeys(linked) if place not in known]
            known.update(fresh)
            waiting += reversed(fresh)

    def _read(self, place: str) -> dict[str, Any]:
        if is_address(place):
            return self._client.get(place, _json_object)
        return _json_object(Path(place).read_bytes())

    def _found(self, here: str, item: Item) -> Found:
        if not is_address(here):
            return Found(item, Path(here).parent)
        return Found({**item, "links": [{"rel": "self", "href": here}]}, here)


def _json_object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _place(here: str, href: str) -> str:
    """Where a link of the file ``here`` leads; a server leads to no file of this machine."""
    if is_address(here) or is_address(href):
        place = urljoin(here, href)
        if not is_address(place):
            raise ValueError(f"{shown(place)} is no http address")
        return place
    path = unquote(urlsplit(href).path) if href.startswith("file:") else href
    return os.path.normpath(Path(here).parent / path)


def _on_disk(catalog: Path) -> Path:
    path = catalog / "catalog.json" if catalog.is_dir() else catalog
    if not path.is_file():
        raise ArchiveError(f"there is no catalogue at {catalog}", "give a STAC API's URL or a catalog.json")
    return path


def open_catalogue(catalog: str, asset_base: Path | None, client: Client | None = None) -> Catalogue:
    """The catalogue behind a path or an address.

    A static one's address ends in ``.json``, or what answers there neither conforms to anything nor has a
    link to a search.

    ``client`` is by default one with the credentials of the environment.

    Raises:
        ArchiveError: no such catalogue.
        ArchiveUnreachable: its server does not answer.
    """
    client = client or open_client()
    if not is_address(catalog) or urlsplit(catalog).path.endswith(".json"):
        return Static(catalog, asset_base, client)
    api = Api(catalog, asset_base, client)
    return api if api.searches else Static(catalog, asset_base, client)
