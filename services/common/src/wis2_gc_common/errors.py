"""What can go wrong, sorted by what the caller does next.

CacheError
├ Poison            a notification that can never be processed → count, drop
├ Unannounceable    no valid notification of ours can say it → announce otherwise, or give up
├ UnusableKey       the store can never hold an object under this key → other source, give up
├ NotAnEnvelope     bytes in a queue that are not ours → log, drop
├ Unsendable        an envelope that no queue can take → count, drop
├ SourceError       their server, their data   → other source, a few later retries
│ ├ IntegrityFailed the data is not what the notification says
│ ├ Refused         the address guard said no
│ └ HostBusy        not tried now: circuit open, or the host's queue is long
├ Overridden        we decide not to cache it  → announce with the origin's link
├ Unavailable       our store, its public URL, registry, queue or broker → keep, stop, resume
│ └ Misconfigured   … until somebody changes a setting → at start: exit code 2
└ PartError         a part of ours answers with an error → this item later, then dead letter

SettingsError       a wrong setting            → one line, exit code 2
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """Why a notification or a download is refused: a metric label, so never free text."""

    # The topic (wis2-rules.md 3)
    INVALID_TOPIC = "invalid_topic"
    # The notification (wis2-rules.md 6, 7, 23)
    OVERSIZE = "oversize"
    INVALID_JSON = "invalid_json"
    NOT_A_FEATURE = "not_a_feature"
    INVALID_ID = "invalid_id"
    INVALID_VERSION = "invalid_version"
    INVALID_GEOMETRY = "invalid_geometry"
    INVALID_PROPERTIES = "invalid_properties"
    INVALID_DATA_ID = "invalid_data_id"
    INVALID_PUBTIME = "invalid_pubtime"
    INVALID_DATETIME = "invalid_datetime"
    INVALID_CACHE_FLAG = "invalid_cache_flag"
    INVALID_GLOBAL_CACHE = "invalid_global_cache"
    INVALID_INTEGRITY = "invalid_integrity"
    INVALID_LINKS = "invalid_links"
    NO_DECISIVE_LINK = "no_decisive_link"
    CONTRADICTORY_LINKS = "contradictory_links"
    # Inline content (wis2-rules.md 16), and for CONTENT_ENCODING what a server sends
    CONTENT_ENCODING = "content_encoding"
    CONTENT_SIZE = "content_size"
    # The data (wis2-rules.md 18, 19)
    INTEGRITY = "integrity"
    LENGTH = "length"
    # The source
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    INVALID_URL = "invalid_url"
    FORBIDDEN_ADDRESS = "forbidden_address"
    FORBIDDEN_PORT = "forbidden_port"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    NOT_FOUND = "not_found"
    DENIED = "denied"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    HTTP_STATUS = "http_status"
    HTML_INSTEAD_OF_DATA = "html_instead_of_data"
    CIRCUIT_OPEN = "circuit_open"
    HOST_QUEUE = "host_queue"
    # We decide (wis2-rules.md 13)
    TOO_LARGE = "too_large"
    # The republished notification cannot be made valid
    REPUBLISH_OVERSIZE = "republish_oversize"
    # The pipeline met an unforeseen error
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an item failed, for the record and for its centre."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


Part = Literal["registry", "queue", "store", "public URL", "broker", "Kubernetes API"]


class CacheError(Exception):
    """The root of every error of this project."""


class _Caused(CacheError):
    """An error that says why, by `reason` and `detail`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.cause = Cause(reason, detail)
        self.reason = reason
        self.detail = detail
        super().__init__(str(self.cause))


class Poison(_Caused):
    """A notification that can never be processed; `detail` is for logs only.

    `centre_id`: the centre of its topic, "" if it is unknown.
    """

    def __init__(self, reason: Reason, detail: str = "", *, centre_id: str = "") -> None:
        super().__init__(reason, detail)
        self.centre_id = centre_id


class Unannounceable(_Caused):
    """No valid notification of 8192 bytes can announce it (wis2-rules.md 23); nobody's fault."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.REPUBLISH_OVERSIZE, detail)


class UnusableKey(_Caused):
    """The store can never hold an object under this key beside the others."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.UNEXPECTED, f"key: {detail}")


class NotAnEnvelope(CacheError):
    """Something in a queue, or parked, that is not an envelope of ours; `detail` is for logs."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unsendable(CacheError):
    """An envelope that has no form in which a queue takes it."""


class SourceError(_Caused):
    """One source did not give the data.

    `retry_after_s`: what the server asked for (429, 503), or None.
    `is_fleeting`: the same source may give the data a second later.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        retry_after_s: float | None = None,
        is_fleeting: bool = False,
    ) -> None:
        super().__init__(reason, detail)
        self.retry_after_s = retry_after_s
        self.is_fleeting = is_fleeting or reason is Reason.TRUNCATED

    @property
    def is_ours(self) -> bool:
        """Whether we refused, or lacked something: then it says nothing of the data server."""
        return False


class IntegrityFailed(SourceError):
    """The bytes are not those that the notification announces (wis2-rules.md 18)."""


class Refused(SourceError):
    """The address guard refuses the link, or where it leads; no connection was made there."""

    @property
    def is_ours(self) -> bool:
        """See `SourceError.is_ours`."""
        return True


#: Their details name addresses: a publisher who links to an intranet name could learn its address.
_NAMES_ADDRESSES = frozenset({Reason.FORBIDDEN_ADDRESS, Reason.CONNECT, Reason.DNS})


def public_cause(error: SourceError | UnusableKey) -> Cause:
    """Return the public cause of an error: for our broker and the status page."""
    return Cause(error.reason) if error.reason in _NAMES_ADDRESSES else error.cause


class HostBusy(SourceError):
    """Not tried now; come back in `retry_after_s` seconds.

    CIRCUIT_OPEN: the host fails, so the item counts as failed. THROTTLED, HOST_QUEUE and DNS (no
    thread is free to look up the name): the item waits.
    """

    @property
    def is_ours(self) -> bool:
        """See `SourceError.is_ours`. The other two are what the host did."""
        return self.reason not in (Reason.CIRCUIT_OPEN, Reason.THROTTLED)


class Overridden(_Caused):
    """We decide not to cache this item (wis2-rules.md 13)."""


class Unavailable(CacheError):
    """One of our own parts is away; this never counts against an item."""

    def __init__(self, part: Part, detail: str = "") -> None:
        super().__init__(f"{part} unavailable: {detail}" if detail else f"{part} unavailable")
        self.part: Part = part
        self.detail = detail

    def again(self) -> Unavailable:
        """Return a copy of the error: each waiter for a part raises its own copy."""
        return Unavailable(self.part, self.detail)


class Misconfigured(Unavailable):
    """A part answers and refuses us: wrong name, region, credentials or permission.

    `variable`: the setting to check first; `detail` says in one line what to check. A running
    service treats it like any Unavailable, because permissions change; a starting one exits.
    """

    def __init__(self, part: Part, variable: str, detail: str) -> None:
        super().__init__(part, detail)
        self.variable = variable

    def again(self) -> Misconfigured:
        """See `Unavailable.again`."""
        return Misconfigured(self.part, self.variable, self.detail)


class PartError(CacheError):
    """A part of ours answers, and its answer is an error: a bug of ours, never an outage.

    It must not close the gate: other items go on.
    """

    def __init__(self, part: Part, detail: str) -> None:
        super().__init__(f"{part} failed: {detail}")
        self.part: Part = part
        self.detail = detail


@dataclass(eq=False)
class SettingsError(CacheError):
    """One setting is wrong or missing; `str()` is the line that the operator sees."""

    variable: str
    problem: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem}"
