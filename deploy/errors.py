"""What ends a step. The message is the one line that the operator reads.

DeployError     something was begun and went wrong   → exit code 1
└ Refused       nothing was touched                  → exit code 2
"""

from __future__ import annotations


class DeployError(Exception):
    """A step failed; those after it do not run."""

    exit_code = 1


class Refused(DeployError):
    """Something is missing or wrong, and was seen before anything was touched."""

    exit_code = 2
