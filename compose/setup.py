"""Makes what the containers of compose.yaml find under /run/secrets; run it as often as you like.

Runs as root in the manager's image, before everything else at each `docker compose up`. What it
makes up is kept in `secrets/kept`, root's alone; each container gets a folder with what is its own.
The certificate is copied from `tls`, because its key is root's there. Exit code 2: something of the
operator's is missing or wrong, and one line says what.
"""

# ruff: noqa: INP001 - a script
from __future__ import annotations

import os
import secrets
import ssl
import sys
from pathlib import Path
from urllib.parse import quote

from local.parts.local_server import write_private
from local.parts.mosquitto import (
    BRIDGE_USERNAME,
    CACHE_TOPICS,
    MANAGER_USERNAME,
    PUBLIC_PASSWORD,
    PUBLIC_USERNAME,
    Account,
    bridge,
    dynamic_security,
)
from local.settings import parse_accounts
from wis2_gc_common.errors import SettingsError
from wis2_gc_common.wis2.media_type import nginx_try_files, nginx_types

SECRETS = Path("/secrets")
TLS = Path("/tls")
#: As a file: with another environment this container is made again, and with it all others.
DOTENV = Path("/setup/.env")
VOLUMES = Path("/volumes")
#: Users of the images.
OURS, REDIS, MOSQUITTO, NGINX = 65532, 999, 1883, 101


def kept(name: str) -> str:
    """Return a secret, made up the first time; a file that an operator put there counts."""
    path = SECRETS / "kept" / name
    if not path.exists():
        write_private(path, secrets.token_hex(24) + "\n")
    return path.read_text(encoding="utf-8").strip()


def give(user: int, folder: str, files: dict[str, str]) -> None:
    """Put files where only the user of a container reads them."""
    directory = SECRETS / folder
    for name, text in files.items():
        write_private(directory / name, text)
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, user)
        path.chmod(0o500 if path.is_dir() else 0o400)


def certificate() -> dict[str, str]:
    """Return the files of the certificate. Raises SettingsError: missing, or not a pair."""
    names = ("fullchain.pem", "privkey.pem")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*(TLS / name for name in names))
        return {name: (TLS / name).read_text(encoding="ascii") for name in names}
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        problem = f"{' and '.join(names)} are not a certificate and its key: {error}"
        raise SettingsError("compose/tls", problem) from None


def authorities() -> dict[str, str]:
    """Return the operator's own authorities, for GC_CA_FILE=/run/secrets/ca.pem."""
    path = TLS / "ca.pem"
    return {path.name: path.read_text(encoding="ascii")} if path.exists() else {}


def main() -> None:
    """Make everything. Raises SettingsError."""
    lines = DOTENV.read_text(encoding="utf-8").splitlines()
    given = [line.partition("=")[2] for line in lines if line.startswith("BROKER_ACCOUNTS=")]
    accounts = parse_accounts(given[-1].strip(" \"'") if given else "")
    tls = certificate()
    SECRETS.chmod(0o700)
    redis, manager, between = kept("redis"), kept("manager"), kept("bridge")
    registry = {"redis-url": f"redis://:{quote(redis, safe='')}@redis:6379/0\n"}
    deployment = {"deployment-secret": kept("deployment") + "\n"}
    broker_url = f"mqtt://{MANAGER_USERNAME}:{quote(manager, safe='')}@broker:1883\n"
    ours = (
        Account(MANAGER_USERNAME, manager, publishes=CACHE_TOPICS),
        Account(BRIDGE_USERNAME, between, subscribes=CACHE_TOPICS),
        *(Account(a.name, kept(f"accounts/{a.name}"), subscribes=CACHE_TOPICS) for a in accounts),
    )
    everyone = (Account(PUBLIC_USERNAME, PUBLIC_PASSWORD, subscribes=CACHE_TOPICS),)
    reading = "\n".join(bridge("broker:1883", between)) + "\n"
    give(REDIS, "redis", {"password.conf": f'requirepass "{redis}"\n', "password": redis})
    give(OURS, "metrics", registry)
    give(OURS, "listener", registry | deployment | authorities())
    give(OURS, "manager", registry | deployment | authorities() | {"broker-url": broker_url})
    give(MOSQUITTO, "broker", {"accounts.json": dynamic_security(ours), **tls})
    give(
        MOSQUITTO,
        "public-broker",
        {"accounts.json": dynamic_security(everyone), "conf.d/bridge.conf": reading, **tls},
    )
    objects = {
        "types.conf": f"types {{\n{nginx_types()}}}\n",
        "try-files.conf": f"try_files {nginx_try_files()} =404;\n",
    }
    give(NGINX, "nginx", {**objects, **tls})
    for volume, user in (("redis", REDIS), ("broker", MOSQUITTO), ("store", OURS)):
        os.chown(VOLUMES / volume, user, user)


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.stderr.write(f"setup: {error}\n")
        sys.exit(2)
