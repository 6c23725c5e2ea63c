"""Inline data of a notification (SPEC.md 16)."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Reason, SourceError

if TYPE_CHECKING:
    from wis2_gc_common.notification import Content

#: 4096 characters of gzip can unfold to about 3 MB; beyond this it is a bomb, not data.
MAX_DECODED_BYTES = 4 * 1024 * 1024


def decode_content(content: Content) -> bytes:
    """Return the inline data, `content.size` bytes.

    Raises SourceError: CONTENT_ENCODING (not in the encoding it claims) or CONTENT_SIZE.
    Memory is bounded by the announced size. Source: SPEC.md 16.
    """
    if content.size > MAX_DECODED_BYTES:
        raise SourceError(Reason.CONTENT_SIZE, f"{content.size} bytes announced")
    data = _decoded(content)
    if len(data) != content.size:
        raise SourceError(Reason.CONTENT_SIZE, f"{len(data)} for {content.size} bytes")
    return data


def _decoded(content: Content) -> bytes:
    if content.encoding == "utf-8":
        return content.value.encode()
    try:
        data = base64.b64decode(content.value, validate=True)
        if content.encoding == "base64":
            return data
        return _gunzip(data, content.size)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise SourceError(Reason.CONTENT_ENCODING, str(error)[:100]) from error


def _gunzip(data: bytes, size: int) -> bytes:
    """Decompress one gzip member, never more than one byte past `size`."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    result = stream.decompress(data, size + 1)
    if len(result) <= size and not stream.eof:
        raise ValueError("gzip stream is cut short")
    return result
