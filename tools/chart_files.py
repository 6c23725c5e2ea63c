"""What the chart has from the code: settings in `values.schema.json`, nginx' lists of file types.

`make chart-files` writes them; a test fails if they are out of date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.environment import SERVICES
from wis2_gc_common.settings.catalogue import CATALOGUE
from wis2_gc_common.settings.parsers import Each, OneOf, Seconds, Switch, Whole
from wis2_gc_common.wis2.media_type import nginx_try_files, nginx_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wis2_gc_common.settings.catalogue import Setting

CHART = Path(__file__).parents[1] / "helm" / "wis2-global-cache"
SCHEMA = CHART / "values.schema.json"

Manifest = dict[str, Any]

#: Settings that follow from other values, and from which; they cannot be set by name.
FOLLOWING: Mapping[str, str] = {
    "GC_CENTRE_ID": "centreId",
    "GC_REDIS_URL": "registry",
    "GC_QUEUE_URL": "queue.url",
    "GC_DEAD_LETTER_QUEUE_URL": "queue.deadLetterUrl",
    "GC_STORE_URL": "store.url",
    "GC_DATA_BASE_URL": "store.dataBaseUrl",
    "GC_STORE_EXPIRATION_DAYS": "store.expirationDays",
    "GC_LOCAL_BROKER_URL": "broker",
    "GC_DEPLOYMENT_SECRET": "deploymentSecret",
    "GC_GLOBAL_BROKER_URL": "brokers",
    "GC_GLOBAL_BROKER_NAME": "brokers",
    "GC_KUBERNETES_RELEASE": "metrics.rollouts",
    "GC_KUBERNETES_CREDENTIALS": "metrics.rollouts",
    "GC_CA_FILE": "certificateAuthorities",
    "GC_KNOWN_CENTRES_FILE": "knownCentres",
    "GC_INSTANCE": "the pod's name",
    "GC_HTTP_PORT": "8080 in every pod",
}


def settings_schema(service: str) -> Manifest:
    """Return the JSON schema of `{service}.settings`, made from the catalogue of settings."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            setting.name: {**_kind(setting), "description": setting.meaning}
            for setting in CATALOGUE
            if service in setting.services and setting.name not in FOLLOWING
        },
    }


def _kind(setting: Setting[Any]) -> Manifest:
    """Return the JSON schema of a setting's values."""
    match setting.parse:
        case Whole(minimum, maximum):
            return {"type": "integer", "minimum": minimum, "maximum": maximum}
        case Seconds(minimum, maximum):
            return {"type": "number", "minimum": _number(minimum), "maximum": _number(maximum)}
        case Each(Whole() | Seconds()):
            return {"type": "string", "pattern": r"^[0-9.]+( *, *[0-9.]+)*$"}
        case OneOf(choices):
            return {"enum": [choice for choice in choices if choice]}
        case Switch():
            return {"type": "boolean"}
        case _:
            return {"type": "string", "minLength": 1}


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def schema_with_settings(schema: Manifest) -> Manifest:
    """Return `schema` with the settings of the services as the catalogue has them."""
    made = {f"{service}Settings": settings_schema(service) for service in SERVICES}
    return {**schema, "definitions": {**schema["definitions"], **made}}


def schema_text(schema: Manifest) -> str:
    """Return the text of values.schema.json."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def generated() -> dict[Path, str]:
    """Return the files that are made from the code, and their texts; golden files apart."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    return {
        SCHEMA: schema_text(schema_with_settings(schema)),
        CHART / "files" / "nginx-types.conf": nginx_types().strip() + "\n",
        CHART / "files" / "nginx-try-files.txt": nginx_try_files() + "\n",
    }


def main() -> None:
    """Write all of them."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
