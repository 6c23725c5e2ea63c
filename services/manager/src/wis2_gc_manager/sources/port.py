"""The contract between the pipeline and the downloads (architecture.md#downloads).

`Downloader.fetch` fetches one link of any scheme. It contains the per-host limits, the circuit
breaker, the address guard and the check of length and checksum. Retries, other sources and
hedging belong to the pipeline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wis2_gc_common.wis2.integrity import Integrity, Method
    from wis2_gc_manager.store.port import Upload

#: The longest URL, as it is sent. Presigned ones of object stores have up to about 2500 characters,
#: with their token.
MAX_URL_CHARS = 4096
#: The rule of DNS. What takes host names apart (NFKC, IDNA, `ipaddress`) can take time that grows
#: with the square of the text, and U+FDFA alone becomes 18 letters: nothing longer gets there.
MAX_HOST_CHARS = 253

#: Larger bodies stream into an upload, smaller ones only if memory is short.
MAX_IN_MEMORY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch, and what it must be."""

    href: str
    length: int | None
    """Announced size in bytes (wis2-rules.md 19); None if the link has none."""
    integrity: Integrity | None
    """Announced checksum (wis2-rules.md 18)."""
    media_type: str | None = None
    """Announced type; an HTML page is refused if data is announced (wis2-rules.md W12)."""
    centre_id: str = field(default="", compare=False)
    """The centre-id of the topic: the download uses this centre's share of look-ups and memory."""
    is_again: bool = field(default=False, compare=False)
    """The quick second try: a second failure shows no more about the host than the first did."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Payload:
    """Verified data: in `data`, or written to `upload` which the caller completes or aborts.

    The memory of `data` counts against the downloads' budget for as long as the object lives.
    """

    size_bytes: int
    method: Method
    """sha512, or the method the notification announced."""
    digest: bytes
    data: bytes | None = None
    upload: Upload | None = None


OpenUpload = Callable[[], Awaitable["Upload"]]


class Downloader(Protocol):
    """Gets links."""

    async def fetch(self, request: Request, open_upload: OpenUpload) -> Payload:
        """Return the verified data of one link. One attempt; never retries.

        `open_upload` is called only for a body over MAX_IN_MEMORY_BYTES, or if memory is
        short, and a second time only if the first upload has been aborted.
        On any error, cancellation included, an opened upload has been aborted.

        Raises
        - SourceError: 404, time-out, length, …
        - IntegrityFailed: the checksum does not match
        - Refused: the address guard refuses the link or a redirect; we did not connect
        - HostBusy: circuit open, throttled by the server, or the host's queue is too long, so it
          is not tried; or we lack something ourselves (`retry_after_s` says when to come back)
        - Overridden(TOO_LARGE): what comes is over GC_MAX_OBJECT_BYTES
        - Unavailable("store"), UnusableKey: from the upload
        """

    async def close(self) -> None:
        """Close all connections. Never raises."""


def host_of(href: str) -> str:
    """Return the `dataserver` label of a link: its host name in lower case.

    "" if it has none, if the name is longer than DNS allows, or if the link is too long to follow.
    """
    if len(href) > MAX_URL_CHARS:
        return ""
    try:
        host = urlsplit(href).hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".") if len(host) <= MAX_HOST_CHARS else ""
