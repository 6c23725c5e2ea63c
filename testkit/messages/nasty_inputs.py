"""What strangers may send to make a parser work long: kept, so that it never works again.

Links, headers of answers, and messages; each by a name that says what it is.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from testkit.messages.sample_notification import sample_bytes

#: One letter that NFKC makes 18 of.
_LONG = "\ufdfa"
#: Marks that are sorted when text is normalized, which takes the square of their number.
_MARKS = "\u0300\u0323" * 1200


def hosts() -> dict[str, str]:
    return {
        "letters that become 18": _LONG * 2400,
        "as many as a host may have": _LONG * 253,
        "labels of them": ".".join([_LONG * 62] * 4),
        "short labels of them": ".".join([_LONG * 3] * 63),
        "many labels of them": ".".join([_LONG * 3] * 600),
        "marks": "a" + _MARKS,
        "marks in labels": ".".join(["a" + _MARKS[:62]] * 4),
        "letters outside ASCII": "ä" * 2400,
        "a label of them": "ä" * 63,
        "labels of letters outside ASCII": ".".join(["ä" * 59] * 4),
        "Chinese": "字" * 2400,
        "right to left with joiners": "\u0644\u200d" * 120,
        "Korean in parts": "\u1100\u1161\u11a8" * 84,
        "percent": "%ef%b7%ba" * 800,
        "percent as long as a host": "%ef%b7%ba" * 28,
        "punycode": "xn--" + "a" * 7500,
        "punycode in labels": ".".join(["xn--" + "9" * 59] * 3),
        "digits": "9" * 7500,
        "digits as long as a host": "9" * 253,
        "hexadecimal": "0x" + "f" * 7500,
        "dots": "." * 7500,
        "dots of China": "\u3002" * 2400,
        "one letter labels": "a." * 3700,
        "colons": "[" + ":" * 7500 + "]",
        "brackets": "[" * 7500,
        "letters in brackets": f"[{_LONG * 900}]",
        "letters in brackets after a colon": f"[::{_LONG * 900}]",
        "a zone": "[fe80::1%25" + "a" * 7500 + "]",
        "a long port": "a:" + "9" * 7500,
        "a port of four thousand digits": "a:" + "9" * 4000,
        "a port of letters": "a:" + _LONG * 2400,
        "a short port of letters": "a:" + _LONG * 1000,
        "credentials": "u" * 7500 + "@a",
        "credentials of letters": _LONG * 2400 + "@a",
        "short credentials of letters": _LONG * 1000 + "@a",
        "many ats": "@" * 7500,
        "surrogates": "\ud800" * 2400,
        "soft hyphens": "\u00ad" * 2400,
    }


def links() -> dict[str, str]:
    found = {f"host: {name}": f"http://{host}/" for name, host in hosts().items()}
    return found | {
        "path outside ASCII": "http://a.example/" + "ä" * 3700,
        "path of letters that become 18": "http://a.example/" + _LONG * 2400,
        "percent signs": "http://a.example/" + "%" * 4000,
        "broken percent signs": "http://a.example/" + "%4" * 2000,
        "spaces": "http://a.example/" + " a" * 2000,
        "slashes": "/" * 7500,
        "backslashes": "\\" * 7500,
        "scheme": "a" * 7500 + ":",
        "scheme of many signs": "a+" * 2000 + "://b",
        "dots up": "http://a.example/" + "../" * 1300,
        "dots": "http://a.example/" + "./" * 2000,
        "query": "http://a.example/?" + "a=b&" * 1000,
        "question marks": "http://a.example/" + "?" * 4000,
        "fragments": "http://a.example/" + "#" * 4000,
        "line breaks": "http://a.example/" + "\n" * 7500,
        "blanks": " " * 7500,
        "control characters": "\x01" * 7500,
        "a long name": "http://a.example/" + "a" * 7500,
        "null": "http://a\0.example/" * 400,
    }


def headers() -> dict[str, str]:
    """Values of header lines, as long as we take them."""
    return {
        "semicolons": ";" * 65_000,
        "parameters": "text/html; " + 'a="b";' * 10_000,
        "split parameters": "a/b;" + "".join(f"x*{number}=a;" for number in range(6000)),
        "parentheses": "(" * 65_000,
        "commas": "," * 65_000,
        "names": "gzip," * 13_000,
        "digits": "9" * 65_000,
        "blanks": " " * 65_000,
        "words": "Mon, " * 13_000,
        "quotes": '"\\' * 32_000,
    }


def messages() -> dict[str, bytes]:
    """Payloads, most of them no notifications at all."""
    found = {f"link: {name}": _linked(href) for name, href in links().items()}
    raw = {
        "brackets": b"[" * 8192,
        "braces": b'{"a":' * 1638,
        "closed brackets": b"[" * 4096 + b"]" * 4096,
        "digits": b"9" * 8192,
        "a huge exponent": b"1e999999",
        "a huge exponent of a fraction": b"0." + b"0" * 4000 + b"1e4000",
        "quotes": b'"' * 8192,
        "escapes": b'"' + b"\\u0041" * 1365 + b'"',
        "half escapes": b'"' + b"\\ud800" * 1365 + b'"',
        "not UTF-8": b"\xff" * 8192,
        "many names": b"{" + b",".join(b'"%d":0' % number for number in range(1000)) + b"}",
        "the same name": b"{" + b",".join([b'"a":0'] * 1300) + b"}",
        "nothing": b"",
        "too long": b"[" * 1_000_000,
    }
    return found | raw | {
        name: sample_bytes(properties=properties) for name, properties in _properties().items()
    } | {
        "many links": _many_links("http://a.example/", 150),
        "many short links": _many_links("", 280),
        "many links with letters": _many_links("http://" + _LONG * 20 + "/", 70),
        "a length of digits": _linked("http://a.example/", length="9" * 6000),
        "a huge length": _linked("http://a.example/").replace(
            b'"rel"', b'"length":1e308,"rel"', 1
        ),
        "a length of a number of digits": _linked("http://a.example/").replace(
            b'"rel"', b'"length":' + b"9" * 6000 + b',"rel"', 1
        ),
        "positions": sample_bytes(
            geometry={"type": "Polygon", "coordinates": [[[1, 2]] * 900]}
        ),
    }  # fmt: skip


def _properties() -> dict[str, dict[str, Any]]:
    bomb = base64.b64encode(gzip.compress(bytes(2_900_000), 9)).decode()
    members = base64.b64encode(gzip.compress(b"") * 150).decode()
    method = "sha512"
    return {
        "pubtime of digits": {"pubtime": "9" * 6000},
        "pubtime with a long fraction": {"pubtime": "2026-11-27T00:00:00." + "0" * 6000 + "Z"},
        "integrity of blanks": {"integrity": {"method": method, "value": " " * 6000}},
        "integrity of equals": {"integrity": {"method": method, "value": "=" * 6000}},
        "integrity of dashes": {"integrity": {"method": method, "value": "-_" * 3000}},
        "integrity of letters": {"integrity": {"method": method, "value": "A" * 6000}},
        "integrity of a list": {"integrity": {"method": [[]] * 1700, "value": ""}},
        "data_id of letters": {"data_id": _LONG * 2000},
        "data_id of slashes": {"data_id": "/" * 2000},
        "centre": {"global-cache": "a" + "-" * 6000},
        "gzip bomb": {"content": {"encoding": "gzip", "value": bomb, "size": 2_900_000}},
        "gzip bomb of another size": {"content": {"encoding": "gzip", "value": bomb, "size": 9}},
        "gzip members": {"content": {"encoding": "gzip", "value": members, "size": 0}},
        "inline blanks": {"content": {"encoding": "base64", "value": " " * 4096, "size": 1}},
        "inline letters": {"content": {"encoding": "utf-8", "value": _LONG * 1300, "size": 3900}},
    }


def huge_numbers() -> dict[str, bytes]:
    """Numbers of thousands of digits where texts belong: Python refuses to print them."""
    number = b"9" * 6000
    spots = {
        "integrity": b'"integrity":{"method":%s,"value":"x"},' % number,
        "pubtime": b'"pubtime":%s,' % number,
        "content": b'"content":{"encoding":"gzip","value":"","size":%s},' % number,
        "data_id": b'"data_id":%s,' % number,
        "global-cache": b'"global-cache":%s,' % number,
        "metadata_id": b'"metadata_id":%s,' % number,
        "unknown": b'"unknown":%s,' % number,
    }
    plain = sample_bytes()
    found = {
        f"huge {name}": plain.replace(b'"properties":{', b'"properties":{' + text, 1).replace(
            b'"properties": {', b'"properties": {' + text, 1
        )
        for name, text in spots.items()
    }
    found["huge type of geometry"] = sample_bytes(geometry={"type": 77}).replace(b"77", number)
    found["huge id"] = sample_bytes(id=77).replace(b"77", number)
    return found


def _linked(href: str, **link: Any) -> bytes:
    try:
        return sample_bytes(links=[{"rel": "canonical", "href": href, **link}])
    except UnicodeEncodeError:
        text = json.dumps({"links": [{"rel": "canonical", "href": href, **link}]})
        return text.encode()


def _many_links(href: str, number: int) -> bytes:
    others = [{"rel": "x", "href": href}] * number
    return sample_bytes(links=[{"rel": "canonical", "href": "http://a.example/"}, *others])
