"""What the status page, `/api` and `/readyz` may say of our problems: anybody may read them.

Names of parts and what is wrong help; where our servers are does not, and is in the logs.
"""

from __future__ import annotations

import re
from typing import Any

#: IPv4 and IPv6 addresses with or without a port, names of AWS's resources, hosts in AWS or inside.
_ADDRESS = re.compile(
    r"""
    \barn:aws[\w-]*:\S+
    | (?<![\w.]) \d{1,3} (?:\.\d{1,3}){3} (?::\d+)? (?!\w)
    | \[ [0-9A-Fa-f:.]* :: [0-9A-Fa-f:.]* \] (?::\d+)?
    | (?<![\w:]) (?= [0-9A-Fa-f:]*:: | (?:[0-9A-Fa-f]{1,4}:){7} ) [0-9A-Fa-f:]{3,} (?!\w)
    | (?:[\w-]+\.)+ (?:amazonaws\.com(?:\.cn)?|cluster\.local|local|internal|svc)\b (?::\d+)?
      (?:/[\w./-]*)?
    | \blocalhost\b (?::\d+)?
    """,
    re.VERBOSE,
)
_HIDDEN = "…"


def without_addresses(text: str) -> str:
    """Return `text` with addresses of our servers replaced by an ellipsis."""
    return _ADDRESS.sub(_HIDDEN, text)


def public_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a process says about itself, fit for everybody.

    A listener's `broker` stays: it is the address of a Global Broker, and no one's secret.
    """
    return {name: value if name == "broker" else _cleaned(value) for name, value in facts.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return without_addresses(value)
    if isinstance(value, dict):
        return {key: _cleaned(inner) for key, inner in value.items()}
    return value
