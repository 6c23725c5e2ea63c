"""Which servers the tests talk to, said at the start, and which event loop they run on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.support import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def pytest_sessionstart(session: pytest.Session) -> None:
    try:
        choice = parts.choice()
    except parts.WrongChoice as error:
        raise pytest.UsageError(str(error)) from None
    # No header: with -q there is none. Workers of xdist have no terminal.
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(f"parts: {choice}")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Test downloads on the loop they run on in production: it differs in the details."""
    if item.path.name.startswith("test_download"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
