"""What the servers behind links do: redirects, odd answers, answers without an end."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from testkit.hostile.catalogue import (
    URL_KEY,
    Message,
    Place,
    cached,
    failed,
    messages,
    too_large,
    wrong,
)
from testkit.hostile.servers import (
    head,
    replies,
    send,
    then_hang,
    then_reset,
    without_end,
)
from testkit.messages.nasty_inputs import headers, links
from testkit.messages.wnm import integrity_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = b"what was asked for" * 300


@messages
def redirects_to_where_nobody_may_go(place: Place) -> Iterator[Message]:
    port = place.inner_port
    for location in (
        f"http://127.0.0.2:{port}/{URL_KEY}",
        f"//127.0.0.2:{port}/",
        f"http://2130706434:{port}/",
        f"http://0x7f.2:{port}/",
        f"http://[::1]:{port}/",
        f"http://[::ffff:127.0.0.2]:{port}/",
        f"http://user:{URL_KEY}@127.0.0.2:{port}/",
        f"http://127.0.0.1:80@127.0.0.2:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0:6379/",
        "http://127.0.0.1:6379/",
        "http://127.0.0.1:25/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "sftp://127.0.0.1/a",
        f"gopher://127.0.0.2:{port}/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "http:\\\\127.0.0.2\\",
        "http://",
        "http://[",
        "http://a b/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://" + "a" * 5000 + "/",
    ):
        yield place.link(
            place.servers.redirect(location),
            failed(
                "forbidden_address", "forbidden_port", "unsupported_scheme", "invalid_url",
                "too_many_redirects",
            ),
            location[:60],
        )  # fmt: skip


@messages
def redirects_that_lead_nowhere(place: Place) -> Iterator[Message]:
    servers = place.servers
    for name, href in {
        "to itself": servers.redirect("/item.bufr"),
        "to an empty place": servers.redirect(""),
        "to its own query": servers.redirect("?"),
        "longer each time": servers.redirect("x/"),
        "through any page": servers.redirect("/" + "a" * 500),
        "in a header of another kind": servers.raw(
            head("Refresh: 0; url=http://127.0.0.2/", "Content-Length: 0", status="302 Found")
        ),
        "with two places": servers.raw(
            head(
                "Location: http://127.0.0.2/", "Location: file:///a", "Content-Length: 0",
                status="302 Found",
            )
        ),
        "of a status that is none": servers.redirect("/a", status="399 What"),
        "to many choices": servers.redirect("/a", status="300 Multiple Choices"),
        "to a proxy": servers.redirect("http://127.0.0.2/", status="305 Use Proxy"),
    }.items():  # fmt: skip
        yield place.link(
            href, failed("too_many_redirects", "http_status", "forbidden_address", "invalid_url"),
            name,
        )  # fmt: skip
    href = servers.body(DATA)
    for _ in range(5):
        href = servers.redirect(href)
    yield place.link(href, cached(DATA), "five, then the data")
    yield place.link(servers.redirect(href), failed("too_many_redirects"), "six")
    # None of a name, which would be looked up.
    costly = [
        text for text in links().values()
        if text.isascii() and text.isprintable() and not text.startswith(("http://a", "http://xn"))
    ]  # fmt: skip
    for number, location in enumerate(costly[:25]):
        yield place.link(
            servers.redirect(location),
            failed(
                "invalid_url", "too_many_redirects", "unsupported_scheme", "forbidden_address",
                "protocol", "http_status",
            ),
            f"costly, {number}: {location[:40]}",
        )  # fmt: skip


@messages
def answers_that_are_not_http(place: Place) -> Iterator[Message]:
    for name, answer in {
        "nothing at all": b"",
        "a line break": b"\r\n",
        "garbage": bytes(range(256)) * 4,
        "of SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "of SMTP": b"220 mail ESMTP\r\n",
        "of FTP": b"220 FTP\r\n331 User\r\n",
        "of Redis": b"-ERR unknown command 'GET'\r\n",
        "of MQTT": b"\x20\x02\x00\x00",
        "of MySQL": b"J\x00\x00\x00\x0a8.0.1\x00",
        "of TLS": b"\x15\x03\x01\x00\x02\x02\x28",
        "of HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
        "of HTTP/0.9": b"<html>hello</html>",
        "a BUFR message": b"BUFR\x00\x00\x10\x04" + bytes(100) + b"7777",
        "of a radio station": b"ICY 200 OK\r\n\r\n" + DATA,
        "a status of no number": b"HTTP/1.1 abc OK\r\n\r\n",
        "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
        "a status of two": b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
        "a negative status": b"HTTP/1.1 -200 OK\r\n\r\n",
        "a version that is none": b"HTTP/x.y 200 OK\r\n\r\n",
        "version 9": b"HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "a NUL in the status line": b"HTTP/1.1 200 O\x00K\r\n\r\n",
    }.items():
        yield place.link(
            place.servers.raw(answer), failed("protocol", "connect", "truncated", "empty"), name
        )


@messages
def headers_that_break_http(place: Place) -> Iterator[Message]:
    for name, lines in {
        "a NUL in a name": ("A\x00B: x",),
        "a NUL in a value": ("A: x\x00y",),
        "no colon": ("nonsense",),
        "a blank name": (": x",),
        "two lengths": ("Content-Length: 3", "Content-Length: 5"),
        "lengths in a list": ("Content-Length: 3, 5",),
        "a length and chunks": ("Content-Length: 3", "Transfer-Encoding: chunked"),
        "a negative length": ("Content-Length: -1",),
        "a length of letters": ("Content-Length: abc",),
        "a length in hex": ("Content-Length: 0x10",),
        "a length beyond 64 bits": ("Content-Length: 99999999999999999999999",),
        "501 lines": tuple(f"A{number}: x" for number in range(600)),
        "a line of 70 kB": ("A: " + "x" * 70_000,),
        "a megabyte in all": tuple(f"A{number}: " + "x" * 5000 for number in range(200)),
    }.items():
        yield place.link(
            place.servers.raw(head(*lines) + b"x" * 5),
            failed("protocol", "truncated", "empty", "connect", "content_encoding"),
            name,
        )
    # What can be read in one way only is read.
    for name, lines in {
        "a blank before the colon": ("Content-Length : 5",),
        "chunks, and not": ("Transfer-Encoding: chunked, identity",),
        "a way of transfer of nobody": ("Transfer-Encoding: xchunked",),
        "200 kB in all": tuple(f"A{number}: " + "x" * 5000 for number in range(40)),
        "400 lines": tuple(f"A{number}: x" for number in range(400)),
    }.items():
        yield place.link(place.servers.raw(head(*lines) + b"right"), cached(b"right"), name)
    for name, value in headers().items():
        for header in ("Content-Type", "Content-Encoding", "Retry-After", "Date"):
            href = place.servers.body(DATA, f"{header}: {value[:60_000]}")
            outcome = cached(DATA)
            if header == "Content-Encoding" and name not in ("blanks", "commas"):
                outcome = failed("content_encoding")
            elif header == "Content-Type" and name == "parameters":
                outcome = failed("html_instead_of_data")
            yield place.link(href, outcome, f"{header} of {name}")


@messages
def heads_without_an_end(place: Place) -> Iterator[Message]:
    for name, begin, block in (
        ("header lines", head()[:-2], b"A: " + b"x" * 4000 + b"\r\n"),
        ("one line", b"HTTP/1.1 200 OK\r\nA: ", b"x" * 8000),
        ("a status line", b"HTTP/1.1 200 ", b"OK" * 4000),
        ("interim answers", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 300),
        ("hints", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 200),
        ("line breaks", b"", b"\r\n" * 4000),
        ("no HTTP", b"", b"garbage" * 1000),
    ):
        yield place.link(
            place.servers.http(without_end(begin, block)),
            failed("protocol", "timeout", "connect", "truncated"), name,
        )  # fmt: skip
    yield place.link(
        place.servers.raw(head(status="103 Early Hints") + head("Content-Length: 5") + b"right"),
        cached(b"right"), "a hint, then the data",
    )  # fmt: skip
    yield place.link(
        place.servers.raw(head("Upgrade: h2c", status="101 Switching Protocols") + b"x" * 100),
        failed("protocol", "http_status", "timeout", "connect", "truncated"), "another protocol",
    )  # fmt: skip


@messages
def bodies_of_the_wrong_size(place: Place) -> Iterator[Message]:
    servers = place.servers
    yield place.link(
        servers.raw(head("Content-Length: 6000") + DATA[:5000]), failed("truncated"), "cut short"
    )
    yield place.link(
        servers.http(then_reset(head("Content-Length: 6000") + DATA[:5000])),
        failed("truncated", "connect"), "reset in the middle",
    )  # fmt: skip
    yield place.link(
        servers.http(then_reset(head("Connection: close") + DATA[:5000])),
        failed("truncated", "connect", "length"), "reset without a length", length=len(DATA),
    )  # fmt: skip
    yield place.link(
        servers.raw(head("Content-Length: 5") + b"rightWRONG" * 10),
        failed("protocol", "truncated"),
        "and more",
    )
    yield place.link(servers.raw(head("Content-Length: 0")), failed("empty"), "empty")
    yield place.link(servers.raw(head("Connection: close")), failed("empty"), "empty, no length")
    yield place.link(
        servers.raw(head("Content-Length: 999999999999") + DATA), too_large(), "a terabyte"
    )
    yield place.link(
        servers.raw(head(f"Content-Length: {2**63}") + DATA),
        failed("protocol", "truncated"), "beyond 64 bits, with a sign", length=5,
    )  # fmt: skip
    yield place.link(
        servers.raw(head("Content-Length: 5", "Content-Length: 5") + b"right"),
        failed("protocol"), "the same length twice",
    )  # fmt: skip
    yield place.link(servers.body(DATA), too_large(), "announced as a terabyte", length=10**12)
    yield place.link(
        servers.body(b"<html>Not found</html>"), wrong(), "another text",
        integrity=integrity_of(DATA),
    )  # fmt: skip


@messages
def bodies_without_an_end(place: Place) -> Iterator[Message]:
    block = b"x" * 32_000
    for name, begin in {
        "without a length": head("Connection: close"),
        "with a huge length": head("Content-Length: 2999999"),
    }.items():
        outcome = too_large() if "without" in name else cached(block * 93 + block[:23_999])
        yield place.link(place.servers.http(without_end(begin, block)), outcome, name)
    yield place.link(
        place.servers.http(
            without_end(head("Transfer-Encoding: chunked"), b"7d00\r\n" + block + b"\r\n")
        ),
        too_large(), "in chunks",
    )  # fmt: skip
    yield place.link(
        place.servers.http(without_end(head("Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 2000)),
        failed("protocol", "timeout", "truncated", "length"),
        "in chunks of a byte", length=3_000_000,
    )  # fmt: skip
    yield place.link(
        place.servers.http(
            without_end(head("Transfer-Encoding: chunked") + b"1;", b"a=" + b"b" * 4000 + b";")
        ),
        failed("protocol", "timeout", "truncated"), "in the extension of a chunk",
    )  # fmt: skip
    yield place.link(
        place.servers.http(
            without_end(head("Transfer-Encoding: chunked") + b"0\r\n", b"A: bbbbbbbb\r\n" * 50)
        ),
        failed("protocol", "timeout", "truncated"), "in what follows the chunks",
    )  # fmt: skip
    yield place.link(
        place.servers.http(without_end(head("Content-Length: 1000") + block, block)),
        failed("protocol", "truncated"), "after the length",
    )  # fmt: skip


@messages
def chunks_that_are_garbage(place: Place) -> Iterator[Message]:
    for name, body in {
        "no size": b"\r\nabc\r\n0\r\n\r\n",
        "a size of letters": b"zz\r\nabc\r\n0\r\n\r\n",
        "a negative size": b"-3\r\nabc\r\n0\r\n\r\n",
        "a size with its prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
        "a size beyond 64 bits": b"fffffffffffffffff\r\nabc\r\n",
        "the largest size": b"ffffffffffffffff\r\nabc\r\n",
        "a size too large": b"10\r\nabc\r\n0\r\n\r\n",
        "a size too small": b"2\r\nabc\r\n0\r\n\r\n",
        "no end": b"3\r\nabc\r\n",
        "half a size": b"3\r\nabc\r\n0",
        "no line break": b"3abc0\r\n\r\n",
        "a NUL in a size": b"3\x00\r\nabc\r\n0\r\n\r\n",
        "an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        "nothing": b"",
        "only the end": b"0\r\n\r\n",
    }.items():
        yield place.link(
            place.servers.raw(head("Transfer-Encoding: chunked") + body),
            failed("protocol", "truncated", "empty", "too_large", "connect"), name,
        )  # fmt: skip


@messages
def statuses_that_bring_no_data(place: Place) -> Iterator[Message]:
    for status in (
        "201 Created", "202 Accepted", "204 No Content", "205 Reset Content",
        "206 Partial Content", "207 Multi-Status", "226 IM Used", "299 Odd", "303 See Other",
        "304 Not Modified", "307 Temporary Redirect", "400 Bad Request", "401 Unauthorized",
        "402 Payment Required", "403 Forbidden", "404 Not Found", "405 No", "407 Proxy",
        "408 Timeout", "410 Gone", "412 No", "416 Range", "418 Teapot", "451 Law", "499 Odd",
        "500 Error", "501 No", "502 Bad Gateway", "503 Unavailable", "505 Version", "511 Login",
        "599 Odd", "600 Odd", "999 Odd",
    ):  # fmt: skip
        yield place.link(
            place.servers.body(DATA, status=status),
            failed("http_status", "not_found", "denied", "server_error", "protocol", "throttled"),
            status,
        )
    yield place.link(place.servers.body(DATA, status="203 Proxied"), cached(DATA), "203")


@messages
def pages_instead_of_data(place: Place) -> Iterator[Message]:
    page = b"<html><title>Login</title></html>"
    for media_type in (
        "text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml", " text/html ",
        "text/html;" + "a=b;" * 500,
    ):  # fmt: skip
        yield place.link(
            place.servers.body(page, f"Content-Type: {media_type}"),
            failed("html_instead_of_data"), media_type[:40],
        )  # fmt: skip
    yield place.link(
        place.servers.body(page, "Content-Type: text/html"), wrong(),
        "with a checksum of other data", integrity=integrity_of(DATA),
    )  # fmt: skip


@messages
def bodies_in_encodings_nobody_asked_for(place: Place) -> Iterator[Message]:
    packed = gzip.compress(DATA)
    bomb = gzip.compress(bytes(30_000_000), 9)
    for name, body, coding, outcome in (
        ("a bomb", bomb, "gzip", too_large()),
        ("a bomb of zlib", zlib.compress(bytes(30_000_000), 9), "deflate", too_large()),
        ("not gzip", DATA, "gzip", failed("content_encoding")),
        ("gzip cut short", packed[:-6], "gzip", failed("truncated", "content_encoding")),
        ("gzip and garbage", packed + b"garbage", "gzip", failed("content_encoding")),
        ("thousands of members", gzip.compress(b"") * 5000, "gzip", failed("content_encoding")),
        ("not deflate", b"\xff" * 500, "deflate", failed("content_encoding")),
        ("of nobody", DATA, "rot13", failed("content_encoding")),
        ("of browsers", DATA, "br", failed("content_encoding")),
        ("twice", gzip.compress(packed), "gzip, gzip", failed("content_encoding")),
        ("ten times", DATA, ", ".join(["gzip"] * 10), failed("content_encoding")),
        ("of a strange name", DATA, "../../etc/passwd", failed("content_encoding")),
        ("right", packed, "gzip", cached(DATA)),
        ("none", DATA, "identity", cached(DATA)),
    ):
        href = place.servers.body(body, f"Content-Encoding: {coding}")
        yield place.link(href, outcome, name)


@messages
def servers_that_are_silent(place: Place) -> Iterator[Message]:
    servers = place.servers
    greeting_of_ftp, greeting_of_ssh = then_hang(b"220 a\r\n"), then_hang(b"SSH-2.0-x\r\n")
    for name, href in {
        "from the first": f"http://127.0.0.1:{servers.open(then_hang())}/?sig={URL_KEY}",
        "after the request": servers.http(then_hang()),
        "in the status line": servers.http(then_hang(b"HTTP/1.1 20")),
        "in the headers": servers.http(then_hang(head()[:-2])),
        "in the body": servers.http(then_hang(head("Content-Length: 6000") + DATA[:5000])),
        "in a chunk": servers.http(then_hang(head("Transfer-Encoding: chunked") + b"10\r\nabc")),
        "a byte now and then": servers.http(
            without_end(head("Content-Length: 100000"), b"x", pause_s=0.2)
        ),
        "a header byte now and then": servers.http(
            without_end(head()[:-2] + b"A: ", b"x", pause_s=0.2)
        ),
        "in TLS": f"https://127.0.0.1:{servers.open(then_hang())}/",
        "in FTP": f"ftp://127.0.0.1:{servers.open(then_hang())}/a",
        "in FTP, after the greeting": f"ftp://127.0.0.1:{servers.open(greeting_of_ftp)}/a",
        "in SFTP": f"sftp://127.0.0.1:{servers.open(then_hang())}/a",
        "in SFTP, after the greeting": f"sftp://127.0.0.1:{servers.open(greeting_of_ssh)}/a",
    }.items():
        yield place.link(href, failed("timeout", "truncated"), name)


@messages
def servers_that_speak_no_tls(place: Place) -> Iterator[Message]:
    servers = place.servers
    for name, port in {
        "plain HTTP": servers.open(send(head("Content-Length: 1") + b"x")),
        "garbage": servers.open(send(bytes(range(256)) * 10)),
        "an alert": servers.open(send(b"\x15\x03\x03\x00\x02\x02\x28")),
        "a record that is too long": servers.open(send(b"\x16\x03\x03\xff\xff" + b"x" * 65_535)),
        "a hello that is none": servers.open(send(b"\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00")),
        "nothing": servers.open(send()),
        "a reset": servers.open(then_reset()),
        "records without an end": servers.open(
            without_end(b"", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00" * 500)
        ),
    }.items():
        yield place.link(
            f"https://127.0.0.1:{port}/?sig={URL_KEY}", failed("tls", "connect", "timeout"), name
        )
    yield place.link(
        servers.http(send(head("Content-Length: 1") + b"x"), tls=True), failed("tls"),
        "a certificate of nobody",
    )  # fmt: skip


@messages
def ftp_servers_that_lie(place: Place) -> Iterator[Message]:
    servers = place.servers
    inner = place.inner_port
    fine = (
        ("USER", b"331 password\r\n"), ("PASS", b"230 in\r\n"), ("TYPE", b"200 ok\r\n"),
        ("SIZE", b"213 5\r\n"),
    )  # fmt: skip

    def passive(port: int, host: str = "127,0,0,2") -> bytes:
        return f"227 Entering ({host},{port // 256},{port % 256})\r\n".encode()

    def ftp(*answers: tuple[str, bytes]) -> str:
        return f"ftp://127.0.0.1:{servers.open(replies(*answers))}/a.bufr"

    data = servers.open(send(b"right"))
    for name, talk in {
        "a greeting without an end": without_end(b"", b"220-" + b"x" * 4000 + b"\r\n"),
        "a line without an end": without_end(b"220 ", b"x" * 4000),
        "a greeting of garbage": send(bytes(range(256)) * 10),
        "a greeting of HTTP": send(b"HTTP/1.1 200 OK\r\n\r\n"),
        "no greeting": send(),
        "not available": send(b"421 busy\r\n"),
        "a refused login": replies(("USER", b"530 no\r\n")),
        "a login without an end": replies(("USER", b"331 a\r\n"), ("PASS", b"331 again\r\n")),
        "replies of letters": replies(*fine, ("EPSV", b"abc def\r\n"), ("PASV", b"xyz\r\n")),
        "a place that is inside": replies(*fine, ("EPSV", b"500 no\r\n"), ("PASV", passive(inner))),
        "a place on a low port": replies(*fine, ("EPSV", b"500 no\r\n"), ("PASV", passive(22))),
        "a place on no port": replies(*fine, ("EPSV", b"500 no\r\n"), ("PASV", passive(0))),
        "a place that is none": replies(
            *fine, ("EPSV", b"500 no\r\n"), ("PASV", b"227 (1,2,3)\r\n")),
        "a place of huge numbers": replies(
            *fine, ("EPSV", b"500 no\r\n"), ("PASV", b"227 (999,0,0,1,999,999)\r\n")),
        "an extended place beyond all ports": replies(*fine, ("EPSV", b"229 (|||99999|)\r\n")),
        "an extended place that is none": replies(*fine, ("EPSV", b"229 (|||x|)\r\n")),
        "an extended place elsewhere": replies(
            *fine, ("EPSV", f"229 (|1|127.0.0.2|{inner}|)\r\n".encode())),
        "no such file": replies(
            *fine, ("EPSV", f"229 (|||{data}|)\r\n".encode()), ("RETR", b"550 no\r\n")),
        "a size that is none": replies(
            *fine[:3], ("SIZE", b"213 " + b"9" * 400 + b"\r\n"), ("EPSV", b"229 (|||1|)\r\n")),
        "less than it says": replies(
            *fine[:3], ("SIZE", b"213 50\r\n"), ("EPSV", f"229 (|||{data}|)\r\n".encode()),
            ("RETR", b"150 here\r\n226 done\r\n")),
        "an end that is a failure": replies(
            *fine, ("EPSV", f"229 (|||{data}|)\r\n".encode()),
            ("RETR", b"150 here\r\n426 no\r\n")),
    }.items():  # fmt: skip
        yield place.link(
            f"ftp://user:{URL_KEY}@127.0.0.1:{servers.open(talk)}/a.bufr",
            failed(
                "protocol", "timeout", "connect", "denied", "throttled", "not_found", "truncated",
                "forbidden_port", "forbidden_address", "length", "server_error", "circuit_open",
            ),
            name,
        )  # fmt: skip
    # The address in the reply is not looked at: only the server's own is ever asked.
    yield place.link(
        ftp(
            *fine, ("EPSV", b"500 no\r\n"), ("PASV", passive(data)),
            ("RETR", b"150 here\r\n226 done\r\n"),
        ),
        cached(b"right"), "a place elsewhere, on a port of its own",
    )  # fmt: skip
    endless = servers.open(without_end(b"", b"x" * 32_000))
    yield place.link(
        ftp(
            *fine[:3], ("EPSV", f"229 (|||{endless}|)\r\n".encode()), ("RETR", b"150 here\r\n")
        ),
        too_large(), "data without an end",
    )  # fmt: skip


@messages
def sftp_servers_that_lie(place: Place) -> Iterator[Message]:
    servers = place.servers
    for name, talk in {
        "no greeting": send(),
        "a greeting of garbage": send(bytes(range(256)) * 10),
        "a greeting of HTTP": send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "a greeting of version 1": send(b"SSH-1.5-old\r\n"),
        "lines without an end": without_end(b"", b"hello\r\n" * 500),
        "a line without an end": without_end(b"", b"x" * 4000),
        "a packet of four gigabytes": send(b"SSH-2.0-x\r\n\xff\xff\xff\xff" + bytes(100)),
        "a packet of nothing": send(b"SSH-2.0-x\r\n\x00\x00\x00\x00" + bytes(100)),
        "packets of garbage": send(b"SSH-2.0-x\r\n" + bytes(range(256)) * 100),
        "a reset": then_reset(b"SSH-2.0-x\r\n"),
    }.items():
        yield place.link(
            f"sftp://user:{URL_KEY}@127.0.0.1:{servers.open(talk)}/a.bufr",
            failed("protocol", "timeout", "connect", "truncated", "circuit_open"), name,
        )  # fmt: skip
