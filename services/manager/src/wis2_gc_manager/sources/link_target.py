"""What a link means: scheme, host, port, and a URL that no two parsers read differently. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from yarl import URL

from wis2_gc_common.errors import Reason, Refused
from wis2_gc_manager.sources.port import MAX_HOST_CHARS, MAX_URL_CHARS

DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22}
_MAX_LABEL_CHARS = 63
#: Host, port, and credentials, which may be a token.
_MAX_AUTHORITY_CHARS = 1024

#: Scheme and authority, and the rest, which may contain a signature.
_PARTS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?)(.*)")
#: Characters sent unchanged: quoting them again would break a signed query.
_CLEAN = re.compile(r"[!-$&-~]*")
#: Characters that are quoted, a space among them: `+` means a space only in forms
#: (wis2-rules.md W15).
_UNCLEAN = re.compile(r"(?:[^!-$&-~%]|%(?![0-9A-Fa-f]{2}))+")
_QUICKLY_QUOTED = {" ": "%20", "%": "%25"}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_V6 = re.compile(r"[0-9a-f:]+(?:\d+\.\d+\.\d+\.\d+)?")
#: Host and port in the form that all parsers read alike: `int` also takes `8_0` and `+80` for a
#: port, and brackets may contain a text that is not an address.
_PLACE = re.compile(r"(?:\[[^\]:]*:[^\]]*\]|[^\[\]:]*)(?::[0-9]*)?")
#: The characters that IDNA takes for a dot.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")


@dataclass(frozen=True, slots=True)
class Target:
    """One link, or the target of a redirect."""

    url: URL
    """With credentials, if the link has any: never log it."""
    scheme: str
    host: str
    """Lower case, without brackets: the host that is checked, resolved and connected to."""
    port: int

    @property
    def endpoint(self) -> str:
        """`host:port`, the key of limits and of log lines."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def path(self) -> str:
        """The decoded path, for FTP and SFTP. Raises Refused(INVALID_URL)."""
        try:
            path = unquote(self.url.raw_path, errors="strict")
        except UnicodeDecodeError:
            raise Refused(Reason.INVALID_URL, "path is not UTF-8") from None
        if not path.isprintable():
            # A line break would be a command of its own.
            raise Refused(Reason.INVALID_URL, "path with control characters")
        return path


def parse_target(href: str) -> Target:
    """Return the parts of a link.

    Raises Refused: UNSUPPORTED_SCHEME (wis2-rules.md 15), or INVALID_URL, also for errors that
    browsers silently correct: control characters, backslashes, percent-encoded hosts. It takes at
    most a millisecond.
    """
    return _target(_url(href))


def follow(target: Target, location: str) -> Target:
    """Return the target of a redirect; credentials go only to the origin they were given for.

    Raises Refused like `parse_target`; only http and https are followed.
    """
    try:
        url = target.url.join(_url(location))
    except ValueError:
        raise Refused(Reason.INVALID_URL, "redirect") from None
    result = _target(url)
    if len(str(url)) > MAX_URL_CHARS:
        # A relative redirect is added to the URL before.
        raise Refused(Reason.INVALID_URL, "too long")
    if result.scheme not in ("http", "https"):
        raise Refused(Reason.UNSUPPORTED_SCHEME, f"redirect to {result.scheme}")
    return result


def _url(text: str) -> URL:
    if len(text) > MAX_URL_CHARS:
        raise Refused(Reason.INVALID_URL, "too long")
    text = text.strip(" ")
    if not text or not text.isprintable() or "\\" in text:
        raise Refused(Reason.INVALID_URL)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise Refused(Reason.INVALID_URL)
    head, rest = parts[1], parts[2]
    place = head.partition("//")[2].rpartition("@")[2]
    if len(head) > _MAX_AUTHORITY_CHARS or not _PLACE.fullmatch(place):
        raise Refused(Reason.INVALID_URL, "host")
    if not _CLEAN.fullmatch(rest):
        rest = _UNCLEAN.sub(_quoted, rest)
    try:
        if not _CLEAN.fullmatch(head):
            _check_lengths(place)
            # yarl knows how host names outside ASCII are written.
            mended = URL(head)
            head = f"{mended.scheme}://{mended.raw_authority}"
        # Credentials and host become longer when they are encoded.
        if len(head) + len(rest) > MAX_URL_CHARS:
            raise Refused(Reason.INVALID_URL, "too long")
        return URL(head + rest, encoded=True)
    except (ValueError, TypeError):
        raise Refused(Reason.INVALID_URL) from None


def _check_lengths(place: str) -> None:
    """Refuse a host outside ASCII that is too long for DNS. Raises Refused(INVALID_URL).

    Its ASCII form has at least as many characters, so no host that could exist is refused.
    """
    if _CLEAN.fullmatch(place):
        return
    if place.startswith("["):
        raise Refused(Reason.INVALID_URL, "host")
    name = place.partition(":")[0]
    if len(name) <= MAX_HOST_CHARS:
        name = unicodedata.normalize("NFKC", name)
    if len(name) > MAX_HOST_CHARS + 1 or max(map(len, _DOTS.split(name))) > _MAX_LABEL_CHARS:
        raise Refused(Reason.INVALID_URL, "host")


def _quoted(unclean: re.Match[str]) -> str:
    text = unclean[0]
    return _QUICKLY_QUOTED.get(text) or quote(text)


def _target(url: URL) -> Target:
    try:
        scheme, host, port = url.scheme, url.raw_host, url.explicit_port
    except ValueError:
        raise Refused(Reason.INVALID_URL) from None
    if not scheme:
        raise Refused(Reason.INVALID_URL, "no scheme")
    if scheme not in DEFAULT_PORTS:
        raise Refused(Reason.UNSUPPORTED_SCHEME, scheme[:20])
    host = (host or "").lower()
    pattern = _V6 if ":" in host else _NAME
    if len(host) > MAX_HOST_CHARS + host.endswith(".") or not pattern.fullmatch(host):
        raise Refused(Reason.INVALID_URL, "host")
    if port is None:
        port = DEFAULT_PORTS[scheme]
    if port == 0:
        raise Refused(Reason.INVALID_URL, "port 0")
    return Target(url=url, scheme=scheme, host=host, port=port)
