"""Bounds what waits for retries: a centre whose server is down must not fill the queue's memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many items of one centre may wait that one manager has put back.
MAX_DELAYED_PER_CENTRE = 10_000
#: The same for items that were not tried yet because their host was busy. They have not failed,
#: so only memory bounds them.
MAX_UNTRIED_PER_CENTRE = 100_000
#: Bytes that the messages of one centre may take together (topics and payloads), tried or not.
MAX_DELAYED_BYTES_PER_CENTRE = 64 * 2**20
#: The ends of waits are rounded to this, so that ended ones are found without a search.
_STEP_S = 10.0


@dataclass(slots=True)
class _Waiting:
    """The waiting items of one centre."""

    items: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By uid: the step in which the item becomes due, and its bytes."""
    size: int = 0
    """Bytes of all items."""


@dataclass(kw_only=True, slots=True, eq=False)
class DelayedItems:
    """Knows, for each centre, the items that this process has put back and that still wait.

    An item counts once, however often it is put back. What another manager put back is counted
    there.
    """

    monotonic_s: Callable[[], float]
    limit: int = MAX_DELAYED_PER_CENTRE
    untried_limit: int = MAX_UNTRIED_PER_CENTRE
    max_bytes: int = MAX_DELAYED_BYTES_PER_CENTRE
    _waiting: dict[str, _Waiting] = field(default_factory=dict, init=False)
    """By centre."""
    _due: defaultdict[int, list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    """By step: centre and uid of the items that become due in it."""
    _next_step: int = field(default=0, init=False)
    """The earliest step that `_due` may contain."""

    def admit(
        self, centre_id: str, uid: str, delay_s: float, *, size: int, is_untried: bool = False
    ) -> bool:
        """Note the item and return True; False if its centre has too many others waiting.

        `size`: bytes of its message.
        """
        now_s = self.monotonic_s()
        self._forget_due(int(now_s / _STEP_S))
        waiting = self._waiting.get(centre_id) or _Waiting()
        _, noted = waiting.items.get(uid, (0, 0))
        limit = self.untried_limit if is_untried else self.limit
        if (
            len(waiting.items) - (uid in waiting.items) >= limit
            or waiting.size - noted + size > self.max_bytes
        ):
            return False
        step = int((now_s + delay_s) / _STEP_S)
        waiting.items[uid] = step, size
        waiting.size += size - noted
        self._waiting[centre_id] = waiting
        self._due[step].append((centre_id, uid))
        return True

    def _forget_due(self, current: int) -> None:
        if current <= self._next_step:
            return
        self._next_step = current
        for step in [step for step in self._due if step < current]:
            for centre_id, uid in self._due.pop(step):
                waiting = self._waiting.get(centre_id) or _Waiting()
                due, size = waiting.items.get(uid, (None, 0))
                if due == step:  # not put back again since
                    del waiting.items[uid]
                    waiting.size -= size
                    if not waiting.items:
                        del self._waiting[centre_id]
