"""Strict validation of manifests, as a Kubernetes API server of a given version would.

kubernetes-validate has the schemas; its own `validate` reads 2 MB of JSON for each object, so what
it has is read once here. Custom resources are checked against small schemas of the fields we use.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

#: What the chart supports: kubeVersion in Chart.yaml and later, as far as there are schemas.
VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")

_CUSTOM = Path(__file__).with_name("custom_resources.json")


def problems(manifest: dict[str, Any], version: str) -> list[str]:
    """Return what is wrong with one object, one line each. Raises KeyError: an unknown kind."""
    validator = _validator(manifest["kind"], manifest["apiVersion"], version)
    where = f"{manifest['kind']} {manifest['metadata']['name']}"
    return [
        f"{where}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator.iter_errors(manifest)
    ]


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    custom = _custom().get(f"{kind} {api_version}")
    if custom is not None:
        schema = {
            "additionalProperties": False,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": custom},
        }
        return jsonschema.Draft202012Validator(schema)
    group, _, number = api_version.rpartition("/")
    short = f"{group.split('.')[0]}-{number}" if group else number
    path = _directory(version) / f"{kind.lower()}-{short}.json"
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KeyError(f"no schema of {kind} {api_version} in {version}") from None
    resource: Resource[Any] = Resource.from_contents(schema)
    registry: Registry[Any] = resource @ _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def _directory(version: str) -> Any:
    files = importlib.resources.files("kubernetes_validate")
    return files / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    text = (_directory(version) / "_definitions.json").read_text(encoding="utf-8")
    resource: Resource[Any] = Resource.from_contents(json.loads(text))
    return resource @ Registry()


@functools.cache
def _custom() -> dict[str, Any]:
    schemas: dict[str, Any] = json.loads(_CUSTOM.read_text(encoding="utf-8"))
    return schemas
