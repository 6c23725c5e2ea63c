"""Amazon's services as the SDK describes them: megabytes of JSON, read once in all tests.

Import the fixture in a conftest.py; the SDK itself reads them again for each session.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import JSONFileLoader

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def aws_models_are_read_once() -> Iterator[None]:
    read = JSONFileLoader.load_file

    @functools.cache
    def read_once(path: str) -> Any:
        return read(JSONFileLoader(), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _loader, path: read_once(path))
        yield
