"""All checks, in the order in which one builds on the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from deploy.smoke.broker import Subscriber, check_broker
from deploy.smoke.end_to_end import check_item
from deploy.smoke.waiting import Failed, Patience
from deploy.smoke.web import Web, check_data, check_metrics, check_ready

if TYPE_CHECKING:
    from collections.abc import Callable

EndToEnd = Literal["synthetic", "live", "none"]
#: A listener that starts is subscribed well before.
_SUBSCRIBED_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """What to look at, as the world sees it."""

    centre_id: str
    metrics_url: str
    """Without a slash at its end, as `data_base_url`."""
    data_base_url: str
    broker_urls: tuple[str, ...]
    """With the public account; the first one is subscribed to for the item."""
    end_to_end: EndToEnd


def smoke_test(
    target: Target,
    *,
    inside: dict[str, Callable[[], str]],
    send: Callable[[str, bytes], None],
    say: Callable[[str], None],
    patience: Patience,
    item_timeout_s: float = 60.0,
    ca_file: str | None = None,
) -> None:
    """Run every check, one line each.

    `inside`: what only the cluster can tell, `rollouts` first of all, `policies` before the item.
    `send` puts a notification on the queue. `ca_file`: trusted besides the system's authorities.
    Raises Failed at the first check that does not come true in its time.
    """
    web = Web(ca_file=ca_file)
    metrics, data, centre_id = target.metrics_url, target.data_base_url, target.centre_id

    def is_ready() -> str:
        short = Patience(min(_SUBSCRIBED_S, patience.seconds), now=patience.now,
                         sleep=patience.sleep)  # fmt: skip
        try:
            return short.until(partial(check_ready, web, f"{metrics}/readyz"))
        except Failed:
            return check_ready(web, f"{metrics}/readyz", is_last_look=True)

    def item() -> str:
        with Subscriber(target.broker_urls[0], ca_file=ca_file) as subscriber:
            return check_item(
                subscriber, web, send=send if target.end_to_end == "synthetic" else None,
                now=datetime.now(UTC), centre_id=centre_id, data_base_url=data,
                timeout_s=item_timeout_s,
            )  # fmt: skip

    checks = {
        "rollouts": inside.get("rollouts"),
        "metrics": partial(check_metrics, web, f"{metrics}/metrics", centre_id),
        "ready": is_ready,
        "data": partial(check_data, web, data),
        **{f"broker {url.partition('://')[0]}": partial(check_broker, url, ca_file=ca_file)
           for url in target.broker_urls},
        "policies": inside.get("policies"),
        f"{target.end_to_end} item": None if target.end_to_end == "none" else item,
    }  # fmt: skip
    for name, check in checks.items():
        if check is not None:
            try:
                say(f"ok  {name:<14} {patience.until(check)}")
            except Failed as failure:
                raise Failed(f"{name}: {failure}") from None
