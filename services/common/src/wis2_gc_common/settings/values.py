"""Values that settings have: URLs taken apart, secrets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Secret(str):
    """A text that `repr` hides; `str()` still shows it, also the password of a URL."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """An MQTT broker's address; `repr` and `str` hide the password."""

    scheme: str
    host: str
    port: int
    username: str | None
    password: Secret | None
    path: str = "/mqtt"

    @property
    def is_tls(self) -> bool:
        """Whether the broker's certificate is verified."""
        return self.scheme in ("mqtts", "wss")

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT travels over a WebSocket."""
        return self.scheme in ("ws", "wss")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class QueueUrl:
    """`redis-stream:NAME`, or an SQS queue URL."""

    kind: str
    """"redis-stream" or "sqs"."""
    name: str
    """The stream's name, or the whole SQS URL."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`file:///directory`, or `s3://bucket[/prefix]`."""

    kind: str
    """"file" or "s3"."""
    place: str
    """The directory, or the bucket."""
    prefix: str = ""
