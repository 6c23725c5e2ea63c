"""Judges the links of strangers that we announce (wis2-rules.md 12). Pure: resolves no name.

A link that our announcement replaces with ours is not judged here.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from wis2_gc_common.errors import Poison, Reason, Refused
from wis2_gc_manager.sources.link_target import parse_target
from wis2_gc_manager.sources.port import MAX_HOST_CHARS, MAX_URL_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wis2_gc_common.wis2.notification import Notification
    from wis2_gc_manager.sources.address_guard import AddressGuard

#: What runs, or reads what is on the reader's own machine.
_DANGEROUS = frozenset(
    {
        "blob", "data", "file", "filesystem", "intent", "jar", "javascript", "jscript",
        "livescript", "mhtml", "shell", "smb", "vbscript", "view-source",
    }
)  # fmt: skip
#: Browsers find a host in these with any number of slashes, of both kinds.
_WITH_HOST = frozenset({"http", "https", "ftp", "sftp", "ws", "wss"})
#: What most links are: nothing in it is read in two ways.
_PLAIN = re.compile(r"https?://([a-z0-9.-]+)(?:[/?#][!-\[\]-~]*)?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"[/\\]*(?:[^/\\?#]*@)?(\[[^\]/\\?#]*\]|[^/\\?#:]*)")
#: What browsers leave out: at the ends, and everywhere.
_ENDS = "".join(map(chr, range(0x21)))
_LEFT_OUT = str.maketrans("", "", "\t\r\n")
#: And in host names. Source: the code points that UTS #46 ignores.
_UNSEEN = re.compile(
    "[\xad\u034f\u180b-\u180f\u200b\u2060\u2064\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)


def check_links(notification: Notification, guard: AddressGuard) -> None:
    """Judge what can be judged before any work: links that will be announced as they came.

    Beside a copy of ours, a link to a private address is harmless, and no reason to lose the data.
    A link that runs or reads something on the reader's machine is never passed on.
    Raises Poison: UNSUPPORTED_SCHEME, INVALID_URL or FORBIDDEN_ADDRESS.
    """
    if notification.rel == "deletion" or not notification.cache:
        check_origins_links(notification, guard)
        return
    for href in notification.other_hrefs:
        with _refused_is_poison(notification):
            _host_read_by_others(href)


def check_origins_links(notification: Notification, guard: AddressGuard) -> None:
    """Judge all links of what is announced without a copy of ours.

    Links to the data must be ones that we would fetch; others must not name a literal address that
    the guard refuses. Raises Poison as `check_links` does, and for FORBIDDEN_PORT.
    """
    with _refused_is_poison(notification):
        for href in notification.decisive_hrefs:
            target = parse_target(href)
            guard.check_host(target.host)
            guard.check_port(target.port)
        for href in notification.other_hrefs:
            host = _host_read_by_others(href)
            if host:
                guard.check_host(host)


@contextmanager
def _refused_is_poison(notification: Notification) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise Poison(error.reason, error.detail, centre_id=notification.topic.centre_id) from error


def _host_read_by_others(href: str) -> str:
    """Return the host that a browser would ask, "" if there is none.

    Raises Refused: UNSUPPORTED_SCHEME, or INVALID_URL if it is too long for any host name.
    """
    if len(href) > MAX_URL_CHARS:
        raise Refused(Reason.INVALID_URL, "too long")
    plain = _PLAIN.fullmatch(href)
    if plain and len(plain[1]) <= MAX_HOST_CHARS:
        return plain[1]
    text = href.strip(_ENDS).translate(_LEFT_OUT)
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    if scheme in _DANGEROUS:
        raise Refused(Reason.UNSUPPORTED_SCHEME, scheme)
    rest = text[found.end() :] if found else text
    if scheme not in _WITH_HOST and not rest.startswith(("//", "\\\\", "/\\", "\\/")):
        return ""
    found = _HOST.match(rest)
    host = unquote(found[1]) if found else ""
    if len(host) <= MAX_HOST_CHARS:
        # Grows up to 18 times.
        host = unicodedata.normalize("NFKC", host)
    if len(host) > MAX_HOST_CHARS + host.endswith("."):
        raise Refused(Reason.INVALID_URL, "host")
    host = _UNSEEN.sub("", host.replace("\N{IDEOGRAPHIC FULL STOP}", "."))
    return host.strip("[]").lower()
