"""The lifecycle rule of a bucket on this machine: it rounds as that of S3 does."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.s3_lifecycle import expire

if TYPE_CHECKING:
    from pathlib import Path


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def store(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"BUFR")
    os.utime(path, ns=(ns(text), ns(text)))
    return path


def test_objects_go_at_the_midnight_after_their_day(tmp_path: Path) -> None:
    late = store(tmp_path / "2026-11-27/23/yy-met/a", "2026-11-27T23:05")
    later = store(tmp_path / "2026-11-27/23/yy-met/b", "2026-11-28T00:10")
    expire(tmp_path, days=1, now_ns=ns("2026-11-29T00:00") - 1)
    assert late.exists()
    expire(tmp_path, days=1, now_ns=ns("2026-11-29T00:00"))
    assert not late.exists()
    assert later.exists()
    expire(tmp_path, days=2, now_ns=ns("2026-11-30T00:00"))
    assert later.exists()


def test_folders_that_nothing_is_being_put_into_go_with_their_objects(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    store(objects / "2026-08-01/23/yy-met/a", "2026-08-01T23:05")
    expire(objects, days=1, now_ns=time.time_ns())
    assert (objects / "2026-08-01/23/yy-met").is_dir()
    assert not (objects / "2026-08-01/23/yy-met/a").exists()
    for folder in ("2026-08-01/23/yy-met", "2026-08-01/23", "2026-08-01"):
        os.utime(objects / folder, ns=(0, 0))
        expire(objects, days=1, now_ns=time.time_ns())
        assert not (objects / folder).exists()
    os.utime(objects, ns=(0, 0))
    expire(objects, days=1, now_ns=time.time_ns())
    assert objects.is_dir()


def test_a_bucket_that_is_not_there_yet_is_not_an_error(tmp_path: Path) -> None:
    expire(tmp_path / "none", days=1, now_ns=0)
