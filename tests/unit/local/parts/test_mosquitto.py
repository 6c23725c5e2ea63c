from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from local.parts.certificates import CertificateAuthority
from local.parts.mosquitto import (
    Account,
    CacheBroker,
    PublicBroker,
    SimulatedGlobalBroker,
    dynamic_security,
)
from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_not_allowed_is_denied() -> None:
    config = json.loads(dynamic_security((Account("a", "secret"),)))
    assert config["defaultACLAccess"] == {
        "publishClientSend": False,
        "publishClientReceive": False,
        "subscribe": False,
        "unsubscribe": True,
    }
    assert config["roles"] == [{"rolename": "a", "acls": []}]


def test_passwords_are_salted_and_hashed() -> None:
    account = Account("a", "secret")
    texts = [dynamic_security((account,)) for _ in range(2)]
    assert texts[0] != texts[1]
    assert "secret" not in texts[0]
    client = json.loads(texts[0])["clients"][0]
    expected = hashlib.pbkdf2_hmac(
        "sha512", b"secret", base64.b64decode(client["salt"]), client["iterations"]
    )
    assert base64.b64decode(client["password"]) == expected


def public_broker(directory: Path, **options: Any) -> PublicBroker:
    return PublicBroker(directory / "p", source=CacheBroker(directory / "s"), **options)


def test_everyone_of_our_broker_subscribes(tmp_path: Path) -> None:
    (everyone,) = public_broker(tmp_path).accounts
    assert everyone.username == everyone.password == "everyone"
    assert everyone.subscribes == ("cache/a/wis2/#", "monitor/a/wis2/#")
    assert everyone.publishes == ()


def test_managers_publish_and_the_accounts_of_global_brokers_subscribe(tmp_path: Path) -> None:
    accounts = {a.username: a for a in CacheBroker(tmp_path, accounts={"gb": "x"}).accounts}
    assert set(accounts) == {"wis2-gc-manager", "public-broker", "gb"}
    topics = ("cache/a/wis2/#", "monitor/a/wis2/#")
    for name, account in accounts.items():
        is_manager = name == "wis2-gc-manager"
        assert account.publishes == (topics if is_manager else ())
        assert account.subscribes == (() if is_manager else topics)


def test_plain_mqtt_stays_on_loopback_while_tls_and_websocket_are_open(tmp_path: Path) -> None:
    broker = public_broker(
        tmp_path,
        port=21883,
        tls_port=28883,
        websocket_port=28443,
        host="0.0.0.0",
        authority=CertificateAuthority(tmp_path / "tls"),
    )
    text = broker.configuration()
    text = text.replace("max_connections 5000\n", "")
    assert "listener 21883 127.0.0.1\nsocket_domain ipv4\nprotocol mqtt\n" in text
    assert "listener 28883 0.0.0.0\nsocket_domain ipv4\nprotocol mqtt\ncertfile" in text
    assert "listener 28443 0.0.0.0\nsocket_domain ipv4\nprotocol websockets\ncertfile" in text
    assert text.count("certfile") == text.count("keyfile") == 2
    assert "allow_anonymous false" in text
    assert "retain_available false" in text


def test_an_account_comes_over_tls_and_its_client_id_is_its_name(tmp_path: Path) -> None:
    broker = CacheBroker(
        tmp_path / "b",
        port=21883,
        accounts_port=28884,
        host="0.0.0.0",
        authority=CertificateAuthority(tmp_path / "tls"),
    )
    plain, tls = broker.configuration().partition("listener ")[2].split("listener ")
    assert plain.startswith("21883 127.0.0.1\n")
    assert "use_username_as_clientid" not in plain
    assert tls.startswith("28884 0.0.0.0\n")
    assert "\nuse_username_as_clientid true\n" in tls
    assert "\ncertfile " in tls


def test_our_broker_keeps_what_an_absent_global_broker_has_not_read(tmp_path: Path) -> None:
    lines = CacheBroker(tmp_path).configuration().splitlines()
    assert "persistence true" in lines
    assert "max_queued_messages 1000000" in lines
    assert "max_queued_bytes 536870912" in lines
    assert "persistent_client_expiration 1d" in lines
    assert "memory_limit 2147483648" in lines


def test_what_strangers_take_up_at_our_broker_is_bounded(tmp_path: Path) -> None:
    broker = public_broker(tmp_path, authority=CertificateAuthority(tmp_path / "tls"))
    lines = broker.configuration().splitlines()
    assert "persistence false" in lines
    assert "max_queued_messages 300" in lines
    assert "max_queued_bytes 1048576" in lines
    assert "persistent_client_expiration 1h" in lines
    assert "connection_messages false" in lines
    # mosquitto takes this one for the listener in front of it.
    for number, line in enumerate(lines):
        if line.startswith("listener "):
            assert lines[number + 1] == "max_connections 5000"
    assert lines.count("max_connections 5000") == 3


def test_the_bridge_reads_the_managers_broker_under_names_that_nobody_guesses(
    tmp_path: Path,
) -> None:
    def lines(password: str) -> list[str]:
        source = CacheBroker(tmp_path / "s", port=21883, bridge_password=password)
        return PublicBroker(tmp_path / "p", source=source, port=21884).configuration().splitlines()

    first = lines("first")
    assert "address 127.0.0.1:21883" in first
    assert "topic cache/a/wis2/# in 1" in first
    assert "topic monitor/a/wis2/# in 1" in first
    assert "cleansession false" in first
    names = [line.split(" ", 1) for line in first if "_clientid " in line]
    assert [kind for kind, _ in names] == ["remote_clientid", "local_clientid"]
    for _, name in names:
        assert re.fullmatch(r"[a-z-]+-[0-9a-f]{32}", name)
        assert not any(name in line for line in lines("second"))
    assert first == lines("first")


def test_the_urls_of_the_brokers_are_settings_of_the_services(tmp_path: Path) -> None:
    cache = CacheBroker(
        tmp_path / "c", manager_password="p@ss:/word", accounts={"gb": "another p@ss"}
    )
    account = parse_broker_url(cache.url("gb"))
    assert (account.username, str(account.password)) == ("gb", "another p@ss")
    manager = parse_broker_url(cache.manager_url)
    assert (manager.username, str(manager.password), manager.port) == (
        "wis2-gc-manager",
        "p@ss:/word",
        cache.port,
    )
    plain = parse_broker_url(SimulatedGlobalBroker(tmp_path / "g").url)
    assert not plain.is_tls
    tls = parse_broker_url(
        SimulatedGlobalBroker(tmp_path / "h", authority=CertificateAuthority(tmp_path / "tls")).url
    )
    assert tls.is_tls


def test_a_broker_without_an_authority_has_no_tls_port(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _ = public_broker(tmp_path).tls_port
    with pytest.raises(KeyError):
        _ = CacheBroker(tmp_path).accounts_port
