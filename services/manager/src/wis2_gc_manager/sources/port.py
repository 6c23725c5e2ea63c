"""The contract between the pipeline and what downloads (architecture.md#downloads).

`Downloader.fetch` gets one link, whatever its scheme: it holds the per-host limits, the circuit
breaker, the address guard and the check of length and checksum. Retries, other sources and
hedging are the pipeline's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wis2_gc_common.wis2.integrity import Integrity, Method
    from wis2_gc_manager.store.port import Upload

#: Of a URL as it is sent. Presigned ones of object stores have up to about 2500, with their token.
MAX_URL_CHARS = 4096
#: The rule of DNS. What takes host names apart (NFKC, IDNA, `ipaddress`) can take time that grows
#: with the square of the text, and U+FDFA alone becomes 18 letters: nothing longer gets there.
MAX_HOST_CHARS = 253

#: Larger bodies stream into an upload, smaller ones only where memory is short.
MAX_IN_MEMORY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What to get, and what it must be."""

    href: str
    length: int | None
    """Announced size in bytes (wis2-rules.md 19), None where the link has none."""
    integrity: Integrity | None
    """Announced checksum (wis2-rules.md 18)."""
    media_type: str | None = None
    """Announced type; a page where data is announced is no data (wis2-rules.md W12)."""
    centre_id: str = field(default="", compare=False)
    """Of the topic: whose share of the look-ups and of the memory it takes."""
    is_again: bool = field(default=False, compare=False)
    """The quick second try: what fails again says no more about the host than the first did."""


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

        `open_upload` is called only for a body over MAX_IN_MEMORY_BYTES, or where memory is
        short, and a second time only when the first upload has been aborted.
        On any error, cancellation included, an opened upload has been aborted.

        Raises
        - SourceError: 404, time-out, length, …; its host is the link's
        - IntegrityFailed: the checksum does not match
        - Refused: the address guard refuses the link or a redirect; nothing was connected to
        - HostBusy: circuit open, throttled by the server, or the host's queue is too long, so it
          is not tried; or we are short of something (`retry_after_s` says when)
        - Overridden(TOO_LARGE): over GC_MAX_OBJECT_BYTES
        - Unavailable("store"): from the upload
        """

    async def close(self) -> None:
        """Close all connections. Never raises."""


def host_of(href: str) -> str:
    """Return the `dataserver` label of a link: its host name, lower case, "" where it has none.

    Or where it is longer than DNS allows, or the link too long to be followed.
    """
    if len(href) > MAX_URL_CHARS:
        return ""
    try:
        host = urlsplit(href).hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".") if len(host) <= MAX_HOST_CHARS else ""
