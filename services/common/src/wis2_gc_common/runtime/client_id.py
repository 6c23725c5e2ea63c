"""The client id of our sessions at brokers."""

from __future__ import annotations

import hmac

#: What brokers take; and how much of it is secret: 64 bits, and each guess costs a login.
MAX_CLIENT_ID_CHARS = 100
CLIENT_ID_SECRET_CHARS = 16


def mqtt_client_id(secret: bytes, *, centre_id: str, broker_name: str) -> str:
    """Return the client id of our session at a Global Broker: the same after every restart.

    Whoever has an account there and knows the id can take the session over, and the public account
    is everybody's: so it ends in 16 hex digits that nobody can tell without `secret`. At most 100
    characters. The standard obliges brokers to take 23; all in use at Global Brokers take 100 or
    more, and operators there shall see who it is. Never to be changed, or an upgrade would leave
    the session behind.
    """
    name = f"{centre_id}-{broker_name}"
    digest = hmac.digest(secret, f"mqtt client id\n{name}".encode(), "sha256").hex()
    suffix = f"-{digest[:CLIENT_ID_SECRET_CHARS]}"
    return name[: MAX_CLIENT_ID_CHARS - len(suffix)] + suffix
