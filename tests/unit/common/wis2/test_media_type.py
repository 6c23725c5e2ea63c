from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wis2_gc_common.wis2.media_type import (
    DEFAULT_MEDIA_TYPE,
    EXTENSIONS,
    nginx_try_files,
    nginx_types,
    safe_media_type,
    suffix_for,
)
from wis2_gc_common.wis2.object_key import file_name

ALL_TYPES = [line.split()[0] for line in nginx_types().splitlines()]
MARKERS = [word.removeprefix("$uri") for word in nginx_try_files().split()[1:]]


def served_by_nginx(name: str) -> str:
    """What the generated `types` block says of a file name, as nginx reads it."""
    types = {}
    for line in nginx_types().splitlines():
        media_type, *extensions = line.rstrip(";").split()
        types.update(dict.fromkeys(extensions, media_type))
    match = re.search(r"[^/]\.([^./]*)$", "/" + name)
    return types.get(match[1].lower(), DEFAULT_MEDIA_TYPE) if match else DEFAULT_MEDIA_TYPE


@pytest.mark.parametrize("media_type", ALL_TYPES)
def test_a_known_harmless_type_is_kept(media_type: str) -> None:
    assert safe_media_type(media_type) == media_type


@pytest.mark.parametrize(
    "announced", ["Application/BUFR", " application/bufr ", "application/bufr;edition=4"]
)
def test_case_blanks_and_parameters_do_not_matter(announced: str) -> None:
    assert safe_media_type(announced) == "application/bufr"


@pytest.mark.parametrize(
    "announced",
    [
        None,
        "",
        ";",
        "bufr",
        "application/unheard-of",
        "application/bufr\r\nSet-Cookie: a=b",
        "a" * 10_000,
        "text/plain" + " " * 10_000,
    ],
)
def test_what_is_unknown_becomes_octet_stream(announced: str | None) -> None:
    assert safe_media_type(announced) == "application/octet-stream"


@pytest.mark.parametrize(
    "announced",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "application/xml",
        "application/cap+xml",
        "application/rdf+xml",
        "application/mathml+xml",
        "text/javascript",
        "application/javascript",
        "text/css",
        "multipart/x-mixed-replace",
        "application/x-shockwave-flash",
        "message/rfc822",
    ],
)
def test_what_a_browser_would_run_becomes_octet_stream(announced: str) -> None:
    assert safe_media_type(announced) == "application/octet-stream"


def test_no_type_in_the_catalogue_is_markup_or_script() -> None:
    for media_type in (*ALL_TYPES, *EXTENSIONS.values()):
        assert not re.search(r"xml|html|svg|script|css|multipart|message/", media_type)


@pytest.mark.parametrize(
    ("media_type", "name", "suffix"),
    [
        ("application/bufr", "A.bufr", ""),
        ("application/bufr", "A.BUFR4", ""),
        ("application/bufr", "A_ISIA21EIDB202100", ".~bufr"),
        ("application/bufr", "A.bin", ".~bufr"),
        ("application/bufr", "A.bufr.txt", ".~bufr"),
        ("application/x-bufr", "A.bufr", ".~x-bufr"),
        ("application/octet-stream", "A", ""),
        ("application/octet-stream", "A.bin", ""),
        ("application/octet-stream", "index.html", ""),
        ("application/octet-stream", "warning.xml", ""),
        ("application/octet-stream", "A.json", ".~bin"),
        ("text/plain", "index.html", ".~txt"),
        ("application/json", "bufr", ".~json"),
        ("text/html", "A.bufr", ".~bin"),
        ("text/html", "index.html", ""),
    ],
)
def test_a_marker_is_added_only_where_the_name_says_another_type(
    media_type: str, name: str, suffix: str
) -> None:
    assert suffix_for(media_type, name) == suffix


@given(
    media_type=st.sampled_from(ALL_TYPES),
    stem=st.text(max_size=20),
    extension=st.sampled_from(["", ".", ".html", ".xml", *(f".{ext}" for ext in EXTENSIONS)]),
    upper=st.booleans(),
)
def test_name_and_suffix_together_always_give_the_announced_type(
    media_type: str, stem: str, extension: str, upper: bool
) -> None:
    ending = extension.upper() if upper else extension
    name = file_name(f"https://example.org/{stem}{ending}")
    assert served_by_nginx(name + suffix_for(media_type, name)) == media_type


@given(href=st.text(max_size=60))
def test_no_stranger_can_write_a_marker_into_a_file_name(href: str) -> None:
    name = file_name("https://example.org/" + href)
    assert not any(name.endswith(marker) for marker in MARKERS)
    assert "~" not in file_name("https://example.org/a.~bufr")


def test_markers_and_extensions_are_each_of_one_type_only() -> None:
    words = [word for line in nginx_types().splitlines() for word in line.rstrip(";").split()[1:]]
    assert len(words) == len(set(words))
    assert len(MARKERS) == len(set(MARKERS)) == len(ALL_TYPES) == len(set(ALL_TYPES))


def test_the_nginx_block_holds_nothing_that_would_need_quoting() -> None:
    for line in nginx_types().splitlines():
        assert re.fullmatch(r"[a-z0-9.+/-]+( [a-z0-9~-]+)+;", line)
    assert re.fullmatch(r"\$uri( \$uri\.~[a-z0-9-]+)+", nginx_try_files())
