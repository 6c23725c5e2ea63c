"""The object store, files or S3, and the web server in front of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from testkit.worlds.world import freeze
from tests.faults.catalogue import MANAGERS, Scene, fault
from tests.faults.proxy import reply_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Kind


@fault("the web server killed")
def _(scene: Scene) -> Iterator[str]:
    scene.world.nginx.kill()
    scene.is_away()
    yield "readiness said so"
    scene.world.nginx.start()


@fault("the disk away", only="file")
def _(scene: Scene) -> Iterator[str]:
    store = scene.world.store
    marks = scene.marks(*MANAGERS)
    aside = store.with_name("unplugged")
    store.rename(aside)
    # A file where the directory was: nobody can make it again, not even root.
    store.write_bytes(b"")
    yield scene.logged(marks, '"part_away"')
    store.unlink()
    aside.rename(store)


@contextlib.contextmanager
def other_disk(scene: Scene, *options: str) -> Iterator[str]:
    """Mount another file system where the objects are."""
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("size=64k", *options)), "tmpfs"]
    subprocess.run([*mount, str(scene.world.store)], check=True)
    try:
        if "ro" not in options:
            with contextlib.suppress(OSError), (scene.world.store / "filler").open("wb") as filler:
                while filler.write(b"0" * 4096):
                    filler.flush()
        marks = scene.marks(*MANAGERS)
        yield scene.logged(marks, '"part_away"')
    finally:
        # Files of it may be open for a moment.
        subprocess.run(["umount", "--lazy", str(scene.world.store)], check=True)


if sys.platform == "linux" and os.geteuid() == 0:
    # Only root mounts.
    @fault("the disk full", only="file")
    def _(scene: Scene) -> Iterator[str]:
        with other_disk(scene) as told:
            yield told

    @fault("the disk read-only", only="file")
    def _(scene: Scene) -> Iterator[str]:
        with other_disk(scene, "ro") as told:
            yield told


@fault("S3 killed", only="s3")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    scene.world.s3.kill()
    yield scene.logged(marks, '"part_away"')
    scene.world.s3.start()


@fault("S3 hung", only="s3")
def _(scene: Scene) -> Iterator[str]:
    """Ended by a kill: see test_parts_away.py."""
    marks = scene.marks(*MANAGERS)
    freeze(scene.world.s3)
    yield scene.logged(marks, '"part_away"')
    scene.world.s3.kill()
    scene.world.s3.start()


def s3_answers(what: str, status: str, code: str, *match: str, most: int = 30) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    reply = reply_of(status, "application/xml", body)

    @fault(f"S3 {what}", only="s3")
    def _(scene: Scene) -> Iterator[str]:
        words = tuple(text.encode() for text in match)
        proxies, times = scene.proxies("s3", *MANAGERS), min(most, 8)
        with scene.rule(proxies, "answer", times, match=words, reply=reply, most=most) as hits:
            yield f"{hits} times {status}"


s3_answers("asks to slow down", "503 Slow Down", "SlowDown")
s3_answers("has an internal error", "500 Internal Server Error", "InternalError")
s3_answers("is full", "507 Insufficient Storage", "InsufficientStorage", "PUT /")
s3_answers("denies access", "403 Forbidden", "AccessDenied", "PUT /")
s3_answers("does not show what it has stored", "404 Not Found", "NoSuchKey", "HEAD /", most=4)


@fault("S3's replies lost", only="s3")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("s3", *MANAGERS), "lose", 8, share=0.1) as hits:
        yield f"{hits} replies"


@fault("S3's connections cut in mid-upload", only="s3")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(
        scene.proxies("s3", *MANAGERS), "halve", 8, match=(b"PUT /",), share=0.3
    ) as hits:
        yield f"{hits} uploads"


@fault("S3 slow", only="s3")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("s3", *MANAGERS), "slow", 20, delay_s=0.5) as hits:
        yield f"{hits} replies late"


@fault("S3 refuses connections", only="s3")
def _(scene: Scene) -> Iterator[str]:
    with scene.refused(scene.proxies("s3", *MANAGERS), '"part_away"', by=MANAGERS) as told:
        yield told


def multipart(what: str, kind: Kind, match: str, **options: Any) -> None:
    @fault(f"an upload in parts {what}", only="s3")
    def _(scene: Scene) -> Iterator[str]:
        proxies = scene.proxies("s3", *MANAGERS)
        with scene.rule(proxies, kind, match=(match.encode(),), most=1, **options):
            name = scene.load.large()
            yield f"{scene.hit(proxies)} times"
        scene.have_come_out([name])


multipart("cut in a part", "halve", "partNumber=2")
multipart("whose part has no reply", "hold reply", "partNumber=1")
multipart("whose end has no reply", "hold reply", "POST /wis2-data/")
