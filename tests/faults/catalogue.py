"""Every kind of fault of the long run; `kinds/` has them.

Each is a context manager: on entry it breaks something and returns, in words, the effect that it
has waited for; on exit it mends what does not mend itself.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from testkit.messages.wnm import integrity_of
from testkit.worlds.world import wait_until
from tests.faults import kinds
from tests.faults.long_world import log_end, log_since
from tests.faults.origins import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.long_load import LongLoad
    from tests.faults.long_world import LongWorld
    from tests.faults.origins import Origin
    from tests.faults.proxy import Kind, Proxy

MANAGERS = ("manager-1", "manager-2")
LISTENERS = ("listener-a", "listener-b")
#: An effect that does not show within this has not been seen.
SEEN_S = 120.0
#: Items of a fault's own: fewer than the failures that close a host for a while.
FEW = 4


@dataclass
class Scene:
    """What faults are injected into."""

    world: LongWorld
    load: LongLoad
    back_ends: frozenset[str]

    def marks(self, *names: str) -> dict[str, int]:
        """Return where the logs of these processes end."""
        return {name: log_end(self.world, name) for name in names}

    def logged(self, marks: dict[str, int], *texts: str) -> str:
        """Wait until one of these processes has logged one of `texts` since."""

        def who() -> list[str]:
            return [
                f"{name} logged {text}"
                for name, begin in marks.items()
                for text in texts
                if text in log_since(self.world, name, begin)
            ]

        return str(wait_until(who, f"{list(marks)} log {texts}", timeout=SEEN_S)[0])

    def proxies(self, part: str, *names: str) -> list[Proxy]:
        """Return what is between these processes, or all, and a part."""
        chosen = names or tuple(self.world.proxies)
        return [self.world.proxies[n][part] for n in chosen if part in self.world.proxies[n]]

    def hit(self, proxies: list[Proxy], times: int = 1) -> int:
        """Wait until the rules of `proxies` have done something so often."""

        def hits() -> int:
            return sum(proxy.hits() for proxy in proxies)

        self.until(lambda: hits() >= times, f"a rule is met {times} times")
        return hits()

    @contextlib.contextmanager
    def rule(
        self, proxies: list[Proxy], kind: Kind, times: int = 0, **options: object
    ) -> Iterator[int]:
        """Let a rule hold; give how often it has done something, at least `times`.

        `options`: of `proxy.Rule`.
        """
        for proxy in proxies:
            proxy.begin(kind, **options)
        try:
            yield self.hit(proxies, times)
        finally:
            for proxy in proxies:
                proxy.calm()

    @contextlib.contextmanager
    def refused(self, proxies: list[Proxy], text: str, *, by: tuple[str, ...]) -> Iterator[str]:
        """Refuse connections; give the one of `by` that has logged `text` of it."""
        marks = self.marks(*by)
        for proxy in proxies:
            proxy.refuse()
        try:
            yield self.logged(marks, text)
        finally:
            for proxy in proxies:
                proxy.accept()

    def cut(self, part: str, *names: str) -> int:
        """Cut the connections to a part, once there are any; return how many."""
        proxies = self.proxies(part, *names)
        return int(
            wait_until(lambda: sum(proxy.cut() for proxy in proxies), "connections", timeout=SEEN_S)
        )

    def admin(self) -> redis.Redis:
        return redis.Redis.from_url(self.world.redis.url)

    @staticmethod
    def until(condition: Callable[[], Any], what: str) -> Any:
        return wait_until(condition, what, timeout=SEEN_S)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return what the metrics service answers, which may have been started a moment ago."""

        def ask() -> tuple[int, dict[str, str], bytes] | None:
            with contextlib.suppress(OSError):
                return self.world.get(f"http://127.0.0.1:{self.world.metrics_port}{path}")
            return None

        answer: tuple[int, dict[str, str], bytes] = self.until(ask, "the metrics service answers")
        return answer

    def is_up(self, name: str) -> None:
        """Wait until a process, since its last start, has logged that it is up."""
        begin = self.world.processes[name].log_begin
        self.until(lambda: '_started"' in log_since(self.world, name, begin), f"{name} is up")

    def is_away(self) -> None:
        self.until(lambda: self.answer("/readyz")[0] == 503, "readiness says so")

    def comes_out(self, items: int = 20) -> None:
        """Wait until so many more have come out."""
        wanted = self.world.number_out() + items
        self.until(lambda: self.world.number_out() >= wanted, f"{items} more come out")

    def have_come_out(self, data_ids: list[str]) -> None:
        self.until(lambda: self.world.are_out(data_ids), "these come out")

    def failures(self, centre_id: str) -> float:
        """Return `downloaded_errors_total` of a centre."""
        told: list[float] = []

        def is_told() -> bool:
            # Those whose metrics service was killed beside the fault before are told a bit later.
            with contextlib.suppress(OSError, AssertionError):
                counters = self.world.counters(centre_id)
                told.append(counters.get("downloaded_errors_total", 0.0))
            return bool(told)

        self.until(is_told, "the metrics service tells")
        return told[0]

    def few(
        self,
        centre_id: str,
        origin: Origin,
        *,
        items: int = FEW,
        size: int = 3000,
        port: int = 0,
        host: str = "",
        errors: tuple[int, int] = (0, 0),
        failed_integrity: int = 0,
        **of_wnm: Any,
    ) -> list[str]:
        """Publish a few items of a centre of their own that `origin` has; return their names.

        `errors`: least and most `downloaded_errors_total` that this costs.
        """
        names = [self.load.name() for _ in range(items)]
        self.load.may_fail(centre_id, errors, failed_integrity)
        for name in names:
            body = body_of(name, size)
            self.load.publish(
                centre_id, name, body,
                href=href_of(origin, name, port, host=host, size=size),
                **{"integrity": integrity_of(body), **of_wnm},
            )  # fmt: skip
        return names


def href_of(origin: Origin, name: str, port: int = 0, *, host: str = "", size: int = 3000) -> str:
    host = host or ("127.0.0.1" if port else origin.host_name())
    return f"http://{host}:{port or origin.port_number()}/{name}?{size}"


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    kind: str
    inject: Callable[[Scene], contextlib.AbstractContextManager[str]]
    only: str = ""
    """Back end; "": all."""
    is_alone: bool = False
    """No process is killed beside it."""


def fault(
    kind: str, *, only: str = "", alone: bool = False
) -> Callable[[Callable[[Scene], Iterator[str]]], None]:
    """Put into the catalogue what this decorates."""

    def register(inject: Callable[[Scene], Iterator[str]]) -> None:
        assert kind not in {known.kind for known in _catalogue}, f"two are named {kind}"
        _catalogue.append(Fault(kind, contextlib.contextmanager(inject), only, alone))

    return register


_catalogue: list[Fault] = []


def catalogue(back_ends: frozenset[str]) -> list[Fault]:
    """Return the faults of these back ends, such as `redis-stream` and `file`."""
    for module in pkgutil.iter_modules(kinds.__path__):
        importlib.import_module(f"{kinds.__name__}.{module.name}")
    return [each for each in _catalogue if not each.only or each.only in back_ends]
