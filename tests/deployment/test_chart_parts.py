"""What the chart configures that is not ours: nginx, Redis, EMQX, Prometheus, Grafana.

nginx and Redis are run with the very text that is in the ConfigMaps. There is no EMQX here: of its
configuration only what can be computed is tested.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import helm_python
import pytest
import redis
import yaml

from local.parts.local_server import current_user
from local.parts.ports import free_port
from testkit.deployment import chart
from testkit.servers.server_process import wait_for_port
from wis2_gc_common import metrics as metrics_catalogue
from wis2_gc_common.wis2.topic import MAX_LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = chart.cases()
DEADLINE_S = 60.0
#: After which a network load balancer forgets a TCP connection without traffic, by default.
AWS_IDLE_S = 350


def _config(case: str, component: str) -> dict[str, str]:
    objects = chart.objects(CASES[case])
    data: dict[str, str] = objects[("ConfigMap", f"wis2-{component}")]["data"]
    return data


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(DEADLINE_S)


# nginx


@pytest.fixture(params=["on-premises", "in-cluster"])
def web_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, str]]:
    """nginx with the chart's configuration: (port, path of the objects)."""
    data = _config(request.param, "store")
    values = CASES[request.param]
    root = values["store"]["url"].removeprefix("file://")
    (tmp_path / "data" / "2026-08-01" / "05").mkdir(parents=True)
    (tmp_path / "data" / "2026-08-01" / "05" / "a.bufr4").write_bytes(b"BUFR")
    (tmp_path / "data" / "2026-08-01" / "05" / "page.html.~bin").write_bytes(b"<script>")
    (tmp_path / "data" / ".incoming").mkdir()
    (tmp_path / "data" / ".incoming" / "x").write_bytes(b"half")
    port = free_port()
    text = (
        data["nginx.conf"]
        .replace("/tmp/", f"{tmp_path}/")
        .replace("/etc/nginx/wis2/", f"{tmp_path}/")
        .replace(f'root "{root}"', f'root "{tmp_path}/data"')
        .replace("listen 8080", f"listen 127.0.0.1:{port}")
        .replace("/dev/stderr", f"{tmp_path}/error.log")
    )
    assert str(tmp_path) in text
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    (tmp_path / "types.conf").write_text(data["types.conf"])
    # Workers of another user could not look into pytest's folder.
    user = f"user {current_user()};" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(f"{user}\n{text}")
    command = ["nginx", "-e", f"{tmp_path}/error.log", "-c", f"{tmp_path}/nginx.conf"]
    process = subprocess.Popen([*command, "-g", "daemon off;"], cwd=tmp_path)
    try:
        wait_for_port(port, process, timeout_s=DEADLINE_S)
        yield port, urlsplit(values["store"]["dataBaseUrl"]).path
    finally:
        _stop(process)


def _ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_nginx_limits_the_downloads_of_an_address_and_only_proxies_tell_it() -> None:
    text = _config("on-premises", "store")["nginx.conf"]
    assert "limit_conn addresses 100;" in text
    assert "set_real_ip_from 10.0.0.0/8;" in text
    assert "real_ip_header X-Forwarded-For;" in text


def test_nginx_serves_the_objects_and_nothing_else(web_server: tuple[int, str]) -> None:
    port, path = web_server
    status, headers, body = _ask(port, f"{path}/2026-08-01/05/a.bufr4")
    assert (status, body) == (200, b"BUFR")
    assert headers["content-type"] == "application/bufr"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "public, max-age=86400, immutable"

    # An object that is not a page by its own media type stays so.
    assert _ask(port, f"{path}/2026-08-01/05/page.html")[1]["content-type"] == (
        "application/octet-stream"
    )
    assert _ask(port, f"{path}/.incoming/x")[0] == 404
    assert _ask(port, f"{path}/2026-08-01/05/")[0] == 404
    assert _ask(port, f"{path}/2026-08-01/05/a.bufr4", "DELETE")[0] == 405
    assert _ask(port, f"{path}/none")[1]["cache-control"] == "no-store"
    assert _ask(port, "/healthz")[0] == 200
    assert _ask(port, "/healthz")[2] == b"ok\n"


# Redis


def test_redis_requires_the_password_of_the_secret_and_forgets_nothing(tmp_path: Path) -> None:
    data = _config("on-premises", "redis")
    port = free_port()
    password = 'p"a ss#$word'.replace('"', "")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "password").write_text(password)
    here = {
        "/run/secrets/registry": f"{tmp_path}/secret",
        "/run/redis": str(tmp_path),
        "/etc/redis": str(tmp_path),
        "dir /data": f"dir {tmp_path}",
        "port 6379": f"port {port}",
        "bind * -::*": "bind 127.0.0.1",
        "valkey-server": shutil.which("redis-server") or "redis-server",
        "valkey-cli -h 127.0.0.1": f"redis-cli -p {port}",
    }
    for name, text in data.items():
        for old, new in here.items():
            text = text.replace(old, new)  # noqa: PLW2901 - one after the other
        (tmp_path / name).write_text(text)
    process = subprocess.Popen(["sh", str(tmp_path / "start.sh")], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, process, timeout_s=DEADLINE_S)
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis(port=port, password=password) as client:
            assert client.ping()
            config: Any = client.config_get("*")
            assert config["appendonly"] == "yes"
            assert config["maxmemory-policy"] == "noeviction"
            assert int(config["maxmemory"]) == 2**30
        assert subprocess.run(["sh", str(tmp_path / "ready.sh")], check=False).returncode == 0
        (tmp_path / "secret" / "password").write_text("wrong")
        assert subprocess.run(["sh", str(tmp_path / "ready.sh")], check=False).returncode != 0
        assert (tmp_path / "password.conf").stat().st_mode & 0o077 == 0
        # The shell has become the server: it is what gets SIGTERM.
        assert b"redis-server" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        _stop(process)


# EMQX

SECRET = {
    "password": "p/w@with:signs",
    "deploymentSecret": "what never changes",
    "publisherPassword": "a long/one@with:odd#signs",
    "dashboardPassword": "dash",
    "account-gb-fr": "a password/of@fr",
    "account-gb-br": "a password of br",
}


def _secret_made_by_external_secrets(tmp_path: Path, name: str = "wis2-broker") -> dict[str, str]:
    """Return a secret's texts: External Secrets uses the same template functions as Helm."""
    objects = chart.objects(CASES["prod"])
    templates = objects[("ExternalSecret", name)]["spec"]["target"]["template"]["data"]
    directory = tmp_path / "chart"
    (directory / "templates").mkdir(parents=True)
    (directory / "Chart.yaml").write_text("{apiVersion: v2, name: x, version: 1.0.0}")
    for key, text in templates.items():
        (directory / "templates" / f"{key}.txt").write_text(
            f"{{{{ with .Values }}}}{text}{{{{ end }}}}"
        )
    with helm_python.Chart.load(directory) as loaded:
        rendered = loaded.render(SECRET, name="x")
    return {path.rpartition("/")[2].removesuffix(".txt"): text for path, text in rendered.items()}


def test_the_accounts_made_by_external_secrets_are_the_ones_that_log_in(tmp_path: Path) -> None:
    secret = _secret_made_by_external_secrets(tmp_path)
    url = urlsplit(secret["url"].strip())
    rows = list(csv.DictReader(io.StringIO(secret["users.csv"].strip())))

    assert (url.hostname, url.port) == ("wis2-broker", 1883)
    assert SECRET["deploymentSecret"] not in json.dumps(secret)
    assert [row["user_id"] for row in rows] == [url.username, "everyone", "gb-fr", "gb-br"]
    passwords = [unquote(url.password or "").replace("+", " "), "everyone"]
    passwords += [SECRET["account-gb-fr"], SECRET["account-gb-br"]]
    assert passwords[0] == SECRET["publisherPassword"]
    for row, password in zip(rows, passwords, strict=True):
        salted = f"{password}{row['salt']}".encode()
        assert row["password_hash"] == hashlib.sha256(salted).hexdigest()
        assert row["is_superuser"] == "false"
    assert len({row["salt"] for row in rows}) == 4
    assert not [text for text in SECRET.values() if text in secret["users.csv"]]


def test_the_registrys_url_made_by_external_secrets_is_whole(tmp_path: Path) -> None:
    secret = _secret_made_by_external_secrets(tmp_path, "wis2-registry")
    url = urlsplit(secret["url"].strip())
    assert url.scheme == "rediss"
    assert (url.username, unquote(url.password or "")) == ("cache", SECRET["password"])
    assert url.hostname == "master.wis2-gc.abcdef.euc1.cache.amazonaws.com"
    assert secret["password"].strip() == SECRET["password"]


def test_a_new_password_makes_a_new_publisher(tmp_path: Path, monkeypatch: Any) -> None:
    # EMQX keeps the accounts it knows: the same name with another password would never get in.
    first = urlsplit(_secret_made_by_external_secrets(tmp_path / "a")["url"]).username
    monkeypatch.setitem(SECRET, "publisherPassword", "another")
    second = urlsplit(_secret_made_by_external_secrets(tmp_path / "b")["url"]).username
    assert first != second


def test_renewed_passwords_leave_the_cookie_of_the_nodes_as_it_is(
    tmp_path: Path, monkeypatch: Any
) -> None:
    # A node with another cookie would never find the others: the update waits for it for ever.
    first = _secret_made_by_external_secrets(tmp_path / "a")["node-cookie"]
    for renewed in ("publisherPassword", "dashboardPassword", "account-gb-fr", "nodeCookie"):
        monkeypatch.setitem(SECRET, renewed, "another")
    assert _secret_made_by_external_secrets(tmp_path / "b")["node-cookie"] == first
    monkeypatch.setitem(SECRET, "deploymentSecret", "another")
    assert _secret_made_by_external_secrets(tmp_path / "c")["node-cookie"] != first
    assert len(first) >= 32


def test_the_command_in_the_readme_makes_the_same_accounts() -> None:
    readme = (chart.CHART / "README.md").read_text("utf-8")
    command = next(line for line in readme.splitlines() if line.startswith("account() {"))
    result = subprocess.run(
        ["sh", "-c", f"{command}\naccount publisher-01234567 'a secret'"],
        capture_output=True,
        text=True,
        check=True,
    )
    name, digest, salt, is_superuser = result.stdout.strip().split(",")
    assert (name, is_superuser) == ("publisher-01234567", "false")
    assert len(salt) == 16
    assert digest == hashlib.sha256(f"a secret{salt}".encode()).hexdigest()


@pytest.mark.parametrize("case", ["prod", "on-premises"])
def test_only_publishers_may_publish(case: str) -> None:
    rules = [line for line in _config(case, "broker")["acl.conf"].splitlines() if line[0] == "{"]
    pattern = re.search(r'\{re, "([^"]+)"\}', rules[0])
    assert pattern is not None
    assert re.search(pattern[1], "publisher-0123abcd")
    for other in ("everyone", "publisherx", "xpublisher", "publisher-", "publisher\n"):
        assert not re.search(pattern[1].replace("$", r"\Z"), other)
    assert rules[0].startswith("{allow, {username")
    assert rules[-2:] == [
        '{allow, all, subscribe, ["cache/a/wis2/#", "monitor/a/wis2/#"]}.',
        "{deny, all}.",
    ]
    assert not any(" publish," in rule or ", all, [" in rule for rule in rules[1:])


def _listeners(text: str) -> dict[str, str]:
    found = re.findall(r"^listeners\.(\w+\.\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("case", ["dev", "prod", "on-premises", "in-cluster"])
def test_a_session_at_emqx_belongs_to_an_account(case: str) -> None:
    text = _config(case, "broker")["emqx.conf"]
    expressions = re.findall(r'clientid_override = "(.*)"', text)
    assert expressions[0] == "concat([username, ':', clientid])"
    for expression in expressions:
        assert expression.endswith("username, ':', clientid])")


@pytest.mark.parametrize("case", ["dev", "prod", "on-premises", "in-cluster"])
def test_what_the_public_leaves_behind_at_emqx_is_little(case: str) -> None:
    text = _config(case, "broker")["emqx.conf"]
    public = re.search(r"^zones\.public \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert public is not None
    assert "max_mqueue_len = 1000\n" in public[1]
    assert "session_expiry_interval = 10m\n" in public[1]
    for name, body in _listeners(text).items():
        zone = re.search(r"zone = (\w+)", body)
        expected = {"tcp.default": None, "tcp.accounts": "accounts", "ssl.accounts": "accounts"}
        assert (zone[1] if zone else None) == expected.get(name, "public"), name
        assert "max_connections = " in body
        assert "max_conn_rate = " in body or name == "tcp.default"


@pytest.mark.parametrize(
    ("case", "listener", "port"), [("prod", "tcp", 18884), ("in-cluster", "ssl", 8884)]
)
def test_a_port_with_long_sessions_is_for_the_accounts_of_global_brokers(
    case: str, listener: str, port: int
) -> None:
    config = _config(case, "broker")
    body = _listeners(config["emqx.conf"])[f"{listener}.accounts"]
    assert f'bind = "0.0.0.0:{port}"' in body
    zone = re.search(
        r"^zones\.accounts\.mqtt \{(.*?)^\}", config["emqx.conf"], re.MULTILINE | re.DOTALL
    )
    assert zone is not None
    assert "clientid_override = \"concat(['accounts:', username, ':', clientid])\"" in zone[1]
    rules = [line for line in config["acl.conf"].splitlines() if line[0] == "{"]
    names = "|".join(account["name"] for account in CASES[case]["broker"]["accounts"])
    who = f'{{\'and\', [{{username, {{re, "^({names})$"}}}}, {{clientid, {{re, "^accounts:"}}}}]}}'
    assert rules[1] == f'{{allow, {who}, subscribe, ["cache/a/wis2/#", "monitor/a/wis2/#"]}}.'
    assert rules[2] == '{deny, {clientid, {re, "^accounts:"}}, all, all}.'

    objects = chart.objects(CASES[case])
    service = objects[("Service", "wis2-broker-public")]
    assert {p["port"] for p in service["spec"]["ports"]} == {8883, 443, 8884}
    container = objects[("StatefulSet", "wis2-broker")]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "accounts", "containerPort": port} in container["ports"]
    policy = objects[("NetworkPolicy", "wis2-broker")]
    assert {"protocol": "TCP", "port": port} in policy["spec"]["ingress"][0]["ports"]


def test_without_accounts_their_port_is_closed() -> None:
    text = chart.render(CASES["on-premises"])
    assert "8884" not in "".join(text.values())


@pytest.mark.parametrize("case", ["dev", "prod", "on-premises", "in-cluster"])
def test_emqx_lets_nobody_in_without_an_account(case: str) -> None:
    text = _config(case, "broker")["emqx.conf"]
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    assert "no_match = deny" in text
    listeners = _listeners(text)
    assert set(listeners) - {"tcp.accounts", "ssl.accounts"} in (
        {"tcp.default", "tcp.public", "ws.default"},
        {"tcp.default", "ssl.default", "wss.default"},
    )
    for body in listeners.values():
        assert "enable_authn = quick_deny_anonymous" in body
    # EMQX opens these by itself unless they are named.
    for name in ("tcp.default", "ssl.default", "ws.default", "wss.default"):
        assert f"listeners.{name} {{" in text or f"listeners.{name}.enable = false" in text


@pytest.mark.parametrize("case", ["dev", "prod", "in-cluster"])
def test_no_client_is_silent_for_as_long_as_the_load_balancer_remembers_it(case: str) -> None:
    text = _config(case, "broker")["emqx.conf"]
    # MQTT 5; the managers, who pass no load balancer, keep their own.
    zones = re.findall(r"^zones\.(\w+).*?^\}", text, re.MULTILINE | re.DOTALL)
    keepalives = re.findall(r"^ +server_keepalive = (\d+)$", text, re.MULTILINE)
    assert zones == ["public", "accounts"]
    assert [int(k) for k in keepalives] == [120, 120]
    # EMQX closes after 1.5 times that.
    assert all(1.5 * int(k) < AWS_IDLE_S for k in keepalives)
    for name, body in _listeners(text).items():
        probed = re.search(r'tcp_options.keepalive = "(\d+),(\d+),(\d+)"', body)
        # EMQX does it for TCP and TLS, not for WebSocket.
        assert bool(probed) == (name != "tcp.default" and not name.startswith("ws")), name
        if probed:
            assert int(probed[1]) < AWS_IDLE_S


@pytest.mark.parametrize("messages", [1000, 50_000, 10_000_000])
def test_emqx_ends_no_session_for_what_is_allowed_to_wait_in_it(messages: int) -> None:
    """Its own bound is 32 MB for a session's process: 30,000 messages of 1 kB."""
    values = chart.merged(
        chart.cases()["prod"], {"broker": {"limits": {"maxQueuedMessages": messages}}}
    )
    config = yaml.safe_load(chart.render(values)["broker/config.yaml"])["data"]["emqx.conf"]
    assert f"max_mqueue_len = {messages}\n" in config
    heap = re.search(r"force_shutdown \{\s+max_heap_size = (\d+)MB\s", config)
    assert heap is not None
    assert int(heap[1]) * 1024 * 1024 > 2 * 1024 * messages


def _emqx_pod(case: str) -> Any:
    objects = chart.objects(CASES[case])
    return objects[("StatefulSet", "wis2-broker")]


@pytest.mark.parametrize("case", ["dev", "prod", "on-premises", "in-cluster"])
def test_emqx_has_no_disk_of_its_own_to_be_tied_to(case: str) -> None:
    spec = _emqx_pod(case)["spec"]
    assert "volumeClaimTemplates" not in spec
    pod = spec["template"]["spec"]
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    data = next(v for v in pod["volumes"] if v["name"] == mounts["/opt/emqx/data"])
    assert data["emptyDir"] == {"sizeLimit": "1Gi"}


@pytest.mark.parametrize(
    ("running", "age_s", "is_started"),
    [
        ("", 10, False), ("1", 10, False), ("2", 10, True), ("3", 10, True), ("13", 10, True),
        ("", 130, False), ("1", 130, True),
    ],
)  # fmt: skip
def test_a_node_of_emqx_has_started_when_it_has_found_another_or_is_the_last(
    tmp_path: Path, running: str, age_s: int, is_started: bool
) -> None:
    """Alone it would acknowledge what managers publish, and nobody would hear of it."""
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    began = int((uptime_s - age_s) * 100)
    (tmp_path / "stat").write_text(f"1 (sh) S{' 0' * 18} {began} 0 0\n")
    line = f"emqx_cluster_nodes_running {running}" if running else "no answer"
    (tmp_path / "curl").write_text(
        f"#!/bin/sh\nprintf '# HELP x\\n{line}\\nemqx_cluster_nodes_stopped 2\\n'\n"
    )
    (tmp_path / "curl").chmod(0o755)
    probe = _emqx_pod("prod")["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    result = subprocess.run(
        [part.replace("/proc/1/", f"{tmp_path}/") for part in probe["exec"]["command"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
    )
    assert (result.returncode == 0) == is_started
    # One node has nobody to find.
    alone = _emqx_pod("dev")["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert alone["httpGet"]["path"] == "/status"


# Prometheus and Grafana


def test_emqx_takes_a_topic_of_as_many_levels_as_we_publish() -> None:
    text = _config("prod", "broker")["emqx.conf"]
    found = re.search(r"max_topic_levels = (\d+)", text)
    assert found
    assert int(found[1]) >= MAX_LEVELS


def _known_series() -> set[str]:
    names = set()
    for metric in metrics_catalogue.CATALOGUE:
        names.add(metric.name)
        if metric.type == "histogram":
            names |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def _labels(name: str) -> set[str]:
    base = re.sub("_(bucket|count|sum)$", "", name) if name not in _catalogue() else name
    metric = _catalogue()[base]
    own = {*metric.labels, "le"} if metric.type == "histogram" else {*metric.labels}
    return own | ({"report_by"} if metric.is_wmo else set())


def _catalogue() -> dict[str, metrics_catalogue.Metric]:
    return {metric.name: metric for metric in metrics_catalogue.CATALOGUE}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((chart.CHART / "files" / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> dict[str, str]:
    dashboards = (chart.CHART / "files" / "dashboards").glob("*.json")
    panels = [p for path in dashboards for p in json.loads(path.read_text("utf-8"))["panels"]]
    found = {panel["title"]: target["expr"] for panel in panels for target in panel["targets"]}
    return found | {_rule_name(rule): rule["expr"] for rule in _rules()}


def _rule_name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


@pytest.mark.parametrize("name", sorted(_expressions()))
def test_rules_and_panels_ask_for_metrics_and_labels_that_are_there(name: str) -> None:
    expression = _expressions()[name]
    recorded = [rule["record"] for rule in _rules() if "record" in rule]
    if any(one in expression for one in recorded):
        # Its own rule has taken the maximum over the replicas.
        assert "max" not in expression
        return
    series = re.findall(r"\b(?:wmo_)?wis2_gc_\w+", expression)
    assert series
    assert set(series) <= _known_series()
    for labels, asked in re.findall(
        r"max by \(([^)]*)\) \((?:[a-z]+\()?((?:wmo_)?wis2_gc_\w+)", expression
    ):
        assert {label.strip() for label in labels.split(",")} <= _labels(asked)
    assert expression.count("(") == expression.count(")")
    # Every replica of the metrics service serves the same series: a bare one would count twice.
    for one in series:
        assert re.search(rf"max(?: by \([^)]*\))? ?\([a-z_]*\(?{one}|absent\({one}", expression), (
            one
        )


def test_the_alert_rules_of_the_wmo_are_all_there() -> None:
    rules = _alerts()
    assert "> 6 * 3600" in rules["NoDataFromCentre"]["expr"]
    assert "> 3600" in rules["NoDataAtAll"]["expr"]
    times = {name: rules[name].get("for") for name in WMO_RULES}
    assert times == WMO_RULES
    for kind in ("DownloadErrorsOf{}Centres", "{}DataServersDown"):
        assert rules[kind.format("Many")]["expr"].endswith("> 10")
        assert rules[kind.format("VeryMany")]["expr"].endswith("> 20")


#: The WMO's rules, and how long each condition must hold. Whether they fire: test_alert_rules.py.
WMO_RULES = {
    "NoDataFromCentre": None,
    "NoDataAtAll": "15m",
    "DownloadErrorsOfCentre": "6h",
    "DownloadErrorsOfManyCentres": "1h",
    "DownloadErrorsOfVeryManyCentres": "1h",
    "DataServerDown": "24h",
    "ManyDataServersDown": "1h",
    "VeryManyDataServersDown": "1h",
}


def test_every_alert_leads_to_a_chapter_of_the_operations_page() -> None:
    page = (chart.ROOT / "docs" / "operations.md").read_text("utf-8")
    anchors = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }
    for rule in _alerts().values():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/operations.md"
        assert anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


#: What each service's pods may read, on top of the account of its role.
SECRETS_OF = {
    "listener": {"deployment", "registry", "global broker"},
    "manager": {"broker", "deployment", "registry", "store"},
    "metrics": {"registry"},
}
KINDS_OF_SECRETS = {
    "wis2-broker": "broker", "wis2-deployment": "deployment", "wis2-registry": "registry",
    "wis2-store": "store",
}  # fmt: skip


def _secrets(part: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each secret that a pod reads, with the keys of it; none: all."""
    if isinstance(part, list):
        for one in part:
            yield from _secrets(one)
    elif isinstance(part, dict):
        if "secretName" in part:
            yield part["secretName"], tuple(item["key"] for item in part.get("items", ()))
        for reference in ("secretKeyRef", "secretRef", "secret"):
            if "name" in part.get(reference, {}):
                yield part[reference]["name"], (part[reference].get("key", ""),)
        for inner in part.values():
            yield from _secrets(inner)


@pytest.mark.parametrize("case", CASES)
def test_each_service_reads_its_own_secrets_and_runs_as_its_own_account(case: str) -> None:
    accounts: dict[str, str] = {}
    for manifest in chart.manifests(CASES[case]):
        component = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if manifest["kind"] != "Deployment" or component not in SECRETS_OF:
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert (
            accounts.setdefault(component, pod["serviceAccountName"]) == pod["serviceAccountName"]
        )
        read = {KINDS_OF_SECRETS.get(name, "global broker"): keys for name, keys in _secrets(pod)}
        assert read.keys() <= SECRETS_OF[component], component
        # Of our broker and the registry the URL alone, not the passwords of others.
        for kind in {"broker", "registry"} & read.keys():
            assert read[kind] == ("url",), (component, kind)
    assert len(set(accounts.values())) == len(SECRETS_OF)


def test_only_the_managers_have_the_credentials_of_the_store() -> None:
    holders = {
        name
        for (kind, name), manifest in chart.objects(CASES["gateway"]).items()
        if "AWS_SECRET_ACCESS_KEY" in str(manifest)
    }
    assert holders == {"wis2-manager"}
