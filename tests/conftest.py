"""Says at the start of every run which servers the tests are about to talk to."""

from __future__ import annotations

import pytest

from tests.support import parts


def pytest_report_header(config: pytest.Config) -> str:
    del config
    try:
        return f"parts: {parts.choice()}"
    except parts.WrongChoice as error:
        raise pytest.UsageError(str(error)) from None
