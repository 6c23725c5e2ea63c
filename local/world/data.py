"""The bytes of the data items, made from their names on request: nothing is stored."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

#: Random bytes repeat after this many: so a field of 5 MB costs a copy, not a computation.
_BLOCK_BYTES = 4096
_END = b"7777"
#: A stranger's request must not cause a long computation.
MAX_SIZE_BYTES = 64 * 1024 * 1024

FORMATS = ("bufr", "grib2", "xml", "json", "txt")
MEDIA_TYPES = {
    "bufr": "application/bufr",
    "grib2": "application/grib",
    "xml": "application/cap+xml",
    "json": "application/geo+json",
    "txt": "text/plain",
}


@dataclass(frozen=True, slots=True)
class DataName:
    """Everything that the bytes depend on; `parse_data_name` is the inverse of `text`."""

    format: str
    seed: int
    size_bytes: int

    @property
    def text(self) -> str:
        """As in a URL: `grib2-1f3a-5242880`."""
        return f"{self.format}-{self.seed:x}-{self.size_bytes}"


def parse_data_name(text: str) -> DataName:
    """Return the name from `DataName.text`. Raises ValueError."""
    data_format, seed, size = text.split("-")
    name = DataName(data_format, int(seed, 16), int(size))
    if data_format not in FORMATS or not 0 < name.size_bytes <= MAX_SIZE_BYTES:
        raise ValueError(text)
    return name


def make_data(name: DataName) -> bytes:
    """Return the `size_bytes` bytes of this name, always the same."""
    if name.format in ("xml", "json", "txt"):
        return _document(name)
    chance = random.Random(name.seed)
    if name.format == "grib2":
        head = b"GRIB\x00\x00\x00\x02" + name.size_bytes.to_bytes(8, "big")
    else:
        head = b"BUFR" + min(name.size_bytes, 2**24 - 1).to_bytes(3, "big") + b"\x04"
    wanted = name.size_bytes - len(head) - len(_END)
    if wanted < 0:
        return (head + _END)[: name.size_bytes]
    block = chance.randbytes(min(_BLOCK_BYTES, wanted))
    repeats = -(-wanted // _BLOCK_BYTES)
    return head + (block * repeats)[:wanted] + _END


def other_data(name: DataName) -> bytes:
    """Return the same number of bytes, but wrong ones."""
    data = bytearray(make_data(name))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _document(name: DataName) -> bytes:
    """Return a text document, padded with blanks to its size."""
    number = f"{name.seed:08x}"
    if name.format == "txt":
        text = f"\x01\r\r\n001\r\r\nMETAR SBBR 271200Z AUTO 09008KT RMK {number}=\r\r\n\x03"
    elif name.format == "xml":
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">'
            f"<identifier>urn:oid:2.49.0.0.999.{number}</identifier>"
            "<sender>simulation@example.org</sender><status>Exercise</status>"
            "<msgType>Alert</msgType><scope>Public</scope><info><language>en</language>"
            "<category>Met</category><event>Simulated gale</event><urgency>Expected</urgency>"
            "<severity>Moderate</severity><certainty>Likely</certainty></info></alert>\n"
        )
    else:
        text = json.dumps(
            {
                "id": f"urn:wmo:md:xa-simland-met:{number}",
                "conformsTo": ["http://wis.wmo.int/spec/wcmp/2/conf/core"],
                "type": "Feature",
                "geometry": None,
                "time": None,
                "properties": {
                    "type": "dataset",
                    "title": f"Simulated surface observations {number}",
                    "description": "Invented, to try a Global Cache.",
                    "themes": [],
                    "wmo:dataPolicy": "core",
                },
                "links": [],
            }
        )
    return text.encode().ljust(name.size_bytes)[: name.size_bytes]
