"""Media types that a stranger's link may give an object (architecture.md#store).

One catalogue lists the types that we serve as announced; all others become
`application/octet-stream`. It excludes on purpose what a browser would run under our name: HTML,
scripts, style sheets, SVG, and every kind of XML, also CAP warnings, because a browser runs the
scripts and style sheets in a document of any `…+xml` type. Users of CAP fetch it by program and
lose nothing; the notification's own `type` does not change.

A web server for plain files knows a file's type only from its name. So if the extension does not
match the announced type, we save the file under its name and a marker (`name.~bufr`). No sanitised
file name contains a marker (`~` is not among its characters), and nginx looks for `$uri` with each
marker. S3 stores the type with the object and does not need this.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The type of everything unknown: browsers save it, programs ignore it.
DEFAULT_MEDIA_TYPE = "application/octet-stream"

#: Between an object's name and the marker of its type.
MARKER = ".~"
#: A longer type is unknown; this bounds the work on a stranger's text.
_MAX_CHARS = 256


class _Entry(NamedTuple):
    media_type: str
    marker: str
    """Unique in the catalogue; becomes `.~marker`."""
    extensions: tuple[str, ...]
    """File name extensions that nginx serves as this type."""


#: Most frequent first: nginx looks for the markers in this order.
_CATALOGUE = (
    _Entry("application/bufr", "bufr", ("bufr", "bufr4", "bfr", "buf")),
    _Entry(DEFAULT_MEDIA_TYPE, "bin", ("bin",)),
    _Entry("text/plain", "txt", ("txt",)),
    _Entry("application/grib", "grib", ("grib", "grib2", "grb", "grb2")),
    _Entry("application/geo+json", "geojson", ("geojson",)),
    _Entry("application/json", "json", ("json",)),
    _Entry("application/x-netcdf", "nc", ("nc", "nc4", "cdf")),
    _Entry("application/x-bufr", "x-bufr", ()),
    _Entry("application/bufr4", "bufr4", ()),
    _Entry("application/wmo-bufr", "wmo-bufr", ()),
    _Entry("application/x-grib", "x-grib", ()),
    _Entry("application/x-grib2", "x-grib2", ()),
    _Entry("application/grib2", "grib2", ()),
    _Entry("application/wmo-grib", "wmo-grib", ()),
    _Entry("application/wmo-grib2", "wmo-grib2", ()),
    _Entry("application/netcdf", "netcdf", ()),
    _Entry("application/netcdf4", "netcdf4", ()),
    _Entry("text/csv", "csv", ("csv",)),
    _Entry("text/tab-separated-values", "tsv", ("tsv",)),
    _Entry("image/png", "png", ("png",)),
    _Entry("image/jpeg", "jpeg", ("jpg", "jpeg")),
    _Entry("image/gif", "gif", ("gif",)),
    _Entry("image/tiff", "tiff", ("tif", "tiff")),
    _Entry("image/webp", "webp", ("webp",)),
    _Entry("image/jp2", "jp2", ("jp2",)),
    # A viewer isolates the scripts of a PDF from the site that serves it.
    _Entry("application/pdf", "pdf", ("pdf",)),
    _Entry("application/zip", "zip", ("zip",)),
    _Entry("application/gzip", "gz", ("gz", "tgz")),
    _Entry("application/x-gzip", "x-gzip", ()),
    _Entry("application/x-bzip2", "bz2", ("bz2",)),
    _Entry("application/zstd", "zst", ("zst",)),
    _Entry("application/x-xz", "xz", ("xz",)),
    _Entry("application/x-tar", "tar", ("tar",)),
    _Entry("application/x-hdf5", "h5", ("h5", "hdf5", "he5")),
    _Entry("application/x-hdf", "hdf", ("hdf",)),
    _Entry("application/hdf5", "hdf5", ()),
    _Entry("application/prs.coverage+json", "covjson", ("covjson",)),
    _Entry("application/vnd.apache.parquet", "parquet", ("parquet",)),
    _Entry("application/vnd.google-earth.kmz", "kmz", ("kmz",)),
)

_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {entry.media_type: MARKER + entry.marker for entry in _CATALOGUE}
)

#: The type that nginx gives a file, by extension (lower case, without the dot).
EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {extension: entry.media_type for entry in _CATALOGUE for extension in entry.extensions}
)


def safe_media_type(announced: str | None) -> str:
    """Return the type to serve an object as: `announced` if it is known and harmless.

    Lower case, without parameters; `application/octet-stream` for everything else.
    """
    if announced is None or len(announced) > _MAX_CHARS:
        return DEFAULT_MEDIA_TYPE
    media_type = announced.partition(";")[0].strip().lower()
    return media_type if media_type in _SUFFIXES else DEFAULT_MEDIA_TYPE


def suffix_for(media_type: str, file_name: str) -> str:
    """Return what to append to `file_name` in the file system so that nginx serves `media_type`.

    "" if the name itself gives that type, else a marker. `media_type` comes from `safe_media_type`;
    any other text counts as `application/octet-stream`.
    """
    wanted = media_type if media_type in _SUFFIXES else DEFAULT_MEDIA_TYPE
    stem, dot, extension = file_name.rpartition(".")
    # A name that begins with its only dot has no extension for nginx.
    known = EXTENSIONS.get(extension.lower()) if dot and stem else None
    return "" if wanted == (known or DEFAULT_MEDIA_TYPE) else _SUFFIXES[wanted]


def nginx_types() -> str:
    """Return the body of nginx's `types {}` block; `default_type` is `DEFAULT_MEDIA_TYPE`."""
    return "".join(
        f"{entry.media_type} {' '.join((*entry.extensions, _SUFFIXES[entry.media_type][1:]))};\n"
        for entry in _CATALOGUE
    )


def nginx_try_files() -> str:
    """Return the files that nginx's `try_files` looks for: `$uri`, then `$uri` with each marker.

    The last argument of `try_files` (`=404`) is not among them.
    """
    return " ".join(("$uri", *(f"$uri{suffix}" for suffix in _SUFFIXES.values())))
