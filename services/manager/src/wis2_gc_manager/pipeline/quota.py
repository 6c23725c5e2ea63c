"""How much one centre may hold, and what is not cached for it (20261128-quotas.md). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_common.wis2.decision import Decision
from wis2_gc_common.wis2.inline import MAX_DECODED_BYTES

if TYPE_CHECKING:
    from wis2_gc_common.ports.registry import Claimed
    from wis2_gc_common.wis2.notification import Notification
    from wis2_gc_manager.store.port import Capacity

#: Share of the registry's memory and of the store's room that one centre may use. All centres that
#: the list of known ones does not name have half of that together.
SHARE = 0.5
#: Bytes of the registry's memory for one cached item (20261127-redis-full.md).
ITEM_BYTES = 512
#: In a store without a bound: twice what the busiest cache held of all centres in a day.
ENDLESS_BYTES = 2**40


def items_of_a_centre(
    setting: int | None, *, memory_bytes: int, capacity: Capacity | None
) -> int | None:
    """Return how many items one centre may hold; None for any number.

    `setting`: GC_CENTRE_MAX_ITEMS, 0 for any number, None where it is not set. `memory_bytes`: of
    the registry, 0 where nobody has bounded it.
    """
    if setting is not None:
        return setting or None
    ends = [memory_bytes // ITEM_BYTES, 0 if capacity is None else capacity.files]
    return min((int(end * SHARE) for end in ends if end), default=None)


def bytes_of_a_centre(setting: int | None, *, capacity: Capacity | None) -> int | None:
    """Return how many bytes one centre may hold in the store; None for any number.

    `setting`: GC_CENTRE_MAX_BYTES, 0 for any number, None where it is not set.
    """
    if setting is not None:
        return setting or None
    return ENDLESS_BYTES if capacity is None else int(capacity.size_bytes * SHARE)


def quota_met(claimed: Claimed, notification: Notification) -> str:
    """Return which quota this item exceeds, before anything of it is fetched; "" for none.

    An item that does not say its size is judged by what its centre already holds.
    """
    if claimed.decision is Decision.OVER_QUOTA or claimed.items_left <= 0:
        return "its centre has as many items here as it may have"
    content, size = notification.content, notification.link.length
    if size is None and content is not None and content.size <= MAX_DECODED_BYTES:
        size = content.size  # a larger one cannot be true; then we fetch the link
    size = size or 1
    if size > claimed.bytes_left:
        return "its centre has as many bytes here as it may have"
    return ""
