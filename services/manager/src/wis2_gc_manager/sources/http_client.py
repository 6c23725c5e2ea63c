"""Gets data over HTTP and HTTPS (wis2-rules.md 15, 19, W10 to W17), on aiohttp."""

from __future__ import annotations

import email.utils
import ssl
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, InvalidHeader, LineTooLong

from wis2_gc_common.errors import Reason, Refused, SourceError
from wis2_gc_common.runtime.causes import RESETS, os_words
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_manager.sources.address_guard import ForbiddenAddress
from wis2_gc_manager.sources.encoded import EncodedBody, content_coding
from wis2_gc_manager.sources.link_target import Target, follow
from wis2_gc_manager.sources.timeouts import Timeouts, sooner

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from wis2_gc_manager.sources.address_guard import AddressGuard
    from wis2_gc_manager.sources.addresses import Addresses
    from wis2_gc_manager.sources.body import Body

USER_AGENT = "wis2-global-cache/1"
#: 203: the same as 200, through a proxy that changes answers (wis2-rules.md W14).
_WITH_DATA = frozenset({HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION})
#: Other success codes, which bring no data.
_NO_DATA = {
    HTTPStatus.ACCEPTED: "the data is not there yet",
    HTTPStatus.NO_CONTENT: "no data",
    HTTPStatus.RESET_CONTENT: "no data",
    HTTPStatus.PARTIAL_CONTENT: "a part of the data, which was not requested",
    HTTPStatus.NOT_MODIFIED: "not modified, which was not requested",
}
#: Errors that are often over a second later, if the server does not say when.
_FLEETING = frozenset(
    {
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
#: aiohttp reads ahead up to twice this much for each body, plus one read.
_READ_AHEAD_BYTES = 64 * 1024
#: Connections are kept this long for the next item; most publish in bursts.
_KEEP_ALIVE_S = 30.0
#: Above this number of connections, busy and idle, no further ones are kept.
MAX_KEPT_CONNECTIONS = 512
#: Headers of 12 kB and over 100 header lines were seen (wis2-rules.md W13). Each connection can
#: take this much memory.
_MAX_HEADER_LINE_BYTES = 64 * 1024
_MAX_HEADER_LINES = 500
_MAX_HEAD_BYTES = 128 * 1024
#: The part of one answer that is not data: status lines, headers, chunk sizes, and what is read
#: ahead. A chunk of one byte takes five bytes more.
_MAX_FRAMING_BYTES = 512 * 1024
_MAX_FRAMING_PER_BYTE = 16
#: The longest Retry-After header that is read.
_MAX_DATE_CHARS = 64
#: The longest Content-Type that is read; `application/vnd.…` has at most 127 + 1 + 127 (RFC 6838).
_MAX_TYPE_CHARS = 255
_LIBRARY_ERRORS = (aiohttp.ClientError, OSError, ValueError)


class HttpClient:
    """Gets http and https targets over kept connections."""

    def __init__(
        self,
        guard: AddressGuard,
        addresses: Addresses,
        *,
        timeouts: Timeouts,
        ca_file: Path | None,
    ) -> None:
        self._guard = guard
        self._head_s = timeouts.connect_s + timeouts.idle_s
        self._sockets: WeakSet[socket.socket] = WeakSet()
        context = client_context(ca_file)
        context.set_alpn_protocols(["http/1.1"])
        resolver = _Resolver(addresses)
        self._keeping = self._session(resolver, context, timeouts, keep=True)
        self._closing = self._session(resolver, context, timeouts, keep=False)

    async def get(self, target: Target, body: Body) -> Target | None:
        """Fill `body`, or return the target of a redirect.

        Raises SourceError (Refused for a redirect or a name that leads to a forbidden place),
        and what `body` raises.
        """
        # A stranger who names thousands of hosts must not make us keep a connection to each.
        session = self._keeping if len(self._sockets) < MAX_KEPT_CONNECTIONS else self._closing
        with sooner(body.deadline, self._head_s):
            try:
                response = await session.get(target.url, allow_redirects=False)
            except _LIBRARY_ERRORS as error:
                raise _source_error(error, lost=Reason.CONNECT) from error
        try:
            if response.status not in _WITH_DATA:
                return _refusal_or_redirect(target, response)
            _check_page(response, body)
            await self._read(response, body)
        finally:
            # This keeps the connection if the answer was read to its end, otherwise it closes it.
            response.release()
        return None

    async def close(self) -> None:
        """Close all connections."""
        await self._keeping.close()
        await self._closing.close()

    def _session(
        self, resolver: _Resolver, context: ssl.SSLContext, timeouts: Timeouts, *, keep: bool
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=0,  # HostLimits does that
                force_close=not keep,
                keepalive_timeout=_KEEP_ALIVE_S if keep else None,
                ssl=context,
                resolver=resolver,
                use_dns_cache=False,
                socket_factory=self._open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, connect=timeouts.connect_s, sock_read=timeouts.idle_s
            ),
            read_bufsize=_READ_AHEAD_BYTES,
            max_line_size=_MAX_HEADER_LINE_BYTES,
            max_field_size=_MAX_HEADER_LINE_BYTES,
            max_headers=_MAX_HEADER_LINES,
        )

    def _open_socket(self, addr_info: Any) -> socket.socket:
        opened = self._guard.open_socket(addr_info)
        self._sockets.add(opened)
        return opened

    @staticmethod
    async def _read(response: aiohttp.ClientResponse, body: Body) -> None:
        content = response.content
        coding = content_coding(response.headers.getall("Content-Encoding", ()))
        encoded = EncodedBody(body, coding) if coding else None
        sink = encoded or body
        sink.begin(response.content_length)
        while True:
            try:
                chunk = await content.readany()
            except _LIBRARY_ERRORS as error:
                raise _source_error(error, lost=Reason.TRUNCATED) from error
            if not chunk:
                break
            await sink.add(chunk)
        handler = getattr(content, "_protocol", None)
        is_cut_short = isinstance(handler, _Handler) and handler.is_cut_short
        if encoded is None:
            body.is_cut_short = is_cut_short
        else:
            await encoded.end(is_cut_short=is_cut_short)


class _TooMuchFraming(ValueError):
    """A server sends without end, and hardly any of it is data."""


class _Handler(ResponseHandler):
    """aiohttp's end of one connection, with a bound on bytes that are not data.

    A body without a length ends with its connection. aiohttp takes every end of the connection for
    the end of the body: also a reset, and TLS that ends without being closed. Anybody between us
    and the server can cause these.

    aiohttp reads interim answers (1xx), and skips the extensions of chunks, as long as they
    come: no time-out for a silent server ends that, and no check of the body ever sees it.
    """

    _received = 0
    _was_closed = False
    is_cut_short = False
    """The connection broke off in the middle of a body."""

    def set_response_params(self, **parameters: Any) -> None:
        """Begin the next answer."""
        self._received = 0
        self._payload = None  # it belongs to the answer before
        super().set_response_params(**parameters)

    def eof_received(self) -> None:
        """Note that the server says that it has sent everything (over TLS: it closes TLS)."""
        self._was_closed = True
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note whether a body was still being received."""
        payload = self._payload
        if payload is not None and not payload.is_eof() and not self._was_closed:
            self.is_cut_short = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the bytes that the socket received."""
        super().data_received(data)
        self._received += len(data)
        if self._received <= _MAX_HEAD_BYTES:
            return
        payload = self._payload
        if payload is None:
            error = _TooMuchFraming(f"headers of over {_MAX_HEAD_BYTES // 1024} kB")
        elif self._received > _MAX_FRAMING_BYTES + _MAX_FRAMING_PER_BYTE * payload.total_bytes:
            error = _TooMuchFraming("interim answers or chunk headers without end")
        else:
            return
        if payload is not None:
            payload.set_exception(error)
        self.abort()
        self.set_exception(error)


class _Connector(aiohttp.TCPConnector):
    """Connects with our handlers; aiohttp has no public way to do this."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        make: type[ResponseHandler] = _Handler
        self._factory = partial(make, loop=self._loop)


class _Resolver(AbstractResolver):
    """Gives aiohttp admitted addresses only."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily | int = 0
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=int(family), proto=0, flags=0
            )
            for address in await self._addresses.admitted(host)
        ]

    async def close(self) -> None:
        """Nothing: the addresses belong to the downloader."""


def retry_after_s(text: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number, or an HTTP date.

    `now`: seconds since 1970. None: there is no header, or it cannot be understood.
    """
    if text is None:
        return None
    text = text[:_MAX_DATE_CHARS].strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _refusal_or_redirect(target: Target, response: aiohttp.ClientResponse) -> Target:
    status = response.status
    location = response.headers.get("Location")
    if status in _REDIRECTS and location is not None:
        return follow(target, location)
    detail = f"status {status}"
    if status in _REDIRECTS:
        detail += ": a redirect without Location"
    elif status in _NO_DATA:
        detail += f": {_NO_DATA[HTTPStatus(status)]}"
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise SourceError(Reason.NOT_FOUND, detail)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise SourceError(Reason.DENIED, detail)
    wait_s = retry_after_s(response.headers.get("Retry-After"), time.time())
    if status == HTTPStatus.TOO_MANY_REQUESTS or (
        status == HTTPStatus.SERVICE_UNAVAILABLE and wait_s is not None
    ):
        raise SourceError(Reason.THROTTLED, detail, retry_after_s=wait_s)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise SourceError(Reason.SERVER_ERROR, detail, is_fleeting=status in _FLEETING)
    raise SourceError(Reason.HTTP_STATUS, detail)


def _check_page(response: aiohttp.ClientResponse, body: Body) -> None:
    """Refuse an HTML page if data is announced and no length or checksum could show the error."""
    if body.is_verifiable:
        return
    announced = _media_type(body.request.media_type or "")
    # Not `response.content_type`: aiohttp takes minutes for an endless list of parameters.
    if _media_type(response.headers.get("Content-Type", "")) in _PAGES and announced not in _PAGES:
        raise SourceError(Reason.HTML_INSTEAD_OF_DATA)


def _media_type(header: str) -> str:
    return header[:_MAX_TYPE_CHARS].partition(";")[0].strip().lower()


def _source_error(error: Exception, *, lost: Reason) -> SourceError:
    """Translate; `lost` is the reason for a connection that broke off."""
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(Reason.INVALID_URL)
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, ForbiddenAddress):
        return Refused(Reason.FORBIDDEN_ADDRESS)
    is_reset = isinstance(cause, aiohttp.ServerDisconnectedError) or (
        isinstance(cause, OSError) and cause.errno in RESETS
    )
    return SourceError(_reason(error, lost), _words(cause), is_fleeting=is_reset)


def _reason(error: Exception, lost: Reason) -> Reason:
    reason = Reason.PROTOCOL
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        reason = Reason.TLS
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = Reason.DNS
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = Reason.CONNECT
    elif isinstance(error, TimeoutError):
        reason = Reason.TIMEOUT
    elif isinstance(error, aiohttp.ClientPayloadError):
        reason = Reason.TRUNCATED
    elif isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        reason = lost
    return reason


def _words(error: Exception) -> str:
    if isinstance(error, _TooMuchFraming):
        words = str(error)
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        words = "no connection in time"
    elif isinstance(error, aiohttp.SocketTimeoutError):
        words = "nothing was received in time"
    elif isinstance(error, aiohttp.ClientPayloadError):
        words = "the connection ended before the body"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        words = "the server closed the connection"
    elif isinstance(error, OSError):
        words = os_words(error)
    else:
        words = _protocol_words(error)
    return words


def _protocol_words(error: BaseException | None) -> str:
    """Return what is wrong with an answer; the parser's reason is a cause of `error`."""
    while error is not None and not isinstance(error, BadHttpMessage):
        error = error.__cause__
    if isinstance(error, LineTooLong):
        return f"a header line of over {_MAX_HEADER_LINE_BYTES // 1024} kB"
    if isinstance(error, InvalidHeader):
        return "an invalid header line"
    if isinstance(error, BadStatusLine):
        return "no HTTP status line"
    if error is None:
        return "not valid HTTP"
    if error.message.startswith("Too many headers"):
        return f"over {_MAX_HEADER_LINES} header lines"
    # llhttp's own words, then the text that it could not parse.
    words, is_llhttp, _ = error.message.partition(":\n")
    return f"not valid HTTP: {words[:100]}" if is_llhttp else "not valid HTTP"
