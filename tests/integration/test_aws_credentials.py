"""Where credentials come from on AWS, with the SDK's real chain: for S3 and for SQS alike.

One server on loopback plays EKS Pod Identity's agent, STS (for IRSA) and an instance's metadata.
What it gives expires soon, so both adapters have to ask again, and use what they get then.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from testkit.servers.scripted_s3 import BUCKET, ScriptedS3
from testkit.servers.scripted_sqs import ScriptedSqs
from wis2_gc_common.open_queue import open_sender
from wis2_gc_common.ports.queue import Envelope
from wis2_gc_common.settings.values import QueueUrl, StoreUrl
from wis2_gc_manager.store import open_store
from wis2_gc_manager.store.s3 import credentials as s3_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLE = "wis2-global-cache"
STS = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>
<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken>{Token}</SessionToken>
<Expiration>{Expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class Giver:
    """Gives other credentials each time, and knows who asked how."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.asked: list[tuple[str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("")

            def do_PUT(self) -> None:
                self._answer("")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, body: str) -> None:
                token = self.headers.get("Authorization") or self.headers.get(
                    "x-aws-ec2-metadata-token"
                )
                outer.asked.append((self.path, token or "", body))
                data = outer.answer(self.command, self.path).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, command: str, path: str) -> str:
        if command == "PUT":
            return "the-token-of-the-metadata"
        if path.endswith("/security-credentials/"):
            return ROLE
        number = len(self.given) + 1
        self.given.append(f"ASIA{number:016d}")
        # Within the time in which the SDK insists on new ones.
        soon = datetime.now(UTC) + timedelta(minutes=5)
        found = {
            "Code": "Success",
            "AccessKeyId": self.given[-1],
            "SecretAccessKey": f"secret-{number}",
            "Token": f"session-{number}",
            "Expiration": soon.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return STS.format(**found) if command == "POST" else json.dumps(found)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def giver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Giver]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    # Asked about at every request instead of once a minute.
    monkeypatch.setattr(s3_credentials, "LOOK_AGAIN_S", 0.0)
    giver = Giver()
    yield giver
    giver.close()


def set_chain(monkeypatch: pytest.MonkeyPatch, giver: Giver, directory: Path, kind: str) -> None:
    token = directory / "token"
    token.write_text("the-token-of-the-pod")
    settings = {
        "pod identity": {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{giver.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        },
        "irsa": {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ROLE_ARN": f"arn:aws:iam::123456789012:role/{ROLE}",
            "AWS_ENDPOINT_URL_STS": giver.url,
        },
        "instance role": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{giver.url}/"},
    }[kind]
    for name, text in settings.items():
        monkeypatch.setenv(name, text)


KINDS = ["pod identity", "irsa", "instance role"]
#: The SDK keeps an instance's credentials beyond their end, because its metadata may be away then.
RENEWED = KINDS[:2]


@pytest.mark.parametrize("kind", KINDS)
async def test_s3_is_signed_with_what_the_chain_gives_and_later_with_what_it_gives_then(
    giver: Giver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    set_chain(monkeypatch, giver, tmp_path, kind)
    server = ScriptedS3()
    await server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    store = open_store(StoreUrl("s3", BUCKET), retention_hours=24)

    async def used() -> tuple[str, str]:
        await store.put("a/b/c", b"BUFR", media_type="application/bufr")
        headers = server.seen[-1].headers
        identity = headers["authorization"].partition("Credential=")[2].partition("/")[0]
        return identity, headers["x-amz-security-token"]

    first, first_token = await used()
    assert first in giver.given
    assert first_token == f"session-{int(first[4:])}"
    if kind in RENEWED:
        async with asyncio.timeout(20):
            # It goes on with the old ones while it asks.
            while (later := await used())[0] == first:
                pass
        assert later[0] in giver.given
    await store.close()
    await server.stop()
    assert_asked(giver, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_sqs_is_signed_with_what_the_chain_gives_and_later_with_what_it_gives_then(
    giver: Giver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    set_chain(monkeypatch, giver, tmp_path, kind)
    server = ScriptedSqs(lambda *_: (200, {"Successful": [{"Id": "0"}]}))
    sender = open_sender(QueueUrl("sqs", server.queue_url), redis_url="", max_length=1)
    for _ in range(2):
        sender.send([Envelope("origin/a/wis2/de-dwd/data/core", b"{}", "fr", 1)])
    first, later = server.identities
    assert first in giver.given
    assert later in giver.given
    assert (later != first) == (kind in RENEWED)
    sender.close()
    server.close()
    assert_asked(giver, kind)


async def test_a_profile_of_the_file_will_do(
    giver: Giver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    identity = "AKIATESTTESTTESTTEST"
    file.write_text(f"[ours]\naws_access_key_id = {identity}\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "ours")
    server = ScriptedS3()
    await server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    store = open_store(StoreUrl("s3", BUCKET), retention_hours=24)
    await store.check()
    assert {f"Credential={identity}" in one.headers["authorization"] for one in server.seen} == {
        True
    }
    assert not giver.asked
    await store.close()
    await server.stop()


def assert_asked(giver: Giver, kind: str) -> None:
    """It was the right place, and asked in the way that it requires."""
    path, token, body = giver.asked[-1]
    if kind == "pod identity":
        assert (path, token) == ("/v1/credentials", "the-token-of-the-pod")
    elif kind == "irsa":
        assert "WebIdentityToken=the-token-of-the-pod" in body
        assert f"role%2F{ROLE}" in body
    else:
        assert path.endswith(f"/security-credentials/{ROLE}")
        assert token == "the-token-of-the-metadata"
