"""Fetches one object through its public URL, as a consumer does."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from wis2_gc_common.runtime.causes import SHORTAGES, os_words
from wis2_gc_common.wis2.integrity import new_hash
from wis2_gc_manager.pipeline.public_check import Shortage
from wis2_gc_manager.sources.http_client import USER_AGENT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from wis2_gc_manager.pipeline.public_check import Sample

#: Objects up to this size are fetched whole; of larger ones, this many bytes.
WHOLE_BYTES = 64 * 1024
#: The Sensor Centres allow 5 s (wis2-rules.md 27), and twice this is less than a probe may take.
TIMEOUT_S = 4.5
MAX_REDIRECTS = 3
#: The text for each kind of error, the special kinds first.
_TEXTS: tuple[tuple[type[Exception], Callable[[Any], str]], ...] = (
    (TimeoutError, lambda _: f"no answer within {TIMEOUT_S:g} s"),
    (aiohttp.ClientConnectorDNSError, lambda _: "its host name cannot be resolved"),
    (
        aiohttp.ClientConnectorCertificateError,
        lambda error: (
            "its TLS certificate is not valid for us: "
            + getattr(error.certificate_error, "verify_message", "no reason given")
        ),
    ),
    (aiohttp.ClientSSLError, lambda _: "the TLS handshake fails"),
    (
        aiohttp.ClientConnectorError,
        lambda error: f"cannot be connected to: {os_words(error.os_error)}",
    ),
    (aiohttp.TooManyRedirects, lambda _: f"more than {MAX_REDIRECTS} redirects"),
    (aiohttp.NonHttpUrlClientError, lambda _: "it redirects to another scheme than http or https"),
    (ValueError, lambda _: "it redirects to what is not a URL"),
    (aiohttp.ClientResponseError, lambda _: "the answer is not HTTP"),
    (Exception, lambda _: "the connection ends before the answer does"),
)


class PublicFetch:
    """Fetches samples, each over a connection of its own. For one event loop."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """`tls` verifies the certificate of the public URL."""
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, sample: Sample) -> str:
        """Return what is wrong with an object, "" if nothing is. Raises Shortage."""
        is_whole = sample.size_bytes <= WHOLE_BYTES
        headers = {} if is_whole else {"Range": f"bytes=0-{WHOLE_BYTES - 1}"}
        try:
            async with self._opened().get(
                URL(sample.url, encoded=True), headers=headers, max_redirects=MAX_REDIRECTS + 1
            ) as answer:
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                    raise Shortage("the public URL takes no more requests of ours")
                if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                    return f"status {answer.status}"
                size = _size(answer)
                if size not in (None, sample.size_bytes):
                    return f"{size} bytes instead of {sample.size_bytes}"
                hasher, received = new_hash(sample.method), 0
                async for chunk in answer.content.iter_any():
                    received += len(chunk)
                    hasher.update(chunk)
                    if received > WHOLE_BYTES:
                        break
                if received < min(sample.size_bytes, WHOLE_BYTES):
                    return f"{received} bytes instead of {sample.size_bytes}"
                if is_whole and hasher.digest() != sample.digest:
                    return "other bytes than were stored"
                return ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _problem(error)

    async def close(self) -> None:
        """Close what is open. Never raises."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Connections are not kept: each check must show that new clients get in.
                connector=aiohttp.TCPConnector(force_close=True, limit=0, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session


def _size(answer: aiohttp.ClientResponse) -> int | None:
    """Return the size of the whole object; None if the answer does not say."""
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isascii() and total.isdigit() else None
    return answer.content_length


def _problem(error: Exception) -> str:
    """Return why there was no complete answer. Raises Shortage."""
    number = getattr(error, "errno", None)
    if number in SHORTAGES:
        raise Shortage(getattr(error, "strerror", "")) from error
    return next(text(error) for kind, text in _TEXTS if isinstance(error, kind))
