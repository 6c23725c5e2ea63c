"""The Global Brokers' URLs, with their logins: from the operator into Secrets Manager."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.errors import DeployError, Refused
from deploy.terraform import Terraform
from wis2_gc_common.settings import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploy.session import Session

#: How terraform/modules/secrets names the secrets of the Global Brokers' logins.
_GLOBAL_BROKER = "global-brokers/"
#: "{}", as Terraform makes them.
_EMPTY_CHARS = 2


def put_logins(session: Session, again: str = "") -> None:
    """Ask for the URLs that are not there yet, and for that of the broker named `again`.

    Raises Refused: no broker of that name. DeployError: nobody is here to ask, or it is no URL.
    """
    secrets = login_secrets(Terraform(session).outputs().secret_names)
    if again and again not in secrets:
        raise Refused(f"BROKER={again} is none of global_brokers: {', '.join(secrets) or 'none'}")
    empty = empty_logins(session, secrets)
    for name, secret in secrets.items():
        if name not in empty and name != again:
            session.say(f"the login of {name} is there already")
        elif session.ask_secret is None:
            raise DeployError(empty_login(secret))
        else:
            _put(session, name, secret, session.ask_secret)


def login_secrets(secret_names: Mapping[str, str]) -> dict[str, str]:
    """Return of each Global Broker, by its short name, the secret of its login."""
    return {
        name.removeprefix(_GLOBAL_BROKER): secret
        for name, secret in sorted(secret_names.items())
        if name.startswith(_GLOBAL_BROKER)
    }


def empty_logins(session: Session, secrets: Mapping[str, str]) -> list[str]:
    """Return the brokers whose login nobody put in yet. Only the length of a secret is read."""
    empty = []
    for name, secret in secrets.items():
        length = session.commands.read(
            *("aws", "secretsmanager", "get-secret-value", "--region", session.environment.region),
            *("--secret-id", secret, "--query", "length(SecretString)", "--output", "text"),
        )
        if length.isdecimal() and int(length) <= _EMPTY_CHARS:
            empty.append(name)
    return empty


def empty_login(secret: str) -> str:
    """Return what is to be done about a login that is not there."""
    return (
        f"the secret {secret} is still empty; `make deploy-logins` asks for it, or put "
        '{"url": "mqtts://user:password@host:8883"} into it (docs/deploy.md)'
    )


def _put(session: Session, name: str, secret: str, ask: Callable[[str], str]) -> None:
    url = ask(
        f"URL of {name} with its login, as in mqtts://user:password@host:8883 (not shown): "
    ).strip()
    try:
        broker = parse_broker_url(url)
    except ValueError as error:
        # The error does not repeat the URL.
        raise DeployError(f"the URL of {name} {error}") from None
    session.commands.read(
        "aws", "secretsmanager", "put-secret-value", "--region", session.environment.region,
        "--secret-id", secret, "--secret-string", "file:///dev/stdin",
        stdin=json.dumps({"url": url}).encode(),
    )  # fmt: skip
    session.say(f"the login of {name} is put in: {broker}")
