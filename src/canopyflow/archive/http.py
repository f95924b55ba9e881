"""The one door to the network: every byte of pixels, metadata, tokens and search answers comes through here.

A server that is busy, a connection that breaks, a body that ends early, arrives too slowly or cannot be
parsed: all of it is asked for again, in one loop (:meth:`Client._persist`), with growing random pauses, as
long as ``Retry-After`` says, and with renewed credentials. What cannot be had in the end is an error and
never data: of this one file (:class:`~canopyflow.errors.ArchiveError`), or of the whole archive
(:class:`~canopyflow.errors.ArchiveUnreachable`).
"""

import io
import logging
import math
import random
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

import canopyflow
from canopyflow.archive.answers import (
    Answer,
    Doubtful,
    decoded,
    length_of,
    same_etag,
    shown,
    size_beyond_end,
    span_of,
    wait_asked,
)
from canopyflow.errors import ArchiveError, ArchiveUnreachable

T = TypeVar("T")
log = logging.getLogger("canopyflow")

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of a body that is read whole (metadata, a page of a search); the largest real ones have some MB."""
PIECE = 256 * 1024
"""Bytes taken from a connection at once."""
PROGRESS = 1024 * 1024
"""Bytes that an attempt must have brought in order not to count as a failure, though the body broke off."""
REDIRECTS = 5
HARMLESS = ("accept", "accept-encoding", "content-type", "range")
"""Headers that go along to another host; all others may be keys."""
HEADERS = 60.0
"""Seconds within which headers must be complete where no other limit is set."""
PROBES = 3
"""Questions that a host may leave unanswered before it counts as gone."""
FORBIDDEN = (401, 403)
MISSING = (404, 410)
TRY_LATER = (408, 425, 429)
"""Besides all of 500 to 599."""


@dataclass(frozen=True)
class Patience:
    """How long one file is asked for, and what counts as no answer.

    Attributes:
        attempts: failures after which a file is given up. One without a single byte counts as two, one that
            brought a megabyte or more does not count; what is said not to exist is asked for three times, and
            a broken body that stays the same four times.
        pause: seconds; the pause after failure n is random between 0 and ``pause`` times 2 to the n - 1.
        longest: seconds that no such pause exceeds. A ``Retry-After`` is added to it in full.
        longest_asked: seconds of ``Retry-After`` beyond which the job fails instead of waiting.
        connect: seconds until a connection must stand.
        silence: seconds between two pieces of an answer.
        slowest: bytes per second below which an answer is given up and continued by another request ...
        window: ... measured over as many seconds.
        sleep: waits for so many seconds.
        clock: a time in seconds that only grows.
    """

    attempts: int = 8
    pause: float = 0.5
    longest: float = 60.0
    longest_asked: float = 300.0
    connect: float = 10.0
    silence: float = 20.0
    slowest: float = 2048.0
    window: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, repr=False)
class Ticket:
    """An address that can be opened now, and what must go with it. Never to be printed.

    Attributes:
        url: the address, with its token if that belongs into the query.
        headers: further headers of the request.
        token: what the archive may refuse one day; empty where there is none.
        advice: what a reader who is refused can do about it.
    """

    url: str
    headers: Mapping[str, str]
    token: str = ""
    advice: str = ""


class Credentials(Protocol):
    """Who may read what; see :mod:`canopyflow.archive.signing`. Used by several threads at once."""

    def authorise(self, method: str, url: str) -> Ticket:
        """The ticket for an unsigned address; one that needs none comes back as it is."""
        ...

    def renew(self, url: str, refused: Ticket) -> None:
        """Forget what ``refused`` was made of, unless another thread has done so already."""
        ...


class NotObtained(ArchiveError):
    """A file cannot be had, though its host answers.

    ``reason`` says why in words that are the same in each run: no address, no count of attempts.
    """

    def __init__(self, url: str, reason: str, tried: int = 1, remedy: str | None = None) -> None:
        self.reason = reason
        asked = f" (asked {tried} times)" if tried > 1 else ""
        super().__init__(f"{shown(url)} {reason}{asked}", remedy)


class Refused(NotObtained):
    """The server does not give this file: ``status`` is 401, 403, 404, 410 or another 4xx."""

    def __init__(
        self, url: str, reason: str, tried: int = 1, remedy: str | None = None, *, status: int
    ) -> None:
        self.status = status
        super().__init__(url, reason, tried, remedy)


class Broken(NotObtained):
    """The server gives a whole body, and it is not what it should be."""


class FileChanged(NotObtained):
    """The file is another one than before: its size or ETag differs, twice in the same way."""


class _Again(Exception):
    """One attempt failed, and another may not.

    ``cost`` is what the attempt uses up of ``Patience.attempts``, ``wait`` what the server asks for,
    ``alive`` whether the failure shows that the host as such works, ``advice`` is for the reader in the end.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int = 0,
        wait: float | None = None,
        cost: int = 1,
        alive: bool = False,
        advice: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.wait, self.cost = reason, status, wait, cost
        self.alive, self.advice = alive, advice


class _Unparsed(_Again):
    """A whole body that cannot be used; another of the same bytes makes it likely that all will be so."""

    def __init__(self, reason: str, seen_before: bool, attempts: int) -> None:
        super().__init__(reason, alive=True, cost=-(-attempts // 3) if seen_before else 1)


class Client:
    """Gets files and answers, whatever happens on the way. Threads may share one.

    Every method raises, besides what it names:

    - :class:`Refused` when the server has the last word (403, 404 ...);
    - :class:`NotObtained` when this file cannot be had otherwise: broken, or too slow;
    - :class:`~canopyflow.errors.ArchiveError` when the address cannot be used;
    - :class:`~canopyflow.errors.ArchiveUnreachable` when its host answers nothing at all, or asks for a
      longer pause than ``Patience.longest_asked``.

    ``requests`` counts ``asked`` (requests sent), ``again`` (attempts that failed) and ``bytes`` (of bodies).
    """

    def __init__(self, credentials: Credentials | None = None, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.requests: Counter[str] = Counter()
        self._credentials = credentials
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_connections=16, pool_maxsize=32, max_retries=0))
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def read(self, url: str, start: int, stop: int, like: Answer | None = None) -> Answer:
        """Bytes ``start`` to ``stop`` (not included) of a file, fewer only where the file ends before.

        A body that breaks off is continued from there. ``like`` is an earlier answer, or one made from
        what was pinned: its size and ETag, where not None, must be those of the file now.

        Raises:
            FileChanged: they are not; or the file changed twice while it was read.
        """
        if not 0 <= start < stop:
            raise ValueError(f"no range of bytes: {start} to {stop}")
        sink = io.BytesIO()
        transfer = _Transfer(self, url, sink, start, stop, like)
        self._persist("GET", url, transfer.attempt)
        return replace(transfer.known, content=sink.getvalue())

    def download(self, url: str, file: BinaryIO, like: Answer | None = None) -> Answer:
        """Write a whole file to ``file`` (empty, seekable); the content of the answer is empty.

        ``like`` and errors as for :meth:`read`. A length that is neither stated nor in ``like`` cannot be
        checked: look at the content.
        """
        transfer = _Transfer(self, url, file, 0, None, like)
        self._persist("GET", url, transfer.attempt)
        return transfer.known

    def head(self, url: str) -> Answer:
        """Size and ETag of a file, without content.

        Asked with a GET of the first byte, whose answer must agree with itself; a HEAD has nothing to be
        compared with. A server without ranges gets both questions, and must answer them alike.
        """
        first = self.read(url, 0, 1)
        if first.ranged:
            return replace(first, content=b"")

        def attempt() -> Answer:
            with self._open("HEAD", url) as response:
                response.raw.drain_conn()
                answer = Answer(b"", length_of(response.headers), response.headers.get("ETag"), ranged=False)
            if answer.size != first.size or not same_etag(answer.etag, first.etag):
                raise _Again("says one size to GET and another to HEAD", alive=True)
            return answer

        return self._persist("HEAD", url, attempt)

    def get(self, url: str, check: Callable[[bytes], T], limit: int = LARGEST_BODY) -> T:
        """``check`` of a whole body of at most ``limit`` bytes.

        ``check`` parses it: whatever it raises makes the body broken, and it is asked for again.
        """
        return self.request("GET", url, check, limit=limit)

    def request(
        self,
        method: str,
        url: str,
        check: Callable[[bytes], T],
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        final: Collection[int] = (),
        limit: int = LARGEST_BODY,
    ) -> T:
        """As :meth:`get`, with any method, further headers, a query and a body (bytes, or what becomes JSON).

        The request may be sent more than once. ``final`` are statuses that are not asked about a second time.
        """
        extra = {"Accept-Encoding": "gzip", **(headers or {})}
        question = {"params": params, "data" if isinstance(body, bytes) else "json": body}
        broken: list[bytes] = []

        def attempt() -> T:
            with self._open(method, url, extra, question, final) as response:
                content = self._whole(response, url, limit)
            try:
                return check(content)
            except Exception as error:  # parsers raise whatever they like
                text = " ".join(str(getattr(error, "problem", error)).split())[:200]
                reason = f"gives a broken body ({text or type(error).__name__})"
                again = bool(content) and content in broken
                broken[:] = [content]
                raise _Unparsed(reason, again, self.patience.attempts) from error

        return self._persist(method, url, attempt)

    def _whole(self, response: requests.Response, url: str, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in self._pieces(response):
            size += len(piece)
            if size > limit:
                raise NotObtained(url, f"is larger than {limit} bytes, too large for what it should be")
            pieces.append(piece)
        expected = length_of(response.headers)
        if expected is not None and size != expected:
            raise Doubtful("a body that is not as long as it says")
        return decoded(b"".join(pieces), response.headers.get("Content-Encoding", ""), limit)

    def _persist(self, method: str, url: str, attempt: Callable[[], T]) -> T:
        """Run ``attempt`` until it succeeds or ``patience`` with it is spent."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ArchiveError(f"{shown(url)} is no http address", "only http and https are read")
        host = self._host(url)
        spent, number, began = 0, 1, math.inf
        self._rest(host, 0.0)
        while True:
            try:
                result = attempt()
            except (_Again, Doubtful) as error:
                failure = _failure(error)
                began = min(began, self.patience.clock())
                spent += failure.cost
                if spent >= self.patience.attempts:
                    raise self._given_up(url, failure, number, began) from error
                self._pause(method, url, failure, number, spent)
                number += 1
            else:
                host.answered(url, self.patience.clock())
                return result

    def _pause(self, method: str, url: str, failure: _Again, number: int, spent: int) -> None:
        patience, host = self.patience, self._host(url)
        seconds = random.uniform(
            0, min(patience.longest, patience.pause * 2 ** max(0, min(number, spent) - 1))
        )
        if failure.wait is not None:
            seconds += failure.wait
            host.rest_until(patience.clock() + failure.wait)
        log.warning("%s %s %s; attempt %d in %.1f s", method, shown(url), failure.reason, number + 1, seconds)
        self._count("again")
        self._rest(host, seconds)

    def _rest(self, host: "_Host", seconds: float) -> None:
        """Sleep, and at least as long as the host asked any of us to leave it alone."""
        seconds = max(seconds, host.free_at - self.patience.clock())
        if seconds > 0:
            self.patience.sleep(seconds)

    def _given_up(self, url: str, failure: _Again, number: int, began: float) -> ArchiveError:
        if failure.status in (*FORBIDDEN, *MISSING):
            return Refused(url, failure.reason, number, failure.advice or None, status=failure.status)
        if isinstance(failure, _Unparsed):
            return Broken(url, failure.reason, number)
        if failure.alive or self._alive(url, began):
            return NotObtained(url, failure.reason, number)
        return ArchiveUnreachable(
            f"the archive does not answer: {shown(url)} {failure.reason} (asked {number} times)",
            "try again later",
        )

    def _alive(self, url: str, since: float) -> bool:
        """Whether the host of ``url`` answers other questions: one since then, or one that is put now."""
        host = self._host(url)
        for number in range(1, PROBES + 1):
            if host.last_answer > since:
                return True
            other = host.other_than(url)
            try:
                if other is None:
                    with self._open("HEAD", urljoin(url, "/")):
                        return True
                with self._open("GET", other, {"Range": "bytes=0-0"}):
                    return True
            except (_Again, Doubtful) as failure:
                if getattr(failure, "status", 0) in (*FORBIDDEN, *MISSING):
                    return True
                if getattr(failure, "cost", 1) > 1:
                    return False
                self.patience.sleep(random.uniform(0, self.patience.pause * 2**number))
            except ArchiveUnreachable:
                return False
            except ArchiveError:  # refused in its own way: somebody is there
                return True
        return False

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        question: Mapping[str, Any] | None = None,
        final: Collection[int] = (),
    ) -> Iterator[requests.Response]:
        """One request and its redirects; an answer of success (or 416), its body still to be read."""
        extra, asked = dict(headers or {}), dict(question or {})
        for _ in range(REDIRECTS + 1):
            ticket = self._credentials.authorise(method, url) if self._credentials else Ticket(url, {})
            response = self._send(method, ticket, extra, asked)
            try:
                if response.status_code in final:
                    raise Refused(url, f"answers {response.status_code}", status=response.status_code)
                if not response.is_redirect:
                    self._judge(response, url, ticket)
                    yield response
                    return
                target = _redirected(url, response.headers["Location"])
            finally:
                response.close()
            if response.status_code == 303:
                method, asked = "GET", {}
            asked.pop("params", None)
            if self._host(target) is not self._host(url):
                extra = {k: v for k, v in extra.items() if k.lower() in HARMLESS}
            url = target
        raise _Again(f"redirects more than {REDIRECTS} times", alive=True)

    def _send(
        self, method: str, ticket: Ticket, headers: Mapping[str, str], question: Mapping[str, Any]
    ) -> requests.Response:
        self._count("asked")
        ours = {"User-Agent": f"canopyflow/{canopyflow.__version__}", "Accept-Encoding": "identity"}
        limits = (self.patience.connect, self.patience.silence)
        try:
            request = requests.Request(
                method, ticket.url, headers={**ours, **headers, **ticket.headers}, **question
            ).prepare()
            address = str(request.url)
            around = self._session.merge_environment_settings(address, {}, True, None, None)
            return self._session.get_adapter(address).send(request, timeout=limits, **around)
        except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise _Again("is silent", cost=2) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
            raise ArchiveError(f"{shown(ticket.url)} is no address") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _Again(f"does not answer ({_cause(error)})") from error

    def _judge(self, response: requests.Response, url: str, ticket: Ticket) -> None:
        """Let a success pass.

        Raises:
            _Again: what may be otherwise at another time.
            Refused: what will not.
            ArchiveUnreachable: a longer pause is asked for than we are ready to make.
        """
        status = response.status_code
        if 200 <= status < 300 or status == 416:
            return
        wait = wait_asked(response.headers)
        if wait is not None and wait > self.patience.longest_asked:
            raise ArchiveUnreachable(
                f"{shown(url)} answers {status} and asks for a pause of {wait:.0f} s, "
                f"longer than {self.patience.longest_asked:.0f} s",
                "run again after that",
            )
        if status in FORBIDDEN and ticket.advice and not ticket.token:
            # Nobody has given us what is wanted: there is nothing to wait for.
            raise Refused(url, f"answers {status}", remedy=ticket.advice, status=status)
        if status in FORBIDDEN and self._credentials:
            self._credentials.renew(url, ticket)
        if status in FORBIDDEN or status in TRY_LATER or status >= 500:
            raise _Again(f"answers {status}", status=status, wait=wait, advice=ticket.advice)
        if status in MISSING:
            raise _Again(f"answers {status}", status=status, wait=wait, cost=-(-self.patience.attempts // 3))
        raise Refused(url, f"answers {status}", status=status)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives.

        Raises:
            _Again: it breaks off, or arrives too slowly.
        """
        patience = self.patience
        since, received = patience.clock(), 0
        while True:
            try:
                piece = response.raw.read1(PIECE, decode_content=False)
            except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
                raise _Again("falls silent in the middle") from error
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise _Again(f"breaks off ({_cause(error)})") from error
            if not piece:
                return
            self._count("bytes", len(piece))
            yield piece
            received += len(piece)
            now = patience.clock()
            if now - since >= patience.window:
                if received < patience.slowest * (now - since):
                    raise _Again("answers too slowly")
                since, received = now, 0

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.requests[what] += number

    def _host(self, url: str) -> "_Host":
        parts = urlsplit(url)
        with self._lock:
            return self._hosts.setdefault(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", _Host())


class _PromptConnection(HTTPConnection):
    """A connection whose headers must be complete within twice the time that it may be silent.

    A server that sends one byte now and then is never silent, and http.client reads on.
    """

    def getresponse(self) -> Any:
        late = threading.Event()
        sock = self.sock

        def cut() -> None:
            late.set()
            sock.shutdown(socket.SHUT_RDWR)

        seconds = self.timeout if isinstance(self.timeout, int | float) else HEADERS
        timer = threading.Timer(2 * seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except Exception as error:
            if late.is_set():
                raise TimeoutError("headers") from error
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise TimeoutError("headers")
        return response


class _PromptSecureConnection(_PromptConnection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PromptConnection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PromptSecureConnection


class _Adapter(HTTPAdapter):
    """Requests' own, on prompt connections."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager


class _Host:
    """What is known of one host: when it wants to be asked again, and what it answered well lately."""

    REMEMBERED = 4

    def __init__(self) -> None:
        self.free_at = -math.inf
        self.last_answer = -math.inf
        self._good: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def rest_until(self, moment: float) -> None:
        with self._lock:
            self.free_at = max(self.free_at, moment)

    def answered(self, url: str, moment: float) -> None:
        with self._lock:
            self.last_answer = max(self.last_answer, moment)
            self._good.pop(url, None)
            self._good[url] = None
            if len(self._good) > self.REMEMBERED:
                self._good.popitem(last=False)

    def other_than(self, url: str) -> str | None:
        """A file that it gave lately, and not this one."""
        with self._lock:
            return next((good for good in reversed(self._good) if shown(good) != shown(url)), None)


class _Transfer:
    """Bytes of one file on their way into a sink, over as many requests as it takes."""

    def __init__(
        self, client: Client, url: str, sink: BinaryIO, start: int, stop: int | None, like: Answer | None
    ) -> None:
        self.client, self.url, self.sink = client, url, sink
        self.start, self.stop, self.have = start, stop, 0
        self.known = replace(like, content=b"") if like else Answer(b"")
        self._pinned = like is not None
        self._other: Answer | None = None
        self._restarted = False

    def attempt(self) -> None:
        """Ask for what is missing.

        Raises:
            Doubtful, _Again: something is missing still.
            FileChanged: what is there does not belong to what would come.
        """
        before = self.have
        try:
            if not self._all_there():
                self._ask()
        except (_Again, Doubtful) as error:
            failure = _failure(error)
            if self.have - before >= PROGRESS:
                failure.cost = 0
            raise failure from error

    def _ask(self) -> None:
        first = self.start + self.have
        last = "" if self.stop is None else self.stop - 1
        with self.client._open("GET", self.url, {"Range": f"bytes={first}-{last}"}) as response:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding.strip().lower() != "identity":
                raise Doubtful(f"a part encoded as {encoding[:20]!r}")
            etag = response.headers.get("ETag")
            if response.status_code == 416:
                self._beyond_end(response, first, etag)
            elif response.status_code == 206:
                span = span_of(response.headers)
                if span.first != first or (self.stop is not None and span.stop > self.stop):
                    raise Doubtful("another range than was asked for")
                self._identify(Answer(b"", span.size, etag))
                self._take(response, skip=0, wanted=span.stop - span.first)
            else:
                size = length_of(response.headers)
                self._identify(Answer(b"", size, etag, ranged=False))
                end = min((n for n in (self.stop, size) if n is not None), default=None)
                self._take(response, skip=first, wanted=None if end is None else max(0, end - first))
        if not self._all_there() and (self.known.size is not None or not self.have):
            raise Doubtful("only a part of what was asked for")

    def _beyond_end(self, response: requests.Response, first: int, etag: str | None) -> None:
        size = size_beyond_end(response.headers)
        if size is None or size > first:
            raise Doubtful("416 for a range that is there")
        self._identify(Answer(b"", size, etag))

    def _identify(self, answer: Answer) -> None:
        """Hold an answer against what is known of the file; a difference must be seen twice to count.

        Two sizes under one ETag are one file, of which somebody stated the size wrongly, perhaps at first.
        """
        known = self.known
        size_fits = known.size is None or answer.size is None or known.size == answer.size
        if size_fits and same_etag(known.etag, answer.etag):
            self._other = None
            size = known.size if answer.size is None else answer.size
            self.known = Answer(b"", size, known.etag or answer.etag, answer.ranged)
            return
        if self._other != answer:
            self._other = answer
            raise Doubtful("another size or ETag than before")
        if known.etag and answer.etag and same_etag(known.etag, answer.etag):
            self.known, self._other = answer, None
            return
        if self._pinned or self._restarted:
            raise FileChanged(self.url, "has another size or ETag than before")
        log.warning("%s changed while it was read; starting again", shown(self.url))
        self._restarted, self.known, self._other, self.have = True, answer, None, 0
        self.sink.seek(0)
        self.sink.truncate()
        raise Doubtful("another file than before")

    def _take(self, response: requests.Response, skip: int, wanted: int | None) -> None:
        """Write the body without its first ``skip`` bytes, ``wanted`` at most; stop reading after these."""
        end = None if wanted is None else self.have + wanted
        for piece in self.client._pieces(response):
            skipped = min(skip, len(piece))
            skip -= skipped
            part = piece[skipped:] if end is None else piece[skipped : skipped + end - self.have]
            self.sink.write(part)
            self.have += len(part)
            if end is not None and self.have >= end and not self.known.ranged:
                return
        if end is not None and self.have < end:
            raise Doubtful("a body that is not as long as it says")

    def _all_there(self) -> bool:
        """Whether all that was asked for is there, or all that the file has (not known without its size)."""
        there, size = self.start + self.have, self.known.size
        return (self.stop is not None and there >= self.stop) or (size is not None and there >= size)


def _failure(error: _Again | Doubtful) -> _Again:
    return error if isinstance(error, _Again) else _Again(f"gives {error}", alive=True)


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        ArchiveError: away from http, or from https to http.
    """
    target = urljoin(url, location)
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArchiveError(f"{shown(url)} redirects to something that is no http address")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise ArchiveError(
            f"{shown(url)} redirects from https to http", "the connection would be open to all"
        )
    return target


def _cause(error: BaseException) -> str:
    """What the innermost exception says, without the addresses that the outer ones quote."""
    for _ in range(10):
        arguments = [a for a in (getattr(error, "reason", None), *error.args) if isinstance(a, BaseException)]
        inner = error.__cause__ or next(iter(arguments), None) or error.__context__
        if inner is None:
            break
        error = inner
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
