"""What runs in one `make run`, and which settings each service gets. Pure."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from local.settings import DEFAULT_CENTRE_ID, LOOPBACK
from wis2_gc_common.settings import catalogue as settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.settings import NamedBroker, RunSettings

_SIMULATED_NETWORKS = "127.0.0.0/8"
#: After Ctrl-C a manager does not have to finish its downloads: the next run repeats them.
_DRAIN_S = "3"
_COMMANDS = Path(sys.executable).parent
_OPERATOR_FILE_BEGIN = """\
# Written by make run. Use it in a subshell: ( set -a; . THIS_FILE; set +a; wis2-gc status )
"""
#: A variable of the operator's file, and so of a shell that has read it: which of the file's
#: variables the run chose itself, each with a digest of its value.
CHOSEN = "WIS2_GC_CHOSEN_BY_MAKE_RUN"


@dataclass(frozen=True, slots=True)
class PartAddresses:
    """Where the parts of this run are; "" for parts that the user runs elsewhere."""

    redis_url: str
    manager_broker_url: str
    store: Path
    data_base_url: str
    status_url: str
    status_port: int
    ca_file: Path | None
    """PEM file that the services trust besides the system's; set for a simulated world."""
    queue_settings: Mapping[str, str] = field(default_factory=dict)
    """The services' settings for a queue that is not the default."""
    store_settings: Mapping[str, str] = field(default_factory=dict)
    """The same for a store that is not `store`."""
    deployment_secret: str = ""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One process of ours."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Its own variables, without those it inherits."""


def centre_id(run: RunSettings, unique: str) -> str:
    """Return our centre-id.

    With real brokers the default contains `unique` (hex digits, kept in the state directory): it
    names our sessions there, and two caches with one name would disconnect each other.
    """
    if settings.CENTRE_ID.name in run.overrides:
        return run.overrides[settings.CENTRE_ID.name]
    if run.is_simulated:
        return DEFAULT_CENTRE_ID
    return f"xx-local-{unique[:8]}-global-cache"


def common_environment(
    run: RunSettings,
    addresses: PartAddresses,
    brokers: tuple[NamedBroker, ...],
    *,
    our_centre_id: str,
) -> dict[str, str]:
    """Return the settings that all services share; the user's own settings win."""
    ours = {
        settings.CENTRE_ID.name: our_centre_id,
        settings.STORE_URL.name: addresses.store.as_uri(),
        settings.DATA_BASE_URL.name: addresses.data_base_url,
        settings.EXPECTED_BROKERS.name: ",".join(broker.name for broker in brokers),
        settings.DRAIN_S.name: _DRAIN_S,
        settings.LOG_FORMAT.name: "console",
        **addresses.queue_settings,
        **addresses.store_settings,
    }
    if addresses.redis_url:
        ours[settings.REDIS_URL.name] = addresses.redis_url
    if addresses.manager_broker_url:
        ours[settings.LOCAL_BROKER_URL.name] = addresses.manager_broker_url
    if addresses.deployment_secret:
        ours[settings.DEPLOYMENT_SECRET.name] = addresses.deployment_secret
    if run.is_simulated:
        ours[settings.ALLOWED_NETWORKS.name] = _SIMULATED_NETWORKS
    result = ours | dict(run.overrides)
    if addresses.ca_file is not None:
        # It also contains the user's own authorities.
        result[settings.CA_FILE.name] = str(addresses.ca_file)
    return result


def plan_services(
    run: RunSettings,
    addresses: PartAddresses,
    brokers: tuple[NamedBroker, ...],
    common: Mapping[str, str],
) -> tuple[list[ServicePlan], list[ServicePlan], list[ServicePlan]]:
    """Return (metrics, managers, listeners).

    Their log lines are JSON, for the files; GC_LOG_FORMAT says what the terminal shows.
    """
    common = {**common, settings.LOG_FORMAT.name: "json"}
    # Only the status page has readers elsewhere; the other health ports are picked.
    private = {settings.HTTP_HOST.name: LOOPBACK, settings.HTTP_PORT.name: "0"}
    metrics = ServicePlan(
        "metrics",
        (str(_COMMANDS / "wis2-gc-metrics"),),
        {
            settings.HTTP_HOST.name: run.listen,
            **_known_to("metrics", addresses, common),
            settings.HTTP_PORT.name: str(addresses.status_port),
        },
    )
    managers = [
        ServicePlan(
            f"manager-{number}",
            (str(_COMMANDS / "wis2-gc-manager"),),
            {**common, **private, settings.INSTANCE.name: f"manager-{number}"},
        )
        for number in range(1, run.managers + 1)
    ]
    listeners = [
        ServicePlan(
            f"listener-{broker.name}",
            (str(_COMMANDS / "wis2-gc-listener"),),
            {
                **_known_to("listener", addresses, common),
                **private,
                settings.GLOBAL_BROKER_NAME.name: broker.name,
                settings.GLOBAL_BROKER_URL.name: broker.url,
            },
        )
        for broker in brokers
    ]
    return [metrics], managers, listeners


def _known_to(service: str, addresses: PartAddresses, common: Mapping[str, str]) -> dict[str, str]:
    """Return `common` without the secrets that this service does not need."""
    others = {
        name
        for setting in settings.CATALOGUE
        if setting.is_secret and service not in setting.services
        for name in (setting.name, f"{setting.name}_FILE")
    }
    # Only managers read and write the store.
    others |= {name for name in addresses.store_settings if name.startswith("AWS_")}
    queue = {name: addresses.queue_settings[name] for name in others & {*addresses.queue_settings}}
    return {name: text for name, text in common.items() if name not in others} | queue


def process_environment(plan: ServicePlan, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a service: our settings replace all inherited `GC_…`."""
    kept = {name: text for name, text in inherited.items() if not name.startswith("GC_")}
    return {**kept, **plan.environment, "PYTHONUNBUFFERED": "1"}


def operator_file(common: Mapping[str, str], overrides: Mapping[str, str]) -> str:
    """Return a shell file with the settings, for the operator's command `wis2-gc`.

    It marks the settings that are not the user's own (`overrides`): see `without_chosen`.
    """
    chosen = {name: text for name, text in common.items() if overrides.get(name) != text}
    marker = " ".join(f"{name}={_digest(text)}" for name, text in sorted(chosen.items()))
    lines = (f"{name}={shlex.quote(text)}\n" for name, text in sorted(common.items()))
    return f"{_OPERATOR_FILE_BEGIN}{''.join(lines)}{CHOSEN}={shlex.quote(marker)}\n"


def without_chosen(
    environment: Mapping[str, str], given: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the environment without what an earlier run chose, and the names that are left out.

    A user who reads that run's operator file into a shell has not chosen a Redis of their own. Only
    the file's mark tells: a value without it is the user's, even if an earlier run chose the same.
    So is a value that was changed since, or `given` on make's command line.
    """
    chosen = set(environment.get(CHOSEN, "").split())
    left_out = {
        name
        for name, text in environment.items()
        if f"{name}={_digest(text)}" in chosen and name not in given
    }
    kept = {name: text for name, text in environment.items() if name not in {*left_out, CHOSEN}}
    return kept, tuple(sorted(left_out))


def _digest(text: str) -> str:
    # The file and the environment contain the value itself: the digest reveals nothing more.
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def half_of_memory_mb() -> int:
    """Return what Redis may use, in MB: half of this machine's memory, at most 4096."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(256, min(4096, total // 2 // 2**20))
