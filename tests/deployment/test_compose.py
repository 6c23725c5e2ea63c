"""compose.yaml and its files, read: agreement with `make run` and with the images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from images.lock import ROOT
from local.parts.certificates import CertificateAuthority
from local.parts.mosquitto import CacheBroker, Mosquitto, PublicBroker
from local.parts.nginx import Nginx
from local.parts.redis_server import RedisServer
from wis2_gc_common.settings.catalogue import CATALOGUE

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNNING = {name: service for name, service in SERVICES.items() if name != "setup"}
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / "compose/example.env").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)


def lines(text: str) -> list[str]:
    """Return the lines that say something."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def ours(name: str) -> list[str]:
    return lines((ROOT / "compose" / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


def brokers(directory: Path, authority: CertificateAuthority) -> tuple[CacheBroker, PublicBroker]:
    source = CacheBroker(directory, authority=authority)
    return source, PublicBroker(directory, source=source, authority=authority)


@pytest.mark.parametrize(("file", "index"), [("broker.conf", 0), ("public-broker.conf", 1)])
def test_mosquitto_has_the_limits_of_make_run(
    file: str,
    index: int,
    tmp_path: Path,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker: Mosquitto = brokers(tmp_path, authority)[index]
    monkeypatch.setattr(broker, "_plugin_path", lambda: "/usr/lib/mosquitto_dynamic_security.so")
    monkeypatch.setattr(broker, "_bridge", list)
    # Where it is, as whom it runs and where it writes differ in a container.
    elsewhere = ("user ", "log_dest ", "plugin_opt_config_file ", "persistence_location ",
                 "listener ", "certfile ", "keyfile ", "socket_domain ")  # fmt: skip
    expected = [x for x in lines(broker.configuration()) if not x.startswith(elsewhere)]
    assert len(expected) > 20
    found = [x for x in ours(file) if not x.startswith((*elsewhere, "include_dir "))]
    if broker.limits.outlives_restart is False:
        expected.remove("autosave_interval 30")
    # As sets: there, three listeners have TLS; here nginx has it for the WebSocket.
    assert set(found) == set(expected)
    assert found.count("tls_version tlsv1.2") == 1


def test_redis_is_that_of_make_run(tmp_path: Path) -> None:
    here = ("bind ", "port ", "protected-mode ", "dir ", "logfile ", "maxmemory ", "include ")
    expected = [x for x in lines(RedisServer(tmp_path).configuration()) if not x.startswith(here)]
    assert len(expected) > 10
    assert [x for x in ours("redis.conf") if not x.startswith(here)] == expected


def test_nginx_serves_as_in_make_run(tmp_path: Path, authority: CertificateAuthority) -> None:
    text = Nginx(
        tmp_path, root=tmp_path, connections_per_address=100, authority=authority
    ).configuration()
    found = ours("nginx.conf")
    # What is before the first server: how files are sent, and to how many.
    here = ("daemon ", "user ", "worker_rlimit_nofile ", "pid ", "lock_file ", "error_log ",
            "worker_connections ", "types {", "}")  # fmt: skip
    before = lines(text[: text.index("server {")])
    types = {x for x in before if re.match(r"\w+/[\w.+-]+ ", x)}
    expected = [
        x for x in before if x not in types and not x.startswith(here) and "_temp_path" not in x
    ]
    assert len(expected) > 15
    assert [x for x in expected if x not in found] == []
    for name in ("X-Content-Type-Options", "Content-Security-Policy", "Cache-Control"):
        header = next(x for x in lines(text) if x.startswith(f"add_header {name} "))
        assert header in found
    for text_of_map in ("map $status $cache_control {", "ssl_protocols TLSv1.2 TLSv1.3;"):
        assert text_of_map in found


def test_every_container_is_locked_down() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
    for name, service in RUNNING.items():
        assert "cap_add" not in service, name
        assert service["restart"] == "unless-stopped", name
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["depends_on"]["setup"]["condition"] == "service_completed_successfully"


def test_only_listeners_and_managers_go_out() -> None:
    networks = COMPOSE["networks"]
    closed = {name for name, network in networks.items() if network.get("internal")}
    assert closed == {"registry", "announce", "web"}
    assert networks["front"]["driver_opts"] == {
        "com.docker.network.bridge.enable_ip_masquerade": "false"
    }
    outside = {name for name, service in RUNNING.items() if "outside" in service["networks"]}
    assert outside == {"listener-1", "listener-2", "manager"}
    published = {name for name, service in RUNNING.items() if "ports" in service}
    assert published == {n for n, s in RUNNING.items() if "front" in s["networks"]}
    assert published == {"broker", "public-broker", "nginx"}


def test_no_secret_is_in_an_environment() -> None:
    secret = {setting.name for setting in CATALOGUE if setting.is_secret}
    for name, service in RUNNING.items():
        given = secret & service.get("environment", {}).keys()
        # Global Brokers' is the world's; another one: GC_GLOBAL_BROKER_URL_FILE.
        assert given <= {"GC_GLOBAL_BROKER_URL"}, name


def test_every_setting_is_one_and_the_example_has_what_is_asked_for() -> None:
    known = {setting.name for setting in CATALOGUE}
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith("GC_"):
                assert name.removesuffix("_FILE") in known
    text = (ROOT / "compose.yaml").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert len(asked) > 5
    assert asked <= EXAMPLE.keys()
    named = set(re.findall(r"\$\{(\w+)", text))
    assert {n for n in EXAMPLE if not n.startswith("GC_")} <= named


def test_images_of_others_are_those_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "helm/wis2-global-cache/values.yaml").read_text("utf-8"))
    text = (ROOT / "compose.yaml").read_text("utf-8")
    assert values["redis"]["image"] in text
    assert values["store"]["server"]["image"] in text
    assert values["broker"]["mosquitto"]["image"] in text
