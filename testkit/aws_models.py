"""Amazon's services as the SDK describes them: megabytes of JSON in hundreds of folders.

They are read once in all tests.

Import the fixture in a conftest.py; the SDK itself reads them again for each session.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import JSONFileLoader, Loader

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def aws_models_are_read_once() -> Iterator[None]:
    read = JSONFileLoader.load_file

    @functools.cache
    def read_once(path: str) -> Any:
        return read(JSONFileLoader(), path)

    find_services = Loader.list_available_services
    found: dict[tuple[str, ...], list[str]] = {}

    def find_once(loader: Loader, type_name: str) -> list[str]:
        key = (type_name, *loader.search_paths)
        if key not in found:
            found[key] = find_services(loader, type_name)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _loader, path: read_once(path))
        patch.setattr(Loader, "list_available_services", find_once)
        yield
