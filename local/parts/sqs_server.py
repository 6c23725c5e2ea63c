"""local-aws-sqs on Node.js: stands in for Amazon SQS in `make run QUEUE=sqs` and the tests.

`local/bootstrap.sh sqs` installs it. It keeps everything in memory: its end loses waiting messages.
"""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from local.parts.local_server import LocalServer, StartFailed
from wis2_gc_common.settings import catalogue as settings

if TYPE_CHECKING:
    from collections.abc import Mapping

QUEUE = "notifications"
DEAD_LETTER_QUEUE = "dead-letters"
REGION = "us-east-1"
#: Any value works: the server checks no signature.
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
}

_ROOT = Path(__file__).resolve().parents[2]
#: What node runs, and what that requires.
PROGRAM = _ROOT / "local" / "sqs" / "server.js"
MODULES = _ROOT / ".tools" / "sqs" / "node_modules"
_ACCOUNT = "123456789012"
_PROBE_TIMEOUT_S = 2
_OK = 200


class SqsServer(LocalServer):
    """A queue and its dead letter queue, on loopback."""

    def __init__(
        self, directory: Path, *, port: int | None = None, log_file: Path | None = None
    ) -> None:
        self.name = "sqs"
        super().__init__(directory, host="127.0.0.1", ports={"sqs": port}, log_file=log_file)

    @property
    def port(self) -> int:
        """TCP port."""
        return self._ports["sqs"]

    @property
    def queue_url(self) -> str:
        """`GC_QUEUE_URL` for this server."""
        return self._url(QUEUE)

    @property
    def dead_letter_queue_url(self) -> str:
        """`GC_DEAD_LETTER_QUEUE_URL` for this server."""
        return self._url(DEAD_LETTER_QUEUE)

    @property
    def environment(self) -> dict[str, str]:
        """The services' settings for this server."""
        # The user's own credentials stay: a store may require them.
        has_own = not os.environ.keys().isdisjoint(("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        return {
            settings.QUEUE_URL.name: self.queue_url,
            settings.DEAD_LETTER_QUEUE_URL.name: self.dead_letter_queue_url,
            **({} if has_own else CREDENTIALS),
        }

    def request(self, action: str, parameters: Mapping[str, object]) -> tuple[int, bytes]:
        """Return status and body of one call of the API. Raises OSError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PROBE_TIMEOUT_S)
        try:
            headers = {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{action}",
            }
            connection.request("POST", "/", json.dumps(parameters), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _url(self, queue: str) -> str:
        return f"http://{self.host}:{self.port}/{_ACCOUNT}/{queue}"

    def _configure(self) -> list[str]:
        if not MODULES.is_dir():
            raise StartFailed("local-aws-sqs is not installed; run local/bootstrap.sh sqs")
        return ["node", str(PROGRAM), str(MODULES), str(self.port), QUEUE, DEAD_LETTER_QUEUE]

    def _answers(self) -> bool:
        try:
            return self.request("GetQueueUrl", {"QueueName": QUEUE})[0] == _OK
        except OSError:
            return False
