"""What the API refuses."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class Refusal(ServiceException):
    """`Refusal(code, message)`. Those in moto's own modules are looked up by the module's name."""
