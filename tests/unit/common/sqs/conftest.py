from __future__ import annotations

from testkit.aws_models import aws_models_are_read_once

__all__ = ["aws_models_are_read_once"]
