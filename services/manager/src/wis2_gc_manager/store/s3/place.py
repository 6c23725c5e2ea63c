"""Where a bucket is: host, region and address style, from `GC_STORE_URL` and the SDK's settings."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.runtime.aws_causes import settings_problem
from wis2_gc_common.runtime.tls import client_context
from wis2_gc_common.settings.catalogue import CA_FILE, STORE_URL
from wis2_gc_common.settings.reader import blamed_on
from wis2_gc_common.wis2.object_key import MAX_OBJECT_KEY_CHARS
from wis2_gc_manager.store.keys import MAX_KEY_BYTES, checked_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    import botocore.session

    from wis2_gc_common.settings.values import StoreUrl

#: The region for a server that is not AWS, if none is set.
_ANY_REGION = "us-east-1"
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
#: The service's own variable comes before the one for all services, as in the SDK.
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """One bucket, and how it is addressed."""

    bucket: str
    prefix: str
    """Before each key: "" or ending in a slash."""
    region: str
    origin: str
    """Scheme, host and, unless it is the scheme's own, port."""
    root: str
    """Path of the bucket, not ending in a slash: "" or `/bucket`."""
    endpoint_variable: str
    """The variable that names the server; "" for AWS itself."""

    @property
    def authority(self) -> str:
        """Host and port, in the form of the Host header."""
        return self.origin.partition("://")[2]

    @property
    def is_tls(self) -> bool:
        """Whether the server's certificate is verified."""
        return self.origin.startswith("https:")

    @property
    def is_aws(self) -> bool:
        """Whether this is S3 itself, and not an S3-compatible server."""
        return not self.endpoint_variable

    def path(self, key: str) -> str:
        """Return the path of an object, percent-encoded as signatures require."""
        return f"{self.root}/{quote(self.prefix + key, safe='/-_.~')}"

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.authority}"


def find_place(
    store_url: StoreUrl,
    session: botocore.session.Session,
    environment: Mapping[str, str] | None = None,
) -> BucketPlace:
    """Return where `s3://bucket[/prefix]` is.

    For servers that are not AWS the bucket is in the path. For S3 it is in the host name, except
    for buckets with a dot in their name, which no certificate covers.
    Raises SettingsError.
    """
    variables = os.environ if environment is None else environment
    bucket, prefix = store_url.place, store_url.prefix
    if prefix:
        try:
            checked_key(prefix)
        except ValueError:
            raise SettingsError(STORE_URL.name, "has a prefix that no key can begin with") from None
        prefix += "/"
        room = MAX_KEY_BYTES - MAX_OBJECT_KEY_CHARS
        if len(prefix.encode()) > room:
            raise SettingsError(STORE_URL.name, f"has a prefix of more than {room - 1} bytes")
    try:
        configured: str | None = session.get_config_variable("region")
        profile: Mapping[str, Any] = session.get_scoped_config()
        region = variables.get("AWS_REGION") or configured or ""
        variable, endpoint = _endpoint(variables, profile)
        if endpoint:
            region = region or _ANY_REGION
            return BucketPlace(
                bucket, prefix, _checked_region(region), endpoint, f"/{bucket}", variable
            )
        if not region:
            raise SettingsError("AWS_REGION", f"is not set; it is the region of bucket {bucket}")
        host = _aws_host(session, _checked_region(region))
    except BotoCoreError as error:
        raise SettingsError("AWS_PROFILE", settings_problem(error)) from None
    if "." in bucket:
        return BucketPlace(bucket, prefix, region, f"https://{host}", f"/{bucket}", "")
    return BucketPlace(bucket, prefix, region, f"https://{bucket}.{host}", "", "")


def read_authorities(session: botocore.session.Session, ca_file: Path | None) -> bytes | None:
    """Return the certificates in `ca_file` and AWS_CA_BUNDLE, as PEM; None if there are none.

    Raises SettingsError.
    """
    texts = []
    bundle = session.get_config_variable("ca_bundle")
    for variable, path in ((CA_FILE.name, ca_file), ("AWS_CA_BUNDLE", bundle)):
        if path:
            with blamed_on(variable, "holds no certificates"):
                ssl.create_default_context(cafile=path)
                texts.append(Path(path).read_bytes())
    return b"\n".join(texts) or None


def tls_context(authorities: bytes | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and `authorities`."""
    context = client_context()
    if authorities is not None:
        context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    return context


def _endpoint(variables: Mapping[str, str], profile: Mapping[str, Any]) -> tuple[str, str]:
    """Return (variable, origin) of a server that is not AWS; ("", "") if there is none."""
    if variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return "", ""
    found = [(name, variables[name]) for name in ENDPOINT_VARIABLES if variables.get(name)]
    if not found and profile.get("endpoint_url"):
        found = [("AWS_PROFILE", str(profile["endpoint_url"]))]
    if not found:
        return "", ""
    variable, url = found[0]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(variable, "is not a URL; requires http[s]://host[:port]") from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username is not None
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise SettingsError(variable, "requires http[s]://host[:port] and no more")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own_port = 443 if parts.scheme == "https" else 80
    return variable, f"{parts.scheme}://{host}" + (
        f":{port}" if port not in (None, own_port) else ""
    )


def _checked_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise SettingsError("AWS_REGION", "is not a region of AWS; requires one such as eu-west-1")
    return region


def _aws_host(session: botocore.session.Session, region: str) -> str:
    try:
        session.get_partition_for_region(region)
    except BotoCoreError:
        raise SettingsError(
            "AWS_REGION", f"{region!r} is not a region of AWS; requires one such as eu-west-1"
        ) from None
    # A client knows the hosts of all partitions, of FIPS and dual stack; we use it only for that.
    config = Config(
        signature_version=UNSIGNED,
        ignore_configured_endpoint_urls=True,
        s3={"us_east_1_regional_endpoint": "regional"},
    )
    client = session.create_client("s3", region_name=region, config=config)
    host = urlsplit(str(client.meta.endpoint_url)).netloc
    client.close()
    return host
