"""S3: a Deny with a condition is for those it describes; moto lets nobody pass it.

Ours are against what is not TLS, and TLS older than 1.2. What comes over the loopback counts as
fine.
"""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult


def install() -> None:
    """Have moto pass over such statements."""
    is_action_permitted = IAMPolicyStatement.is_action_permitted

    def is_permitted(statement: IAMPolicyStatement, *args: Any, **kwargs: Any) -> PermissionResult:
        said = statement._statement
        if said["Effect"] == "Deny" and "Condition" in said:
            return PermissionResult.NEUTRAL
        return is_action_permitted(statement, *args, **kwargs)

    IAMPolicyStatement.is_action_permitted = is_permitted
