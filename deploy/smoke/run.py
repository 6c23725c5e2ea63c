"""All checks, in the order in which one builds on the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from deploy.smoke.broker import Subscriber, check_broker
from deploy.smoke.end_to_end import check_live, check_synthetic, make_synthetic
from deploy.smoke.rollouts import check_rollouts
from deploy.smoke.waiting import Failed, NotYet, Patience
from deploy.smoke.web import Web, check_data, check_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.smoke.end_to_end import SendOne
    from deploy.smoke.rollouts import Workloads

EndToEnd = Literal["synthetic", "live", "none"]
_READY = 200


@dataclass(frozen=True, slots=True)
class Target:
    """What to look at, as the world sees it."""

    centre_id: str
    metrics_url: str
    """Address of the metrics service, without a slash at its end."""
    data_base_url: str
    broker_urls: tuple[str, ...]
    """With the public account; the first one is subscribed to for the item."""
    end_to_end: EndToEnd


def smoke_test(
    target: Target,
    *,
    workloads: Workloads | None,
    send: SendOne | None,
    policies: Callable[[], str] | None = None,
    say: Callable[[str], None],
    patience: Patience,
    item_timeout_s: float = 60.0,
    ca_file: str | None = None,
) -> None:
    """Run every check, one line each.

    `workloads` None: there is no Kubernetes to ask; `policies` None: none whose network policies
    could be tried. `send` is needed for a synthetic item.
    `ca_file`: trusted besides the system's authorities.
    Raises Failed at the first check that does not come true in its time.
    """
    web = Web(ca_file=ca_file)
    checks: list[tuple[str, Callable[[], str]]] = []
    if workloads is not None:
        checks.append(("rollouts", partial(check_rollouts, workloads)))
    checks += [
        ("metrics", partial(
            check_metrics, web, f"{target.metrics_url}/metrics", target.centre_id)),
        ("ready", partial(_check_ready, web, f"{target.metrics_url}/readyz")),
        ("data", partial(check_data, web, target.data_base_url)),
        *((f"broker {url.partition('://')[0]}", partial(check_broker, url, ca_file=ca_file))
          for url in target.broker_urls),
    ]  # fmt: skip
    if policies is not None:
        checks.append(("policies", policies))
    if target.end_to_end != "none":
        item = partial(_check_item, target, web, send, ca_file, item_timeout_s)
        checks.append((f"{target.end_to_end} item", item))
    for name, check in checks:
        try:
            say(f"ok  {name:<14} {patience.until(check)}")
        except Failed as failure:
            raise Failed(f"{name}: {failure}") from None


def _check_ready(web: Web, url: str) -> str:
    """Return that every listener is subscribed and a manager receives. Raises NotYet."""
    answer = web.get(url)
    if answer.status != _READY:
        text = answer.body.decode("utf-8", "replace").strip()
        raise NotYet(f"{url} answers {answer.status}: {text[:300]}")
    return "every listener is subscribed, a manager receives"


def _check_item(
    target: Target, web: Web, send: SendOne | None, ca_file: str | None, timeout_s: float
) -> str:
    with Subscriber(target.broker_urls[0], ca_file=ca_file) as subscriber:
        if target.end_to_end == "live":
            return check_live(
                subscriber,
                web,
                centre_id=target.centre_id,
                data_base_url=target.data_base_url,
                timeout_s=timeout_s,
            )
        if send is None:
            raise Failed("nothing puts a synthetic item on the queue")
        return check_synthetic(
            send,
            subscriber,
            web,
            synthetic=make_synthetic(datetime.now(UTC)),
            centre_id=target.centre_id,
            data_base_url=target.data_base_url,
            timeout_s=timeout_s,
        )
