"""Signed requests to one bucket: sent, repeated and translated.

This module retries each request, up to ATTEMPTS times with growing, jittered pauses. Below it only
aiohttp retries, once, if a kept-alive connection had been closed. All requests may be sent twice
without harm.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from multidict import CIMultiDict
from yarl import URL

from wis2_gc_common.runtime.backoff import grown_s
from wis2_gc_common.runtime.logs import get_logger
from wis2_gc_manager.store.s3.errors import (
    S3Refusal,
    no_answer_words,
    not_answered,
    read_refusal,
    refused,
)
from wis2_gc_manager.store.shortage import PAUSE_S, TRIES, is_shortage

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from botocore.credentials import Credentials

    from wis2_gc_manager.store.s3.credentials import CredentialChain
    from wis2_gc_manager.store.s3.place import BucketPlace

ATTEMPTS = 4
#: The pause after attempt n is between half and all of min(first * 2**(n-1), longest).
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
CONNECT_TIMEOUT_S = 5.0
#: An attempt takes at most ANSWER_S, plus a second for each SLOWEST_BYTES_PER_S of its body.
ANSWER_S = 10.0
SLOWEST_BYTES_PER_S = 256 * 1024

#: Connections at once; idle ones are closed before S3 does it.
_CONNECTIONS = 256
KEEP_ALIVE_S = 10.0
#: Larger bodies are passed on in pieces, so that no body holds up the event loop.
_ONE_PIECE_BYTES = 1024 * 1024
#: Answers are short; a longer one does not come from S3.
_ANSWER_BYTES = 256 * 1024
_SUCCESSES = range(200, 300)
_UNSIGNED_BODY = Config(s3={"payload_signing_enabled": False})
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class S3Answer:
    """A success, or a refusal that the caller accepts."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int
    """How often the request was sent."""

    @property
    def is_success(self) -> bool:
        """Whether the request succeeded; completing an upload may fail with status 200."""
        return _is_success(self.status, self.body)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: Sequence[bytes] | None = field(repr=False)


@dataclass(slots=True, eq=False)
class Requests:
    """The connections to one bucket. Used by one event loop."""

    place: BucketPlace
    credentials: CredentialChain
    tls: ssl.SSLContext | None
    """For `https` places."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    draw: Callable[[], float] = random.random
    """From 0 to 1."""
    # A request waits for a connection without a time-out, because S3 is not to blame.
    _slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_CONNECTIONS), init=False
    )
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _underway: int = field(default=0, init=False)
    _is_idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: Sequence[bytes] | None = None,
        accept: frozenset[str] = frozenset(),
        attempts: int = ATTEMPTS,
        failed: int = 0,
    ) -> S3Answer:
        """Return the answer to a request.

        `path`: percent-encoded, from the root of the server. `headers`: lower-case names.
        `accept`: codes of refusals that are an answer to the caller. `failed`: how many of the
        `attempts` were already made in another way.
        Raises Unavailable("store"), Misconfigured if the error stays until a setting is changed,
        UnusableKey if no object can have this key.
        """
        with self.busy():
            return await self._send(_Request(method, path, headers, body), accept, attempts, failed)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Make `close` wait for the work inside this context."""
        self._underway += 1
        try:
            yield
        finally:
            self._underway -= 1
            if not self._underway:
                self._is_idle.set()

    async def close(self) -> None:
        """Finish the work that has begun, and end the connections. Never raises."""
        while self._underway:
            self._is_idle.clear()
            await self._is_idle.wait()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self.credentials.close()

    async def _send(
        self, request: _Request, accept: frozenset[str], attempts: int, attempt: int
    ) -> S3Answer:
        has_renewed = False
        shortages = 0
        if attempt:
            await self.sleep(self._pause_s(attempt))
        while True:
            attempt += 1
            credentials = await self.credentials.current()
            problem: S3Refusal | Exception
            try:
                async with self._slots:
                    status, headers, content = await self._exchange(request, credentials)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if is_shortage(error) and shortages < TRIES:
                    # It says nothing about the store, so it does not count as an attempt.
                    shortages += 1
                    attempt -= 1
                    await self.sleep(PAUSE_S)
                    continue
                is_final = isinstance(error, aiohttp.ClientConnectorCertificateError)
                if attempt >= attempts or is_final:
                    raise not_answered(error, self.place) from None
                problem = error
            else:
                if _is_success(status, content):
                    return S3Answer(status, headers, content, attempt)
                refusal = read_refusal(status, headers, content)
                if refusal.code in accept:
                    return S3Answer(status, headers, content, attempt)
                if refusal.blames_credentials and not has_renewed:
                    has_renewed = True
                    if await self.credentials.renew(credentials):
                        continue
                if attempt >= attempts or not refusal.is_transient:
                    raise refused(refusal, self.place, request.method)
                problem = refusal
            _log.debug(
                "s3_request_repeated",
                method=request.method,
                attempt=attempt,
                problem=str(problem)
                if isinstance(problem, S3Refusal)
                else no_answer_words(problem),
            )
            await self.sleep(self._pause_s(attempt))

    async def _exchange(
        self, request: _Request, credentials: Credentials
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = self._sign(request, credentials)
        data: bytes | AsyncIterator[bytes] | None = None
        timeout = _SHORT
        if request.body is not None:
            size = sum(map(len, request.body))
            headers["content-length"] = str(size)
            if size <= _ONE_PIECE_BYTES:
                data = request.body[0] if len(request.body) == 1 else b"".join(request.body)
            else:
                data = _pieces(request.body)
                timeout = _timeout(size)
        session = self._session or self._open_session()
        async with session.request(
            request.method,
            URL(self.place.origin + request.path, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
        ) as response:
            content = b""
            while not response.content.at_eof():
                content += await response.content.readany()
                if len(content) > _ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError("an answer too long")
            return response.status, response.headers, content

    def _open_session(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the slots limit them
                keepalive_timeout=KEEP_ALIVE_S,
                ssl=True if self.tls is None else self.tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_AUTOMATIC,
        )
        return self._session

    def _sign(self, request: _Request, credentials: Credentials) -> CIMultiDict[str]:
        """Return all headers of a request.

        The body is not part of the signature: its own checksum is among the headers.
        """
        signed = AWSRequest(
            request.method,
            self.place.origin + request.path,
            headers={"Host": self.place.authority, **dict(request.headers)},
        )
        signed.context["client_config"] = _UNSIGNED_BODY
        S3SigV4Auth(credentials, "s3", self.place.region).add_auth(signed)
        return CIMultiDict(signed.headers.items())

    def _pause_s(self, attempt: int) -> float:
        longest_s = grown_s(attempt - 1, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        return longest_s * (0.5 + 0.5 * self.draw())


def _is_success(status: int, content: bytes) -> bool:
    return status in _SUCCESSES and b"<Error>" not in content[:1024]


def _timeout(size: int) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=ANSWER_S + size / SLOWEST_BYTES_PER_S, sock_connect=CONNECT_TIMEOUT_S
    )


_SHORT = _timeout(_ONE_PIECE_BYTES)


async def _pieces(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in body:
        for begin in range(0, len(chunk), _ONE_PIECE_BYTES):
            yield chunk[begin : begin + _ONE_PIECE_BYTES]
