"""Bodies of servers that compress everything (Content-Encoding).

We ask for no encoding. Some servers compress nevertheless: then the decoded bytes are the item.
Others say that an archive is "encoded": then the bytes as sent are the item. The form that has the
announced length and checksum is the item; if neither is announced, the decoded form is.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Reason, SourceError
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wis2_gc_manager.sources.body import Body

#: Names in Content-Encoding that mean no encoding; `aws-chunked` is left over from an upload.
_NONE = frozenset({"", "identity", "none", "binary", "utf-8", "aws-chunked"})
_SAME = {"x-gzip": "gzip"}
_KNOWN = frozenset({"gzip", "deflate"})
#: The most that is decoded at once: bombs become a thousand times as large.
_PIECE_BYTES = 256 * 1024
#: The most members of a gzip file: so many, plus one for each so many bytes. Each costs a set-up.
_MAX_MEMBERS, _BYTES_PER_MEMBER = 64, 256
_ARCHIVES = (".gz", ".tgz", ".z")
#: The longest Content-Encoding that is read: we know no longer one.
_MAX_CODING_CHARS = 255


def content_coding(values: Iterable[str]) -> str:
    """Return the encoding that Content-Encoding headers name; "" for none."""
    text = ",".join(values)[:_MAX_CODING_CHARS]
    names = (name.strip().lower() for name in text.split(","))
    return ", ".join(_SAME.get(name, name) for name in names if name not in _NONE)


class Broken(Exception):
    """The bytes are not in the encoding they should have; the text says in plain words why."""


class Decoder:
    """Decodes gzip or deflate piece by piece, within bounds."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._has_begun = False
        self._members = 1
        self._fed = 0

    @property
    def is_at_end(self) -> bool:
        """Whether the bytes that were fed are complete."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes out, in pieces of at most 256 KiB. Raises Broken."""
        self._fed += len(data)
        if data and not self._has_begun:
            self._has_begun = True
            if self._coding == "deflate":
                # RFC 9110 means zlib's format; some servers send it without its header.
                is_framed = data[0] & 0x0F == zlib.DEFLATED
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS)
        while True:
            if self._inflate.eof:
                data = data.lstrip(b"\0")  # padding
                if not data:
                    return
                self._next_member()
            try:
                piece = self._inflate.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise Broken(f"the body is not valid {self._coding}") from None
            if piece:
                yield piece
            is_over = self._inflate.eof
            data = self._inflate.unused_data if is_over else self._inflate.unconsumed_tail
            if not data and (is_over or len(piece) < _PIECE_BYTES):
                return

    def _next_member(self) -> None:
        if self._coding != "gzip":
            raise Broken(f"the body goes on after its {self._coding} data")
        self._members += 1
        if self._members > _MAX_MEMBERS + self._fed // _BYTES_PER_MEMBER:
            raise Broken("the body has too many gzip members")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)


class EncodedBody:
    """Finds which form of an encoded body is the item, and passes it to `body`.

    Use it like `Body`: `begin`, `add` for each piece, `end`. If the form is known only at the end,
    small bodies are kept until then, while there is memory. For others the form is a guess, and
    `body.other_form` names the form to request if it was wrong.
    """

    def __init__(self, body: Body, coding: str) -> None:
        self._body = body
        self._coding = coding
        self._decoder: Decoder | None = None
        self._kept: list[bytes] | None = None
        self._expected: int | None = None
        self._size = 0

    def begin(self, size: int | None) -> None:
        """See `Body.begin`. Raises SourceError(CONTENT_ENCODING) if nothing could verify it."""
        body, request = self._body, self._body.request
        self._expected = size
        is_known = self._coding in _KNOWN
        if not is_known and not body.is_verifiable:
            raise SourceError(Reason.CONTENT_ENCODING, f"encoded as {self._coding[:40]}, unasked")
        body.sent_as = f", sent encoded as {self._coding[:40]}"
        form = body.form
        if not is_known or (size is not None and size == request.length):
            form = "raw"
        elif form is None and (
            not body.is_verifiable or (size is not None and request.length is not None)
        ):
            form = "decoded"
        if form == "raw":
            body.begin(size)
            return
        if form is None:
            self._kept = []
        else:
            self._decoder = Decoder(self._coding)
        body.begin(None)

    async def add(self, chunk: bytes) -> None:
        """See `Body.add`."""
        self._size += len(chunk)
        self._body.arrived(len(chunk))
        if self._kept is None:
            await self._pass_on(chunk)
            return
        is_held = self._body.hold(len(chunk))
        if is_held:
            self._kept.append(chunk)
        if not is_held or self._size > MAX_IN_MEMORY_BYTES:
            is_archive = self._body.request.href.lower().partition("?")[0].endswith(_ARCHIVES)
            self._body.other_form = "decoded" if is_archive else "raw"
            if not is_archive:
                self._decoder = Decoder(self._coding)
            await self._pass_on_kept()
            if not is_held:
                await self._pass_on(chunk)

    async def end(self, *, is_cut_short: bool) -> None:
        """Pass on what was kept. `Body.finish` decides whether it is the item."""
        if self._expected is not None and self._size < self._expected:
            raise SourceError(Reason.TRUNCATED, f"{self._size} of {self._expected} bytes")
        if self._kept is not None:
            if not self._body.would_match(self._kept):
                self._decoder = Decoder(self._coding)
            await self._pass_on_kept()
        if self._decoder is None:
            self._body.is_cut_short = is_cut_short
        elif self._size and not self._decoder.is_at_end:
            raise SourceError(Reason.TRUNCATED, f"the {self._coding} data ends early")

    async def _pass_on_kept(self) -> None:
        kept, self._kept = self._kept or [], None
        kept.reverse()
        while kept:
            chunk = kept.pop()
            self._body.let_go(len(chunk))
            await self._pass_on(chunk)

    async def _pass_on(self, chunk: bytes) -> None:
        if self._decoder is None:
            await self._body.keep(chunk)
            return
        self._body.check_size(self._size)
        try:
            for piece in self._decoder.feed(chunk):
                await self._body.keep(piece)
                if len(piece) == _PIECE_BYTES:
                    await asyncio.sleep(0)  # let other tasks run while a bomb is decoded
        except Broken as error:
            raise SourceError(Reason.CONTENT_ENCODING, str(error)) from None
