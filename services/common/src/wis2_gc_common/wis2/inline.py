"""Inline data of a notification (wis2-rules.md 16)."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Reason, SourceError

if TYPE_CHECKING:
    from wis2_gc_common.wis2.notification import Content

#: 4096 characters of gzip can expand to 3 MB; real texts and reports expand to at most 100 kB.
#: Above this limit it is a bomb: it costs 10 ms of CPU and a thousand times its size in the store.
MAX_DECODED_BYTES = 256 * 1024


def decode_content(content: Content) -> bytes:
    """Return the inline data, `content.size` bytes.

    Raises SourceError: CONTENT_ENCODING (not in the announced encoding) or CONTENT_SIZE. Memory is
    bounded by the announced size. Source: wis2-rules.md 16.
    """
    if content.size > MAX_DECODED_BYTES:
        raise SourceError(Reason.CONTENT_SIZE, f"{content.size} bytes announced")
    data = _decoded(content)
    if len(data) != content.size:
        raise SourceError(Reason.CONTENT_SIZE, f"{len(data)} for {content.size} bytes")
    return data


def _decoded(content: Content) -> bytes:
    try:
        if content.encoding == "utf-8":
            return content.value.encode()
        data = base64.b64decode(content.value, validate=True)
        if content.encoding == "base64":
            return data
        return _gunzip(data, content.size)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise SourceError(Reason.CONTENT_ENCODING, str(error)[:100]) from error


def _gunzip(data: bytes, size: int) -> bytes:
    """Decompress all gzip members, as gunzip does, but never more than one byte past `size`.

    Raises ValueError or zlib.error: truncated, damaged, or followed by other data.
    """
    result = bytearray()
    while True:
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        result += stream.decompress(data, size + 1 - len(result))
        if len(result) > size:
            return bytes(result)
        if not stream.eof:
            raise ValueError("gzip stream is cut short")
        data = stream.unused_data
        if not data:
            return bytes(result)
