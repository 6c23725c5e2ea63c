"""The client id of our sessions at brokers."""

from __future__ import annotations

import hmac

#: What brokers accept, and how much of it is secret: 64 bits, and each guess costs a login.
MAX_CLIENT_ID_CHARS = 100
CLIENT_ID_SECRET_CHARS = 16


def mqtt_client_id(secret: bytes, *, centre_id: str, broker_name: str) -> str:
    """Return the client id of our session at a Global Broker: the same after every restart.

    Anyone who has an account there and knows the id can take over the session, and everybody has
    the public account. So it ends in 16 hex digits that nobody can guess without `secret`. At most
    100 characters: the standard obliges brokers to accept 23; all brokers in use at Global Brokers
    accept 100 or more, and their operators can see who we are. Never change it: an upgrade would
    lose the session.
    """
    name = f"{centre_id}-{broker_name}"
    digest = hmac.digest(secret, f"mqtt client id\n{name}".encode(), "sha256").hex()
    suffix = f"-{digest[:CLIENT_ID_SECRET_CHARS]}"
    return name[: MAX_CLIENT_ID_CHARS - len(suffix)] + suffix
