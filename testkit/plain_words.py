"""Details of errors are for people: causes in plain words, no names of our or a library's code."""

from __future__ import annotations

import re

_CODE = re.compile(r"[A-Za-z][a-z]+[A-Z]|Error|Exception|\[Errno|0x[0-9a-f]|object at")


def assert_plain(text: str) -> None:
    """Fail where `text` has the name of a class in it, or an object's representation."""
    assert not _CODE.search(text), text
