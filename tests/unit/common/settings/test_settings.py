from __future__ import annotations

import ipaddress
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wis2_gc_listener.settings
import wis2_gc_manager.settings
import wis2_gc_metrics.settings
import wis2_gc_operator.settings
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.catalogue import ALL, CATALOGUE, Setting
from wis2_gc_common.settings.parsers import parse_broker_url
from wis2_gc_common.settings.reader import (
    CommonSettings,
    Reader,
    blamed_on,
    start_logs,
    unknown_settings,
)
from wis2_gc_common.settings.values import BrokerUrl, QueueUrl, Secret, StoreUrl

if TYPE_CHECKING:
    from collections.abc import Callable

THIS_FILE = str(Path(__file__))
READ: dict[str, Callable[[Reader], object]] = {
    "listener": wis2_gc_listener.settings.read_settings,
    "manager": wis2_gc_manager.settings.read_settings,
    "metrics": wis2_gc_metrics.settings.read_settings,
    "operator": wis2_gc_operator.settings.read_settings,
}

#: For every setting: texts that are right, with their value, and texts that are wrong.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "GC_CENTRE_ID": (
        {
            "xx-test-global-cache": "xx-test-global-cache",
            "xx-name-global-cache-test": "xx-name-global-cache-test",
        },
        [
            "xx-test",
            "xx-name-global-cache-tests",
            "xx-name-global-cache-",
            "XX-test-global-cache",
            "xx test-global-cache",
            "xx-test-global-cache\n",
        ],
    ),
    "GC_REDIS_URL": (
        {
            "redis://localhost": "redis://localhost",
            "rediss://u:p%40ss@host:6380/0": "rediss://u:p%40ss@host:6380/0",
            "redis://host/": "redis://host/",
            "redis://host:6379/12": "redis://host:6379/12",
            "unix:///run/redis.sock": "unix:///run/redis.sock",
        },
        [
            "localhost:6379",
            "redis://",
            "http://host",
            "redis://host:port",
            "redis://[::1",
            "redis://host:6379/registry",
            "redis://host:6379/0x1",
            "redis://host:6379/-1",
            "redis://host:6379/1/2",
            "redis://u:12#34@host",
            "redis://u:12/34@host",
            "redis://u:12?34@host",
            "redis://u:1 2@host",
        ],
    ),
    "GC_QUEUE_URL": (
        {
            "redis-stream:notifications": QueueUrl("redis-stream", "notifications"),
            "https://sqs.eu-central-1.amazonaws.com/1/queue": QueueUrl(
                "sqs", "https://sqs.eu-central-1.amazonaws.com/1/queue"
            ),
        },
        [
            "notifications",
            "redis-stream:",
            "redis-stream:a b",
            "redis-stream:{x}",
            "redis-stream:é",
            "https://host",
            "ftp://host/queue",
        ],
    ),
    "GC_DEAD_LETTER_QUEUE_URL": (
        {"redis-stream:dead": QueueUrl("redis-stream", "dead")},
        ["redis-stream:a/b", "sqs"],
    ),
    "GC_STORE_URL": (
        {
            "file:///var/lib/gc": StoreUrl("file", "/var/lib/gc"),
            "file:///a%20b": StoreUrl("file", "/a b"),
            "s3://bucket": StoreUrl("s3", "bucket"),
            "s3://bucket/a/b/": StoreUrl("s3", "bucket", "a/b"),
        },
        [
            "/var/lib/gc",
            "file://var/lib/gc",
            "file:var",
            "file:///a#b",
            "file:///a?b",
            "s3://",
            "s3://Bucket",
            "s3://key:secret@bucket",
            "s3:///prefix",
            "https://bucket",
        ],
    ),
    "GC_DATA_BASE_URL": (
        {
            "https://data.example.org": "https://data.example.org",
            "http://localhost:8080/gc/": "http://localhost:8080/gc",
        },
        [
            "data.example.org",
            "ftp://data.example.org",
            "https://",
            "https://host?x=1",
            "https://host/#x",
            "https://user@host",
            "https://host:99999",
            "https://ho st",
        ],
    ),
    "GC_LOCAL_BROKER_URL": (
        {"mqtt://gc:pw@localhost:1883": BrokerUrl("mqtt", "localhost", 1883, "gc", Secret("pw"))},
        ["localhost", "amqp://localhost", "mqtt://", "mqtt://host:no"],
    ),
    "GC_DEPLOYMENT_SECRET": (
        {"sixteen letters.": "sixteen letters."},
        ["fifteen letters"],
    ),
    "GC_GLOBAL_BROKER_URL": (
        {
            "mqtts://everyone:everyone@gb.example.org": BrokerUrl(
                "mqtts", "gb.example.org", 8883, "everyone", Secret("everyone")
            ),
            "wss://u:p%2F%23%40@gb.example.org/ws": BrokerUrl(
                "wss", "gb.example.org", 443, "u", Secret("p/#@"), "/ws"
            ),
            "ws://gb.example.org:9001": BrokerUrl("ws", "gb.example.org", 9001, None, None),
        },
        [
            "gb.example.org",
            "mqtts://",
            "mqtts://everyone:12#34@gb.example.org:8883",
            "mqtts://everyone:12/34@gb.example.org:8883",
            "mqtts://everyone:12?34@gb.example.org:8883",
            "wss://gb.example.org/mqtt?token=x",
        ],
    ),
    "GC_GLOBAL_BROKER_NAME": ({"fr": "fr", "GB_1-x": "GB_1-x"}, ["a b", "a|b", "é", "x" * 33]),
    "GC_MQTT_VERSION": ({"5": "5", "3.1.1": "3.1.1"}, ["4", "3.1", "mqtt5"]),
    "GC_TOPICS": (
        {
            "cache/a/wis2/#": ("cache/a/wis2/#",),
            " a/+/b , c/# ": ("a/+/b", "c/#"),
        },
        [",", "a/#/b", "a#", "#/#", "a/b+/c"],
    ),
    "GC_EXPECTED_BROKERS": ({"fr, br": ("fr", "br")}, ["fr,a b"]),
    "GC_KUBERNETES_RELEASE": (
        {"wis2": "wis2", "a-1": "a-1"},
        ["Wis2", "a_b", "-a", "a-", "a,b=c", "a.b", "x" * 54],
    ),
    "GC_KUBERNETES_API_URL": (
        {
            "https://kubernetes.default.svc": "https://kubernetes.default.svc",
            "https://[fd00::1]:6443/": "https://[fd00::1]:6443",
        },
        [
            "kubernetes.default.svc",
            "http://kubernetes.default.svc",
            "https://",
            "https://host/api",
            "https://host?x=1",
            "https://user@host",
        ],
    ),
    "GC_KUBERNETES_CREDENTIALS": (
        {"/var/run/secrets/x": Path("/var/run/secrets/x")},
        ["secrets", "./secrets"],
    ),
    "GC_CA_FILE": ({THIS_FILE: Path(THIS_FILE)}, ["/nothing/here.pem", "/"]),
    "GC_KNOWN_CENTRES_FILE": ({THIS_FILE: Path(THIS_FILE)}, ["/nothing/here.csv", "/"]),
    "GC_ALLOWED_NETWORKS": (
        {
            "127.0.0.0/8, fd00::/8": (
                ipaddress.ip_network("127.0.0.0/8"),
                ipaddress.ip_network("fd00::/8"),
            ),
            "10.1.2.3": (ipaddress.ip_network("10.1.2.3/32"),),
        },
        ["localhost", "10.0.0.1/8", "10.0.0.0/33"],
    ),
    "GC_DENIED_NETWORKS": (
        {
            "141.38.0.0/16, 2001:db8::/32": (
                ipaddress.ip_network("141.38.0.0/16"),
                ipaddress.ip_network("2001:db8::/32"),
            ),
        },
        ["localhost", "10.0.0.1/8"],
    ),
    "GC_ALLOWED_PORTS": (
        {"81, 990": (81, 990), "25": (25,)},
        ["0", "65536", "-1", "http", "80-90", "1.5"],
    ),
    "GC_MAX_OBJECT_BYTES": ({"1": 1, "1000000": 1_000_000}, ["0", "-1", "1GB", "1.5", "9" * 30]),
    "GC_CENTRE_MAX_ITEMS": ({"0": 0, "1000000": 1_000_000}, ["-1", "1e6", "half"]),
    "GC_CENTRE_MAX_BYTES": ({"0": 0, "1000000": 1_000_000}, ["-1", "1GB", "9" * 30]),
    "GC_ADD_LENGTH": ({"true": True, "False": False}, ["on", "1"]),
    "GC_ADD_INTEGRITY": ({"true": True, "false": False}, ["yes", "0"]),
    "GC_STORE_EXPIRATION_DAYS": ({"1": 1, "31": 31}, ["0", "32", "1.5"]),
    "GC_RETENTION_HOURS": ({"24": 24, "48": 48}, ["0", "745", "a day"]),
    "GC_REPEAT_WINDOW_HOURS": ({"0": 0, "12": 12}, ["-1", "745", "half a day"]),
    "GC_CONCURRENCY": ({"1": 1}, ["0", "10001"]),
    "GC_CONCURRENCY_PER_HOST": ({"1000": 1000}, ["0", "1001"]),
    "GC_CONNECT_TIMEOUT": ({"0.5": 0.5}, ["0", "301", "nan", "inf", "10s"]),
    "GC_IDLE_TIMEOUT": ({"600": 600.0}, ["0", "601"]),
    "GC_DOWNLOAD_TIMEOUT": ({"1": 1.0}, ["0.5", "7201"]),
    "GC_PUBLIC_CHECK_INTERVAL": ({"0": 0.0, "0.5": 0.5}, ["-1", "3601", "never"]),
    "GC_HEDGE_DELAY": ({"0": 0.0}, ["-1", "301"]),
    "GC_QUICK_RETRY_DELAY": ({"0": 0.0, "1.5": 1.5}, ["-1", "61"]),
    "GC_RETRY_DELAYS": (
        {"1": (1.0,), "0.5, 2,": (0.5, 2.0), " ": ()},
        ["-1", "1,never", "1;2", "86401"],
    ),
    "GC_VISIBILITY_TIMEOUT": ({"0.5": 0.5}, ["0", "43201"]),
    "GC_DRAIN_TIMEOUT": ({"0": 0.0}, ["-1", "3601"]),
    "GC_INSTANCE": (
        {"manager-1": "manager-1", "p.q:1_2": "p.q:1_2"},
        ["a b", "a|b", "é", "x" * 254],
    ),
    "GC_SILENCE_TIMEOUT": ({"0": 0.0, "300": 300.0}, ["-1", "86401", "5m"]),
    "GC_MAX_QUEUE_LENGTH": ({"100": 100}, ["99", "many"]),
    "GC_CENTRE_RATE": ({"1": 1, "50": 50}, ["0", "0.5", "many"]),
    "GC_CENTRE_BURST": ({"1": 1}, ["0", "1000001", "many"]),
    "GC_HTTP_HOST": (
        {"127.0.0.1": "127.0.0.1", "::1": "::1", "localhost": "localhost"},
        ["http://localhost", "[::1]", "a b"],
    ),
    "GC_HTTP_PORT": ({"0": 0, "65535": 65_535}, ["-1", "65536", "http"]),
    **dict.fromkeys(
        (
            "GC_EVENT_FAILURE_TYPE",
            "GC_EVENT_FAILURE_SUBTYPE",
            "GC_EVENT_OVERRIDE_TYPE",
            "GC_EVENT_OVERRIDE_SUBTYPE",
        ),
        (
            {"int.wmo.wis.wme.event.item.cache": "int.wmo.wis.wme.event.item.cache"},
            ["int.wmo.wis wme", "a|b", "a/b", "é", "a\n", "x" * 251],
        ),
    ),
    "GC_EVENT_OVERRIDE_TITLE": (
        {"Data granule not cached": "Data granule not cached", "é": "é"},
        [" ", "two\nlines", "x" * 251],
    ),
    "GC_EVENT_DATASCHEMA": (
        {"https://schemas.test/a.json?b=c": "https://schemas.test/a.json?b=c"},
        [
            "urn:x",
            "https:///a.json",
            "https://user:secret@schemas.test/a",
            "https://schemas.test/a#b",
            "https://schemas.test/" + "x" * 1000,
        ],
    ),
    "GC_LOG_LEVEL": ({"debug": "debug", "WARNING": "warning"}, ["trace"]),
    "GC_LOG_FORMAT": ({"json": "json", "Console": "console"}, ["xml"]),
}

SETTINGS = {setting.name: setting for setting in CATALOGUE}
GOOD = [(name, text, value) for name, (good, _) in CASES.items() for text, value in good.items()]
WRONG = [(name, text) for name, (_, wrong) in CASES.items() for text in wrong]
SECRETS = [setting.name for setting in CATALOGUE if setting.is_secret]


def problem(environment: dict[str, str], setting: Setting[Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        Reader(environment)(setting)
    line = str(caught.value)
    assert line.startswith(f"{caught.value.variable}: ")
    assert line.isprintable(), "one line"
    return line


def test_every_setting_has_cases_here() -> None:
    assert CASES.keys() == SETTINGS.keys()
    assert all(wrong for _, wrong in CASES.values())


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_right_value_is_read(name: str, text: str, value: object) -> None:
    read = Reader({name: text})(SETTINGS[name])
    assert read == value
    assert type(read) is type(value) or isinstance(read, Secret)


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, text: str) -> None:
    line = problem({name: text}, SETTINGS[name])
    assert line.startswith(f"{name}: ")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_set", [False, True], ids=["missing", "empty"])
def test_without_a_value_the_default_counts_or_the_variable_is_named(
    name: str, is_set: bool
) -> None:
    environment = {name: ""} if is_set else {}
    setting = SETTINGS[name]
    if setting.is_required:
        line = problem(environment, setting)
        assert line.startswith(f"{name}: is not set. ")
        assert setting.meaning in line
    elif setting.default is None:
        assert Reader(environment)(setting, absent=None) is None
    else:
        assert Reader(environment)(setting) == setting.parse(setting.default)


@pytest.mark.parametrize("name", [name for name, s in SETTINGS.items() if not s.is_required])
def test_a_setting_that_may_be_left_out_has_a_default_that_is_right(name: str) -> None:
    setting = SETTINGS[name]
    if setting.default is not None:
        setting.parse(setting.default)


def test_the_documented_defaults_are_these() -> None:
    read = Reader({})
    assert read(settings.TOPICS) == ("origin/a/wis2/#", "cache/a/wis2/#")
    assert read(settings.RETENTION_HOURS) >= 24
    assert read(settings.ALLOWED_NETWORKS) == ()
    assert read(settings.EXPECTED_BROKERS) == ()
    assert read(settings.QUEUE_URL) == QueueUrl("redis-stream", "notifications")


def test_names_are_unique_and_belong_to_known_services() -> None:
    assert len(SETTINGS) == len(CATALOGUE)
    for setting in CATALOGUE:
        assert setting.name.startswith("GC_")
        assert setting.services
        assert set(setting.services) <= set(ALL)
        assert setting.meaning.endswith(".")


class Recorder(Reader):
    """Notes which settings are read."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__(environment)
        self.names: set[str] = set()

    def _text(self, setting: Setting[Any]) -> str | None:
        self.names.add(setting.name)
        return super()._text(setting)


@pytest.mark.parametrize("service", READ)
def test_a_service_reads_the_settings_that_name_it_and_no_others(service: str) -> None:
    read = Recorder({name: next(iter(good)) for name, (good, _) in CASES.items()})
    READ[service](read)
    assert read.names == {s.name for s in CATALOGUE if service in s.services}


# Secrets


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, text in WRONG if name in SECRETS]
)
def test_a_wrong_secret_is_not_shown(name: str, text: str) -> None:
    line = problem({name: text}, SETTINGS[name])
    assert text not in line
    for piece in ("12", "34", "everyone"):
        assert piece not in line


@pytest.mark.parametrize("name", ["GC_DATA_BASE_URL", "GC_STORE_URL", "GC_QUEUE_URL"])
def test_a_password_where_none_belongs_is_not_shown_either(name: str) -> None:
    assert "hunter2" not in problem({name: "ftp://user:hunter2@host/x"}, SETTINGS[name])


def test_a_long_wrong_value_is_cut() -> None:
    assert len(problem({"GC_LOG_LEVEL": "x" * 9000}, settings.LOG_LEVEL)) < 400


def test_passwords_do_not_show_in_what_was_read() -> None:
    broker = parse_broker_url("mqtts://user:hunter2@host")
    redis_url = Reader({"GC_REDIS_URL": "redis://:hunter2@host"})(settings.REDIS_URL)
    common = Reader(
        {"GC_CENTRE_ID": "xx-global-cache", "GC_REDIS_URL": "redis://:hunter2@host"}
    ).into(CommonSettings)
    for shown in (repr(broker), str(broker), repr(redis_url), repr(common), f"{common}"):
        assert "hunter2" not in shown
    assert broker.password == "hunter2"
    assert common.redis_url == "redis://:hunter2@host"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    text, value = next(iter(CASES[name][0].items()))
    path = tmp_path / "secret"
    path.write_text(f"{text}\n")
    assert Reader({f"{name}_FILE": str(path)})(SETTINGS[name]) == value


def test_a_secret_both_ways_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("redis://a")
    environment = {"GC_REDIS_URL": "redis://b", "GC_REDIS_URL_FILE": str(path)}
    assert "GC_REDIS_URL_FILE" in problem(environment, settings.REDIS_URL)


def test_a_secrets_file_that_cannot_be_read_is_named_and_nothing_of_it_shown(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret"
    missing = problem({"GC_REDIS_URL_FILE": str(path)}, settings.REDIS_URL)
    assert missing.endswith(f"{path} cannot be read: no such file or directory")
    path.write_bytes(b"hunter2\xff")
    assert problem({"GC_REDIS_URL_FILE": str(path)}, settings.REDIS_URL).endswith("is not a text")


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_secret_file_that_gives_nothing_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    line = problem({"GC_REDIS_URL_FILE": str(path)}, settings.REDIS_URL)
    assert line.startswith("GC_REDIS_URL_FILE: ")
    assert str(path) in line or content == b"\xff\xfe"


def test_a_wrong_secret_in_a_file_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("http://user:hunter2@host")
    line = problem({"GC_REDIS_URL_FILE": str(path)}, settings.REDIS_URL)
    assert "hunter2" not in line


def test_what_is_not_a_secret_has_no_file_form(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("1")
    assert Reader({"GC_HTTP_PORT_FILE": str(path)})(settings.HTTP_PORT) == 8080


# What is read


def test_variables_that_no_service_reads_are_named() -> None:
    environment = {
        **dict.fromkeys(SETTINGS, "x"),
        **dict.fromkeys((f"{name}_FILE" for name in SECRETS), "x"),
        "GC_RETENTION_HOUR": "48",
        "GC_CENTRE_ID_FILE": "/a/file",
        "GC_EMPTY": "",
        "HOME": "/root",
        "gc_topics": "x",
    }
    assert unknown_settings(environment) == ["GC_CENTRE_ID_FILE", "GC_RETENTION_HOUR"]


def test_the_process_environment_is_read_when_no_other_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(os.environ, "GC_HTTP_PORT", "4711")
    assert Reader()(settings.HTTP_PORT) == 4711


def test_the_logs_begin_with_the_variables_that_no_service_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setenv("GC_RETENTION_HOUR", "24")
    common = Reader(
        {
            "GC_CENTRE_ID": "xx-test-global-cache",
            "GC_REDIS_URL": "redis://h",
            "GC_LOG_FORMAT": "json",
        }
    ).into(CommonSettings)
    start_logs(common, "listener")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["service"]) == ("unknown_settings", "listener")
    assert line["variables"] == ["GC_RETENTION_HOUR"]


def test_an_error_of_the_system_is_blamed_on_a_setting(tmp_path: Path) -> None:
    problem = "^GC_CA_FILE: holds no certificates: no such file or directory$"
    with (
        pytest.raises(SettingsError, match=problem),
        blamed_on("GC_CA_FILE", "holds no certificates"),
    ):
        (tmp_path / "none").open()


def test_what_all_services_share_is_read_at_once() -> None:
    common = Reader({"GC_CENTRE_ID": "xx-global-cache", "GC_REDIS_URL": "redis://localhost"}).into(
        CommonSettings
    )
    assert common.centre_id == "xx-global-cache"
    assert common.http_port == 8080
    assert common.log_level == "info"


@pytest.mark.parametrize(
    ("url", "is_tls", "is_websocket"),
    [
        ("mqtt://host", False, False),
        ("mqtts://host", True, False),
        ("ws://host", False, True),
        ("wss://host", True, True),
    ],
)
def test_a_broker_url_says_how_to_connect(url: str, is_tls: bool, is_websocket: bool) -> None:
    broker = parse_broker_url(url)
    assert (broker.is_tls, broker.is_websocket) == (is_tls, is_websocket)
    assert broker.path == "/mqtt"
