"""When a bucket's lifecycle rule removes an object.

S3 adds the rule's days to the time when an object was created (for a large one: when its upload
began), and then waits until the next midnight UTC: with 1 day an object stays for 24 to 48 hours.
Source: Amazon S3 User Guide, "Lifecycle rules: based on an object's age".
"""

from __future__ import annotations

_DAY_NS = 24 * 3600 * 1_000_000_000


def removed_at_ns(stored_ns: int, *, days: int) -> int:
    """Return from when on an object may be gone, in ns since 1970."""
    return -(-(stored_ns + days * _DAY_NS) // _DAY_NS) * _DAY_NS
