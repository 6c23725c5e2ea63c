"""Which servers the tests talk to, said at the start; their event loop; and their last deadline.

pytest-timeout raises an error in the test. An event loop may swallow it, and the end of the test,
its fixtures' included, has no deadline of its own: so, a while later, the process itself is ended.
A worker of xdist is replaced by another, and its test has failed.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from typing import TYPE_CHECKING

import pytest

from local.parts import ports
from testkit.servers import parts
from testkit.servers.nodes import Node
from wis2_gc_manager.event_loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

#: After a test's own time-out: for its traces, and for the fixtures that end with it.
LAST_DEADLINE_S = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("last_deadline", "seconds", default=str(LAST_DEADLINE_S))


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:  # of xdist; its name is gw0, gw1, …
        ports.take_share(int(worker["workerid"].removeprefix("gw")), of=worker["workercount"])


@pytest.fixture
def node() -> Iterator[Node]:
    """A data server of this test alone."""
    node = Node()
    yield node
    node.close()


def _end_in(config: pytest.Config, seconds: float) -> None:
    last_s = float(config.getini("last_deadline"))
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(seconds + last_s, exit=True, file=sys.__stderr__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    marker = item.get_closest_marker("timeout")
    given = marker.args[0] if marker is not None and marker.args else item.config.getini("timeout")
    _end_in(item.config, float(given))
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    # pytest has switched it off here, for who debugs; the end of the test is still to come.
    if not node.config.getoption("usepdb"):
        _end_in(node.config, 0.0)


def pytest_unconfigure(config: pytest.Config) -> None:
    # What still runs when Python ends (a thread) has this long. A worker of xdist waits here until
    # the others are done, and is ended with them.
    if not hasattr(config, "workerinput"):
        _end_in(config, 0.0)


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
        return {"uvloop": EventLoop}
    return {"asyncio": asyncio.new_event_loop}
