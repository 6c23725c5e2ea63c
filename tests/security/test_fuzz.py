"""The parsers of what strangers write, with inputs made from a corpus that is kept.

`corpus/PARSER/NAME`: each file is one input, its name says what is odd about it; those that once
found a fault are among them. All are replayed, and mutated into some thousand more, the same in
every run. `make fuzz MINUTES=10` goes on with other ones for so long, and keeps what finds a fault
as `corpus/PARSER/found-…`.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from testkit.messages.fuzzed import PARSERS, Parser, check

CORPUS = Path(__file__).parent / "corpus"
MINUTES = float(os.environ.get("FUZZ_MINUTES") or 0)
#: In a longer run, examples between two looks at the clock.
_ROUND = 500
_MAX_BYTES = 20_000
#: What parsers look for; put in wherever.
_WORDS = (
    b"\x00", b"\xff", b"\r\n", b"\n", b"\x80", b"/", b"//", b"..", b"#", b"+", b"@", b":", b"[",
    b"]",
    b"%", b"%00", b"%2f", b"\\", b'"', b"{", b"}", b",", b"-", b"0", b"9" * 20, b"1e999", b"null",
    b"\xef\xb7\xba", b"\xed\xa0\x80", b"\xe2\x80\xae", b"127.0.0.1", b"::1", b"0x7f", b"file:",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"ffffffff",
)  # fmt: skip


def corpus(parser: str) -> list[Path]:
    return sorted((CORPUS / parser).iterdir())


@st.composite
def mutated(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """Return an input of the corpus, changed in a few places."""
    data = bytearray(draw(st.sampled_from(inputs)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        change = draw(st.sampled_from(("word", "bytes", "cut", "repeat", "other", "flip")))
        if change == "word":
            data[at:end] = draw(st.sampled_from(_WORDS))
        elif change == "bytes":
            data[at:end] = draw(st.binary(max_size=8))
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 100))]
        elif change == "repeat":
            data[at:at] = data[at:end] * draw(st.integers(1, 60))
        elif change == "other":
            data[at:] = draw(st.sampled_from(inputs))[-50:]
        elif at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data[:_MAX_BYTES])


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_kept_in_the_corpus_is_read(name: str) -> None:
    files = corpus(name)
    assert len(files) >= 8, f"too few to mutate from: {files}"
    for path in files:
        check(PARSERS[name], path.read_bytes())


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.timeout(300 + 60 * MINUTES)
def test_what_is_made_from_it_is_read(name: str) -> None:
    parser = PARSERS[name]
    inputs = [path.read_bytes() for path in corpus(name)]
    if not MINUTES:
        fuzz(parser, inputs, parser.examples, derandomize=True)
        return
    until = time.monotonic() + 60 * MINUTES / len(PARSERS)
    number = time.time_ns()
    while time.monotonic() < until:
        number += 1
        fuzz(parser, inputs, min(_ROUND, parser.examples), number=number)


def fuzz(
    parser: Parser,
    inputs: list[bytes],
    examples: int,
    *,
    derandomize: bool = False,
    number: int = 0,
) -> None:
    tried: list[bytes] = []

    @settings(
        max_examples=examples, derandomize=derandomize, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(mutated(inputs))
    def run(data: bytes) -> None:
        try:
            check(parser, data)
        except Exception:
            tried[:] = [data]
            raise

    try:
        (run if derandomize else seed(number)(run))()
    except BaseException:
        if tried:  # the smallest that fails
            digest = hashlib.sha256(tried[0]).hexdigest()[:12]
            if MINUTES:
                (CORPUS / parser.name / f"found-{digest}").write_bytes(tried[0])
        raise


def test_no_corpus_is_without_its_parser() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(PARSERS)
