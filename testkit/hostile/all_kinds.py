"""All kinds of hostile input there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.hostile import (
    data_servers,
    deliveries,
    http_requests,
    links,
    mqtt_clients,
    notifications,
)
from testkit.hostile.catalogue import CLIENTS, MESSAGES, REQUESTS, Kinds

if TYPE_CHECKING:
    from types import ModuleType


def _of(*modules: ModuleType) -> Kinds:
    names = {module.__name__ for module in modules}
    return {name: make for name, make in MESSAGES.items() if make.__module__ in names}


#: What a Global Broker does wrong; what is in the notification itself; where its link leads, and
#: what the server there does.
DELIVERIES = _of(deliveries)
NOTIFICATIONS = _of(notifications)
SOURCES = _of(links, data_servers)
assert CLIENTS, f"{mqtt_clients.__name__} has kinds"
assert REQUESTS, f"{http_requests.__name__} has kinds"

__all__ = ["CLIENTS", "DELIVERIES", "NOTIFICATIONS", "REQUESTS", "SOURCES"]
