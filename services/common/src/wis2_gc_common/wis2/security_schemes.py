"""`links[].security`: how to request a publisher's data (the schema of the WNM). Pure.

We do not use it. We check it because what we announce must be valid (wis2-rules.md 23).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any], bool]

_NAME = re.compile(r"^[a-zA-Z0-9.\-_]+$")


def is_valid_security(security: object) -> bool:
    """Whether each named entry is a reference or a security scheme of OpenAPI 3."""
    return isinstance(security, dict) and all(
        _is_reference(entry) or _is_scheme(entry)
        for name, entry in security.items()
        if _NAME.search(name)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _one_of(*choices: str) -> Check:
    return lambda value: isinstance(value, str) and value in choices


def _object(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """Return the check of an object with these members, and any whose name begins with `x-`."""
    members = {**required, **optional}
    return lambda value: (
        isinstance(value, dict)
        and required.keys() <= value.keys()
        and all(
            members[name](member) if name in members else name.startswith("x-")
            for name, member in value.items()
        )
    )


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("$ref"), str)


def _are_scopes(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _flow(**required: Check) -> Check:
    return _object(required, {"refreshUrl": _is_text, "scopes": _are_scopes})


_DESCRIPTION: dict[str, Check] = {"description": _is_text}
_FLOWS = _object(
    {},
    {
        "implicit": _flow(authorizationUrl=_is_text, scopes=_are_scopes),
        "password": _flow(tokenUrl=_is_text),
        "clientCredentials": _flow(tokenUrl=_is_text),
        "authorizationCode": _flow(authorizationUrl=_is_text, tokenUrl=_is_text),
    },
)
_SCHEMES: dict[str, Check] = {
    "apiKey": _object(
        {"type": _is_text, "name": _is_text, "in": _one_of("header", "query", "cookie")},
        _DESCRIPTION,
    ),
    "http": _object(
        {"type": _is_text, "scheme": _is_text}, {**_DESCRIPTION, "bearerFormat": _is_text}
    ),
    "oauth2": _object({"type": _is_text, "flows": _FLOWS}, _DESCRIPTION),
    "openIdConnect": _object({"type": _is_text, "openIdConnectUrl": _is_text}, _DESCRIPTION),
}


def _is_scheme(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    check = _SCHEMES.get(value["type"])
    if check is None or not check(value):
        return False
    return value.get("scheme") == "bearer" or "bearerFormat" not in value
