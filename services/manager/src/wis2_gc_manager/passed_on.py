"""Which links of strangers are announced under our name (SPEC.md 12). Pure: resolves no name.

A link that leads to our data is not looked at here: nobody reads the publisher's any more.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import unquote

from wis2_gc_common.errors import Poison, Reason, Refused
from wis2_gc_manager.download.target import parse_target
from wis2_gc_manager.source import MAX_HOST_CHARS, MAX_URL_CHARS

if TYPE_CHECKING:
    from wis2_gc_common.notification import Notification
    from wis2_gc_manager.address_guard import AddressGuard

#: What runs, or reads what is on the reader's own machine.
_DANGEROUS = frozenset(
    {
        "blob", "data", "file", "filesystem", "intent", "jar", "javascript", "jscript",
        "livescript", "mhtml", "shell", "smb", "vbscript", "view-source",
    }
)  # fmt: skip
#: Browsers find a host in these however many slashes there are, and whichever way they lean.
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
    """Judge the links that will be announced as they came.

    Raises Poison: UNSUPPORTED_SCHEME, INVALID_URL or FORBIDDEN_ADDRESS.
    """
    for href in notification.other_hrefs:
        _check(href, guard, notification, is_decisive=False)
    if notification.rel == "deletion" or not notification.cache:
        check_origins_links(notification, guard)


def check_origins_links(notification: Notification, guard: AddressGuard) -> None:
    """Judge the links to the data themselves, for what is announced without a copy of ours.

    They must be what we would have fetched. Raises Poison as `check_links` does.
    """
    for href in notification.decisive_hrefs:
        _check(href, guard, notification, is_decisive=True)


def _check(
    href: str, guard: AddressGuard, notification: Notification, *, is_decisive: bool
) -> None:
    try:
        host = parse_target(href).host if is_decisive else _host_read_by_others(href)
        if host:
            guard.check_host(host)
    except Refused as error:
        raise Poison(error.reason, error.detail, centre_id=notification.topic.centre_id) from error


def _host_read_by_others(href: str) -> str:
    """Return the host that a browser would ask, "" where there is none.

    Raises Refused: UNSUPPORTED_SCHEME, INVALID_URL where it is longer than any that can be asked.
    """
    if len(href) > MAX_URL_CHARS:
        raise Refused(Reason.INVALID_URL, "too long")
    plain = _PLAIN.fullmatch(href)
    if plain:
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
