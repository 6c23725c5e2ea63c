"""The Global Brokers' URLs, with their logins: from the operator into Secrets Manager."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy import terraform
from deploy.session import DeployError, Refused
from wis2_gc_common.settings import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.session import Session

#: How terraform/modules/secrets names the secrets of the Global Brokers' logins.
_GLOBAL_BROKER = "global-brokers/"
#: "{}", as Terraform makes them.
_EMPTY_CHARS = 2


def put_logins(session: Session, again: str = "") -> None:
    """Ask for the URLs that are not there yet, and for that of the broker named `again`.

    Raises Refused: no broker of that name. DeployError: nobody is here to ask, or it is no URL.
    """
    secrets = login_secrets(terraform.outputs(session)["secret_names"])
    if again and again not in secrets:
        raise Refused(f"BROKER={again} is none of global_brokers: {', '.join(secrets) or 'none'}")
    for name, secret in secrets.items():
        if name != again and not _is_empty(session, secret):
            session.say(f"the login of {name} is there already")
            continue
        if session.ask_secret is None:
            raise DeployError(_what_to_do(secret))
        url = session.ask_secret(
            f"URL of {name} with its login, as in mqtts://user:password@host:8883 (not shown): "
        ).strip()
        try:
            broker = parse_broker_url(url)
        except ValueError as error:
            # The error does not repeat the URL.
            raise DeployError(f"the URL of {name} {error}") from None
        session.aws(
            "secretsmanager", "put-secret-value", "--secret-id", secret,
            "--secret-string", "file:///dev/stdin", stdin=json.dumps({"url": url}).encode(),
        )  # fmt: skip
        session.say(f"the login of {name} is put in: {broker}")


def login_secrets(secret_names: Mapping[str, str]) -> dict[str, str]:
    """Return of each Global Broker, by its short name, the secret of its login."""
    return {
        name.removeprefix(_GLOBAL_BROKER): secret
        for name, secret in sorted(secret_names.items())
        if name.startswith(_GLOBAL_BROKER)
    }


def check_logins(session: Session, secret_names: Mapping[str, str]) -> None:
    """Raise DeployError for a login that nobody put in; a listener would not start without."""
    for secret in login_secrets(secret_names).values():
        if _is_empty(session, secret):
            raise DeployError(_what_to_do(secret))


def _is_empty(session: Session, secret: str) -> bool:
    """Whether nobody put it in yet. Only its length is read."""
    query = ("--query", "length(SecretString)")
    length = session.aws("secretsmanager", "get-secret-value", "--secret-id", secret, *query)
    return bool(length <= _EMPTY_CHARS)


def _what_to_do(secret: str) -> str:
    return (
        f"the secret {secret} is still empty; `make deploy-logins` asks for it, or put "
        '{"url": "mqtts://user:password@host:8883"} into it (docs/deploy.md)'
    )
