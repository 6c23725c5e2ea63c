"""The WMO's schemas and real messages, which are not part of this project.

They are in the folder that `WIS2_SAMPLES` names; default: `../shared/samples` beside the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "samples"


def samples(path: str) -> Path:
    """Return that file or folder of the samples; skip the test, with the reason, without it."""
    found = Path(os.environ.get("WIS2_SAMPLES") or _BESIDE) / path
    if not found.exists():
        pytest.skip(f"{found} is not there: set WIS2_SAMPLES to the folder of the samples")
    return found


def sample_json(path: str) -> Any:
    """Return that file of the samples, decoded."""
    return json.loads(samples(path).read_text("utf-8"))
