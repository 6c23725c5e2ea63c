"""Links that lead where nobody may be led, in every spelling; and those that lead nowhere.

127.0.0.2 and ::1 are the inner network (`InnerNetwork`), which nothing may connect to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.hostile.catalogue import (
    URL_KEY,
    Message,
    Place,
    cached,
    failed,
    messages,
)
from testkit.messages import nasty_inputs
from wis2_gc_common.wis2.notification import MAX_NOTIFICATION_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

LINKED = b"the link is right" * 100


def _refused(
    place: Place, hrefs: Iterable[str], *reasons: str, key: bool = True
) -> Iterator[Message]:
    for href in hrefs:
        text = href.replace("{port}", str(place.inner_port))
        if key and "?" not in text and "#" not in text:
            text += f"?sig={URL_KEY}"
        yield place.link(text, failed(*reasons), href[:100])


@messages
def links_to_private_addresses(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "http://127.0.0.2:{port}/",
            "HTTP://127.0.0.2:{port}/",
            "https://127.0.0.2:{port}/",
            "ftp://127.0.0.2:{port}/a",
            "sftp://127.0.0.2:{port}/a",
            "http://127.0.0.2.:{port}/",
            "http://0.0.0.0:{port}/",
            "http://0:{port}/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://192.0.2.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://240.0.0.1/",
            "http://169.254.1.1/",
        ),
        "forbidden_address",
    )


@messages
def links_to_addresses_in_odd_numbers(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "http://2130706434:{port}/",
            "http://0x7f000002:{port}/",
            "http://0X7F000002:{port}/",
            "http://017700000002:{port}/",
            "http://0177.0.0.2:{port}/",
            "http://00000177.0.0.2:{port}/",
            "http://0x7f.0.0.2:{port}/",
            "http://0x7f.0x0.0x0.0x2:{port}/",
            "http://127.2:{port}/",
            "http://127.0.2:{port}/",
            "http://127.0x2:{port}/",
            "http://\uff11\uff12\uff17.0.0.\uff12:{port}/",
            "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2461:{port}/",
            "http://127\u30020\u30020\u30022:{port}/",
            "http://127\uff0e0\uff0e0\uff0e2:{port}/",
            "http://127\uff610\uff610\uff612:{port}/",
            "http://1\u00ad27.0.0.2:{port}/",
            "http://127.0.0.%32:{port}/",
            "http://%31%32%37.0.0.2:{port}/",
            "http://127.0.0.2\u200b:{port}/",
            "http://8.8.2056/",
            "http://134744072/",
        ),
        "forbidden_address", "invalid_url",
    )  # fmt: skip


@messages
def links_to_addresses_of_version_6(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "http://[::1]:{port}/",
            "http://[0:0:0:0:0:0:0:1]:{port}/",
            "http://[0000::0001]:{port}/",
            "http://[::]:{port}/",
            "http://[::ffff:127.0.0.2]:{port}/",
            "http://[::ffff:7f00:2]:{port}/",
            "http://[::FFFF:7F00:2]:{port}/",
            "http://[::127.0.0.2]:{port}/",
            "http://[64:ff9b::7f00:2]:{port}/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b:1::7f00:2]:{port}/",
            "http://[2002:7f00:2::]:{port}/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[2001:0:7f00:2::f7f7:f7f7]:{port}/",
            "http://[2001:0:808:808::80ff:fffd]:{port}/",
            "http://[fe80::1]:{port}/",
            "http://[fe80::1%25lo]:{port}/",
            "http://[::1%25lo]:{port}/",
            "http://[fd00::1]/",
            "http://[fec0::1]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
            "http://[5f00::1]/",
            "sftp://[::1]:{port}/a",
            "http://[::1/",
            "http://::1:{port}/",
            "http://[v1.a]/",
            "http://[[::1]]:{port}/",
        ),
        "forbidden_address", "invalid_url",
    )  # fmt: skip


@messages
def links_to_metadata_services(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
            "http://2852039166/latest/meta-data/",
            "http://0xa9fea9fe/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[fd00:ec2::254]/latest/meta-data/",
            "http://[fd20:ce::254]/",
            "http://169.254.170.2/v2/credentials/",
            "http://169.254.170.23/v1/credentials",
            "http://100.100.100.200/latest/meta-data/",
            "http://168.63.129.16/machine?comp=goalstate",
            "http://192.0.0.192/opc/v2/",
        ),
        "forbidden_address",
    )


@messages
def links_with_schemes_that_are_not_ours(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "file://127.0.0.2/c$",
            "gopher://127.0.0.2:{port}/_INFO",
            "dict://127.0.0.2:{port}/info",
            "ldap://127.0.0.2:{port}/a",
            "tftp://127.0.0.2:{port}/a",
            "ftps://127.0.0.2:{port}/a",
            "ws://127.0.0.2:{port}/",
            "s3://bucket/key",
            "unix:///var/run/docker.sock",
            "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
            "jar:http://127.0.0.2:{port}/a!/b",
            "data:application/bufr;base64,QlVGUg==",
            "javascript:alert(1)",
            "view-source:http://127.0.0.2:{port}/",
            "php://filter/resource=/etc/passwd",
            "netdoc:///etc/passwd",
        ),
        "unsupported_scheme", "invalid_url",
    )  # fmt: skip


@messages
def links_that_are_not_urls(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "", " ", "http://", "http:///a", "http:", "://127.0.0.2:{port}/", "/etc/passwd",
            "../../etc/passwd", "//127.0.0.2:{port}/", "127.0.0.2:{port}",
            "http//127.0.0.2:{port}/",
            "http:127.0.0.2:{port}", "http:/127.0.0.2:{port}/", "http:\\\\127.0.0.2:{port}\\",
            "http://\\127.0.0.2:{port}/", "http://?", "http://#", "http://@", "http://:80/",
            "http://[]/", "http://a b/", "http://.", "http://..", "http://a..b/", "http://-/",
            "http://*/", "http://a,b/", "http://%00/", "\u202ehttp://127.0.0.2/",
        ),
        "invalid_url", "unsupported_scheme", key=False,
    )  # fmt: skip


@messages
def links_with_credentials(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            f"http://user:{URL_KEY}@127.0.0.2:{{port}}/",
            f"http://example.org:{URL_KEY}@127.0.0.2:{{port}}/",
            f"http://example.org%2F:{URL_KEY}@127.0.0.2:{{port}}/",
            f"http://{URL_KEY}@127.0.0.2:{{port}}/",
            f"http://user:{URL_KEY}@example.org@127.0.0.2:{{port}}/",
            f"http://example.org\\@127.0.0.2:{{port}}/{URL_KEY}",
            f"http://127.0.0.1:{URL_KEY}@[::1]:{{port}}/",
            f"ftp://user:{URL_KEY}@127.0.0.2:{{port}}/a",
            f"sftp://user:{URL_KEY}@127.0.0.2:{{port}}/a",
            f"http://user:{URL_KEY}%0d%0aX@127.0.0.2:{{port}}/",
        ),
        "forbidden_address", "invalid_url",
    )  # fmt: skip


@messages
def links_to_odd_ports(place: Place) -> Iterator[Message]:
    for port in (
        1, 23, 25, 53, 110, 135, 139, 389, 445, 993, 1433, 2049, 2375, 3306, 3389, 5432, 5672, 6379,
        6443, 6667, 9200, 10250, 11211, 27017,
    ):  # fmt: skip
        yield place.link(f"http://127.0.0.1:{port}/?sig={URL_KEY}", failed("forbidden_port"))
    for odd in ("0", "65536", "99999999999", "-1", "80a", "0x50", "\u0661", "8 0", "+80", "8_0"):
        yield place.link(f"http://127.0.0.1:{odd}/?sig={URL_KEY}", failed("invalid_url"))


@messages
def links_with_line_breaks(place: Place) -> Iterator[Message]:
    """Raw ones are refused, encoded ones are data and break no request."""
    port = place.servers.open(_one_request)
    yield from _refused(
        place,
        (
            "http://127.0.0.1:1024/a\r\nHost: 127.0.0.2",
            "http://127.0.0.1:1024/a\nX: y",
            "http://127.0.0.1\r\n.example/",
            "http://127.0.0.1:1024/\t",
            "http://127.0.0.1:1024/\x00",
            "http://127.0.0.1:1024/a\u2028b",
            "http://127.0.0.1:1024/a\x85b",
            "http://127.0.0.1:1024/a\x1b[31m",
            "http://127.0.0.1:1024/\u202eb",
            "ftp://127.0.0.1:1024/a%0d%0aDELE%20b",
            "ftp://127.0.0.1:1024/a%00b",
            "ftp://127.0.0.1:1024/%ff",
            "sftp://127.0.0.1:1024/a%0ab",
        ),
        "invalid_url",
        key=False,
    )
    for path in (
        "a%0d%0aHost:%20127.0.0.2",
        "a%00b",
        "a%0aGET%20/%20HTTP/1.1",
        "?a=%0d%0a%0d%0aGET%20/x",
        "a b c",
        "\u00e4",
        "%",
        "%zz",
        "%e5%2e%2e/..%2f..%2fetc%2fpasswd",
        "a#\n",
    ):
        is_clean = "\n" not in path
        yield place.link(
            f"http://127.0.0.1:{port}/{path}",
            cached(LINKED) if is_clean else failed("invalid_url"),
            f"in a path: {path!r}",
        )


async def _one_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request; what has a second one in it gets other data."""
    request = await reader.readuntil(b"\r\n\r\n")
    lines = request.replace(b"\n", b"\r").split(b"\r")
    is_one = all(
        sum(line.startswith(begin) for line in lines) == 1 for begin in (b"GET ", b"Host: ")
    )
    body = LINKED if is_one else b"smuggled"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@messages
def links_that_are_long(place: Place) -> Iterator[Message]:
    yield from _refused(
        place,
        (
            "http://" + "a" * 254 + "/",
            "http://" + "a" * 64 + ".example/",
            "http://" + ".".join(["a" * 63] * 5) + "/",
            "http://127.0.0.1:1024/" + "a" * 4100,
            "http://127.0.0.1:1024/?" + "a=b&" * 1200,
            "http://127.0.0.1:1024/" + "%20" * 1400,
            "http://127.0.0.1:1024/" + "\u00e4" * 700,
            "http://user:" + "a" * 1100 + "@127.0.0.1:1024/",
            "a" * 5000 + "://127.0.0.1:1024/",
        ),
        "invalid_url", "unsupported_scheme", key=False,
    )  # fmt: skip
    hosts = nasty_inputs.hosts()
    for name in (
        "letters that become 18", "as many as a host may have", "labels of them",
        "many labels of them", "marks", "marks in labels", "letters outside ASCII",
        "Chinese", "right to left with joiners", "percent", "percent as long as a host",
        "punycode", "digits", "hexadecimal", "dots", "dots of China", "one letter labels",
        "colons", "brackets", "letters in brackets", "letters in brackets after a colon", "a zone",
        "a long port", "a port of four thousand digits", "a short port of letters",
        "short credentials of letters", "many ats", "soft hyphens", "digits as long as a host",
    ):  # fmt: skip
        message = place.link(f"http://{hosts[name]}/", failed("invalid_url"), name)
        if len(message.payload) <= MAX_NOTIFICATION_BYTES:
            yield message


@messages
def links_that_only_look_as_if_they_led_elsewhere(place: Place) -> Iterator[Message]:
    """They lead to a good server; a careless reader finds something else in them."""
    for tail in (
        "#@127.0.0.2/",
        "?u=http://127.0.0.2/",
        "?@127.0.0.2/",
        "#http://169.254.169.254/",
        "@127.0.0.2/",
        ";@127.0.0.2/a",
        "//127.0.0.2/",
        "a/../../../etc/passwd",
        "a/./b/%2e%2e/c",
        "index.php?file=../../../../etc/passwd%00",
        "a'\"<>{}|^`",
    ):
        base = place.servers.body(LINKED).partition("item.bufr")[0]
        yield place.link(base + tail, cached(LINKED), tail)
