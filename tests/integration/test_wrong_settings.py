"""Settings that are wrong as an operator gets them wrong, by the real commands.

What only a change of a setting or a permission can mend ends a start with exit code 2
and one line: which setting, what is wrong, what to check. No traceback, no secret.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import trustme

from testkit.servers.mosquitto import Mosquitto
from testkit.servers.redis import RedisServer
from testkit.servers.scripted_s3 import BUCKET, ScriptedS3, answers
from testkit.servers.scripted_sqs import DEAD_PATH, QUEUE_PATH, ScriptedSqs, refusal
from testkit.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from testkit.servers.scripted_s3 import Fault
    from testkit.servers.scripted_sqs import Answer

pytest_plugins = ("testkit.servers.redis",)

BIN = Path(sys.executable).parent
SECRET = "s3cret-of-this-test"
COUNTS = ("", "NotVisible", "Delayed")
AWS = "https://sqs.{region}.amazonaws.com/123456789012"


def well(action: str, _: dict[str, Any]) -> Answer:
    """Answer as SQS does when all is well."""
    if action == "SendMessageBatch":
        return refusal("EmptyBatchRequest")
    if action == "GetQueueAttributes":
        return 200, {"Attributes": {f"ApproximateNumberOfMessages{c}": "0" for c in COUNTS}}
    return 200, {}


class Parts:
    """SQS, S3, Redis and a broker with which every command would start."""

    def __init__(
        self, stack: AsyncExitStack, directory: Path, redis_url: str, broker_port: int
    ) -> None:
        self._stack, self._directory = stack, directory
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GC_", "AWS_"))},
            "GC_CENTRE_ID": "xx-test-global-cache",
            "GC_REDIS_URL": redis_url,
            "GC_STORE_URL": f"s3://{BUCKET}",
            "GC_DATA_BASE_URL": "http://127.0.0.1/data",
            "GC_LOCAL_BROKER_URL": f"mqtt://user:{SECRET}@127.0.0.1:{broker_port}",
            "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
            "GC_GLOBAL_BROKER_URL": f"mqtt://user:{SECRET}@127.0.0.1:{broker_port}",
            "GC_GLOBAL_BROKER_NAME": "fr",
            "GC_CA_FILE": str(self.ca_file),
            "GC_HTTP_HOST": "127.0.0.1",
            "GC_HTTP_PORT": "0",
            "GC_LOG_FORMAT": "json",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CA_BUNDLE": str(self.ca_file),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def tls(self, *names: str) -> ssl.SSLContext:
        """Return a server's context with a certificate that we trust, for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def sqs(
        self,
        answer: Callable[[str, dict[str, Any]], Answer] = well,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        server = ScriptedSqs(answer, tls)
        self._stack.callback(server.close)
        self.environment["GC_QUEUE_URL"] = server.queue_url
        self.environment["GC_DEAD_LETTER_QUEUE_URL"] = server.dead_letter_queue_url

    async def s3(self, fault: Fault | None = None, tls: ssl.SSLContext | None = None) -> None:
        server = ScriptedS3(always=fault)
        await server.start(tls)
        self._stack.push_async_callback(server.stop)
        self.environment["AWS_ENDPOINT_URL_S3"] = server.url

    def broker(self, *names: str) -> None:
        broker = Mosquitto(tls=True, authority=self.authority, certificate_names=names)
        self._stack.callback(broker.close)
        broker.start()
        for variable in ("GC_LOCAL_BROKER_URL", "GC_GLOBAL_BROKER_URL"):
            self.environment[variable] = f"mqtts://user:{SECRET}@localhost:{broker.tls_port}"

    def redis(self, *names: str) -> None:
        directory = self._directory / "redis"
        directory.mkdir()
        certificate = self.authority.issue_cert(*names)
        cert_file, key_file = directory / "cert.pem", directory / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(str(cert_file))
        certificate.private_key_pem.write_to_path(str(key_file))
        ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(ca_file))
        server = RedisServer(directory).start()
        self._stack.callback(server.stop)
        files = {"cert-file": cert_file, "key-file": key_file, "ca-cert-file": ca_file}
        with redis.Redis.from_url(server.url) as admin:
            for name, file in files.items():
                admin.config_set(f"tls-{name}", str(file))
            admin.config_set("tls-auth-clients", "no", "port", 0, "tls-port", server.port)
        self.environment["GC_REDIS_URL"] = (
            f"rediss://:{SECRET}@localhost:{server.port}/0?ssl_ca_certs={self.ca_file}"
        )

    async def last_line(self, command: str) -> str:
        """Run a command that has to end by itself with exit code 2; return what it says."""
        ended = await asyncio.to_thread(
            subprocess.run, [str(BIN / command)], env=self.environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        said = ended.stdout + ended.stderr
        assert ended.returncode == 2, said
        assert "Traceback" not in said
        assert SECRET not in said
        lines = ended.stderr.splitlines()
        [plain] = [line for line in lines if not line.startswith("{")]
        assert plain == lines[-1], said
        assert plain.startswith(f"{command}: ")
        return plain.removeprefix(f"{command}: ")


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.fixture
async def parts(tmp_path: Path, redis_url: str, broker: Mosquitto) -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        yield Parts(stack, tmp_path, redis_url, broker.port)


# The queue


@pytest.mark.parametrize("command", ["wis2-gc-listener", "wis2-gc-manager"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("InvalidAddress", "it is in another region than the endpoint; check AWS_ENDPOINT_URL_SQS"),
        # What AWS answers where the URL names a region that the queue is not in.
        (
            "AWS.SimpleQueueService.NonExistentQueue",
            "there is no such queue; check account, region and name in the URL",
        ),
    ],
)
async def test_a_queue_in_another_region(parts: Parts, command: str, code: str, told: str) -> None:
    parts.sqs(lambda *_: refusal(code))
    await parts.s3()
    line = await parts.last_line(command)
    assert line == f"GC_QUEUE_URL: queue notifications at 127.0.0.1: {told}"


@pytest.mark.parametrize("command", ["wis2-gc-manager", "wis2-gc-metrics"])
async def test_two_queues_in_two_regions(parts: Parts, command: str) -> None:
    await parts.s3()
    parts.environment["GC_QUEUE_URL"] = AWS.format(region="eu-west-1") + QUEUE_PATH[-14:]
    parts.environment["GC_DEAD_LETTER_QUEUE_URL"] = AWS.format(region="us-east-1") + DEAD_PATH[-13:]
    line = await parts.last_line(command)
    assert line.startswith("GC_DEAD_LETTER_QUEUE_URL: is at sqs.us-east-1.amazonaws.com, ")
    assert line.endswith("both queues must be in one region")


@pytest.mark.parametrize(
    ("command", "action"),
    [("wis2-gc-listener", "sqs:SendMessage"), ("wis2-gc-manager", "sqs:GetQueueAttributes")],
)
async def test_a_denied_action_of_sqs(parts: Parts, command: str, action: str) -> None:
    said_by_aws = f"User: arn:aws:sts::1:assumed-role/x is not authorized {SECRET}"
    parts.sqs(lambda *_: refusal("AccessDenied", status=403, message=said_by_aws))
    await parts.s3()
    line = await parts.last_line(command)
    assert line == (
        f"GC_QUEUE_URL: queue notifications at 127.0.0.1: {action} is denied; "
        "check the role's policy and the queue's"
    )


@pytest.mark.parametrize("command", ["wis2-gc-listener", "wis2-gc-manager"])
async def test_a_queue_behind_another_tls_name(parts: Parts, command: str) -> None:
    parts.sqs(tls=parts.tls("sqs.example.org"))
    await parts.s3()
    line = await parts.last_line(command)
    assert line == (
        "GC_QUEUE_URL: queue notifications at 127.0.0.1: its TLS certificate is not valid for us; "
        "check the URL's host, and AWS_CA_BUNDLE"
    )


# The store


@pytest.mark.parametrize(
    ("fault", "variable", "told"),
    [
        (answers(404, "NoSuchBucket"), "GC_STORE_URL", "there is no such bucket; check its name, "),
        (
            answers(301, "PermanentRedirect", x_amz_bucket_region="us-west-2"),
            "AWS_REGION",
            "it is in us-west-2, not in eu-west-1",
        ),
        (
            answers(403, "AccessDenied"),
            "GC_STORE_URL",
            "PUT is denied; check that the role has s3:PutObject, and the policies of the bucket",
        ),
    ],
    ids=["missing", "in another region", "denied"],
)
async def test_a_bucket_that_cannot_be_written(
    parts: Parts, fault: Fault, variable: str, told: str
) -> None:
    parts.sqs()
    await parts.s3(fault)
    line = await parts.last_line("wis2-gc-manager")
    assert line.startswith(f"{variable}: bucket {BUCKET} at ")
    assert told in line


async def test_a_bucket_behind_another_tls_name(parts: Parts) -> None:
    parts.sqs()
    await parts.s3(tls=parts.tls("s3.example.org"))
    line = await parts.last_line("wis2-gc-manager")
    assert line.startswith(f"AWS_ENDPOINT_URL_S3: bucket {BUCKET} at ")
    assert line.endswith("its TLS certificate is for another host name")


# Our broker


async def test_our_broker_behind_another_tls_name(parts: Parts) -> None:
    parts.sqs()
    await parts.s3()
    parts.broker("broker.example.org")
    line = await parts.last_line("wis2-gc-manager")
    assert line.startswith(
        "GC_LOCAL_BROKER_URL: the broker's TLS certificate is not valid for us (Hostname mismatch, "
    )
    assert line.endswith("check the host in the URL, and GC_CA_FILE")


# The registry


async def test_a_registry_behind_another_tls_name_ends_a_manager(parts: Parts) -> None:
    parts.sqs()
    await parts.s3()
    parts.redis("redis.example.org")
    line = await parts.last_line("wis2-gc-manager")
    assert line.startswith("GC_REDIS_URL: the TLS certificate is not valid for us (Hostname mis")
    assert line.endswith("check the host in the URL, and the authority (ssl_ca_certs in it)")


@pytest.mark.parametrize(
    ("command", "event", "field"),
    [
        ("wis2-gc-listener", "registry_away", "problem"),
        ("wis2-gc-metrics", "readings_unavailable", "detail"),
    ],
)
async def test_the_others_go_on_without_that_registry_and_say_so(
    parts: Parts, tmp_path: Path, command: str, event: str, field: str
) -> None:
    parts.sqs()
    parts.redis("redis.example.org")
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            BIN / command, env=parts.environment, stderr=output
        )
    try:
        await until(lambda: f'"{event}"' in log.read_text(), deadline_s=30)
    finally:
        process.terminate()
        await process.wait()
    said = log.read_text()
    events = [json.loads(line) for line in said.splitlines()]
    [told] = [one[field] for one in events if one["event"] == event]
    assert "check the host in the URL" in told
    assert "Traceback" not in said
    assert SECRET not in said
