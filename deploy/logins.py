"""Puts the Global Brokers' URLs, with logins, from the operator into Secrets Manager."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy import terraform
from deploy.session import Declined, DeployError
from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.session import Session

#: Terraform makes them with the value "{}".
_EMPTY_CHARS = 2


def put_logins(session: Session) -> None:
    """Ask for the missing URLs, and again for the URL of BROKER.

    Raises Declined: no broker of that name. DeployError: no operator to ask, or it is not a URL.
    """
    brokers = terraform.outputs(session)["helm_values"]["brokers"]
    secrets = {broker["name"]: broker["secretArn"] for broker in brokers}
    again = session.variables.get("BROKER")
    if again and again not in secrets:
        raise Declined(f"BROKER={again} is not in global_brokers: {', '.join(secrets) or 'none'}")
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
        session.say(f"the login of {name} is stored: {broker}")


def check_logins(session: Session, brokers: Sequence[Mapping[str, str]]) -> None:
    """Raise DeployError for a missing login; a listener would not start without it.

    `brokers`: as in Terraform's output for the chart.
    """
    for broker in brokers:
        if _is_empty(session, broker["secretArn"]):
            raise DeployError(_what_to_do(broker["secretArn"]))


def _is_empty(session: Session, secret: str) -> bool:
    """Whether the login is still missing. Reads only its length."""
    query = ("--query", "length(SecretString)")
    length = session.aws("secretsmanager", "get-secret-value", "--secret-id", secret, *query)
    return bool(length <= _EMPTY_CHARS)


def _what_to_do(secret: str) -> str:
    return (
        f"the secret {secret} is still empty; `make deploy-logins` asks for it, or put "
        '{"url": "mqtts://user:password@host:8883"} into it (docs/deploy.md)'
    )
