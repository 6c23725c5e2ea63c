"""The items of the long run, and what must become of them."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from itertools import count
from typing import TYPE_CHECKING, Any

from testkit.messages.wnm import encoded, inline, integrity_of, wnm
from testkit.worlds.world import wait_until
from tests.faults.origins import body_of

if TYPE_CHECKING:
    from tests.faults.long_world import LongWorld

#: Several, so that nobody has more than its share of the slots.
CENTRES = tuple(f"{country}-faults" for country in ("tt", "jm", "bb", "gy", "sr", "bz", "gd", "lc"))


#: Bytes of what is uploaded in parts.
LARGE = 9_000_000


def topic_of(centre_id: str, first: str = "origin") -> str:
    return f"{first}/a/wis2/{centre_id}/data/core/weather/surface-based-observations/synop"


def size_of(number: int) -> int:
    """Return how large an item is: mostly small, now and then more than one part of an upload."""
    if number % 700 == 350:
        return LARGE
    if number % 40 == 20:
        return 85_000
    return 1000 + number * 37 % 7000


class LongLoad:
    """Publishes items over both Global Brokers from a thread, until stopped."""

    #: More that wait, and it slows down.
    MAX_WAITING = 150
    EVERY_S = 0.006
    SLOWLY_S = 0.04

    def __init__(self, world: LongWorld) -> None:
        self._world = world
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._names = count(1)
        self.expected: dict[str, bytes] = {}
        """SHA-256 of the data, by data_id."""
        self.payloads: deque[tuple[str, bytes]] = deque(maxlen=50)
        """Topics and notifications of late."""
        self.of_centre: dict[str, int] = defaultdict(int)
        self.errors: dict[str, tuple[int, int]] = {}
        """By centre that has any: least and most `downloaded_errors_total`."""
        self.failed_integrity: dict[str, int] = defaultdict(int)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for number in count():
            behind = (len(self) - self._world.number_out()) / self.MAX_WAITING
            # What is tried again comes after what is new: on a busy machine it must have its turn.
            if self._stop.wait(self.EVERY_S if behind < 1 else self.SLOWLY_S * behind**2):
                return
            self._one(number)

    def _one(self, number: int) -> None:
        centre_id, name, size = CENTRES[number % len(CENTRES)], self.name(), size_of(number)
        if number % 3 == 0:
            body = body_of(name, 1024)
            self.publish(centre_id, name, body, content=inline(body))
        else:
            body = body_of(name, size)
            href = f"{self._world.origin_url}/{name}?{size}"
            self.publish(
                centre_id, name, body, href=href, length=size, integrity=integrity_of(body)
            )

    def large(self) -> str:
        """Publish one that is uploaded in parts; return its name."""
        name = self.name()
        self.publish(
            CENTRES[0], name, body_of(name, LARGE), href=f"{self._world.origin_url}/{name}?{LARGE}"
        )
        return name

    def name(self) -> str:
        return f"fault/{next(self._names)}"

    def may_fail(self, centre_id: str, errors: tuple[int, int], failed_integrity: int) -> None:
        """Expect so many more errors of a centre."""
        least, most = self.errors.get(centre_id, (0, 0))
        self.errors[centre_id] = (least + errors[0], most + errors[1])
        self.failed_integrity[centre_id] += failed_integrity

    def publish(
        self, centre_id: str, name: str, body: bytes, *, counted_for: str = "", **of_wnm: Any
    ) -> None:
        """Publish an item that must come out as `body`.

        `counted_for`: the other Global Cache that it comes from.
        """
        message = wnm(data_id=name, **of_wnm)
        with self._lock:
            self.expected[name] = hashlib.sha256(body).digest()
            self.of_centre[counted_for or centre_id] += 1
        self.send(topic_of(centre_id), encoded(message))

    def send(self, topic: str, payload: bytes) -> None:
        """Give a notification to both Global Brokers."""
        with self._lock:
            self.payloads.append((topic, payload))
        self._world.send(topic, payload)

    def __len__(self) -> int:
        return len(self.expected)

    def more(self, items: int) -> None:
        """Wait until `items` more are published."""
        wanted = len(self) + items
        wait_until(lambda: len(self) >= wanted, f"{items} more items", timeout=60)

    def names(self) -> list[str]:
        with self._lock:
            return list(self.expected)

    def stop(self) -> None:
        """Return when the Global Brokers have all."""
        self._stop.set()
        self._thread.join(30)
        wait_until(self._world.is_all_sent, "the Global Brokers have all", timeout=60)
