"""SFTP sources, against an asyncssh server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import pytest_asyncio

from local.parts.ports import free_port
from testkit.fakes.memory_upload import MemoryUpload, no_upload
from testkit.plain_words import assert_plain
from wis2_gc_common.errors import Overridden, Reason, Refused, SourceError
from wis2_gc_manager.sources.downloader import LinkDownloader
from wis2_gc_manager.sources.port import MAX_IN_MEMORY_BYTES, Downloader, Payload, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wis2_gc_manager.store.port import Upload

DATA = b"ISMD01 " * 1000
LARGE = DATA * 400


@contextlib.asynccontextmanager
async def a_downloader(*, timeout_s: float = 10) -> AsyncIterator[Downloader]:
    downloader = LinkDownloader(
        allowed_networks=(ipaddress.ip_network("127.0.0.1/32"),),
        max_object_bytes=len(LARGE),
        concurrency_per_host=4,
        connect_timeout_s=timeout_s,
        idle_timeout_s=timeout_s,
        total_timeout_s=30,
        ca_file=None,
    )
    try:
        yield downloader
    finally:
        await downloader.close()


@pytest_asyncio.fixture
async def downloader() -> AsyncIterator[Downloader]:
    async with a_downloader() as running:
        yield running


async def get(downloader: Downloader, href: str, **kwargs: Any) -> Payload:
    return await downloader.fetch(Request(href, kwargs.get("length"), None), no_upload)


async def failure(downloader: Downloader, href: str, **kwargs: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(downloader, href, **kwargs)
    assert_plain(caught.value.detail)
    return caught.value


class Accounts(asyncssh.SSHServer):
    """`centre` with a password; `anonymous` without."""

    def begin_auth(self, username: str) -> bool:
        return username != "anonymous"

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("centre", "p@ss")


@pytest_asyncio.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[str]:
    """A well-behaved server; its host and port."""
    (tmp_path / "a b.bufr").write_bytes(DATA)
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "secret").write_bytes(DATA)
    (tmp_path / "folder").mkdir()
    (tmp_path / "short").write_bytes(DATA)
    short = (tmp_path / "short").stat()

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
            super().__init__(channel, chroot=bytes(tmp_path))

        def open(self, path: bytes, *rest: Any) -> Any:
            if path.endswith(b"secret"):
                raise asyncssh.SFTPPermissionDenied("no")
            return super().open(path, *rest)

        def fstat(self, file_obj: Any) -> Any:
            attributes = os.fstat(file_obj.fileno())
            is_short = os.path.samestat(attributes, short)
            return asyncssh.SFTPAttrs(size=attributes.st_size + is_short)

    async with await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Accounts,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=Files,
        config=[],
    ) as server:
        yield f"127.0.0.1:{server.get_port()}"


async def test_with_and_without_credentials(downloader: Downloader, sftp: str) -> None:
    payload = await get(downloader, f"sftp://{sftp}/a%20b.bufr", length=len(DATA))
    assert payload.data == DATA
    assert payload.digest == hashlib.sha512(DATA).digest()
    assert (await get(downloader, f"sftp://centre:p%40ss@{sftp}/a%20b.bufr")).data == DATA
    error = await failure(downloader, f"sftp://centre:geheim@{sftp}/a%20b.bufr")
    assert error.reason is Reason.DENIED
    assert "geheim" not in f"{error}"


async def test_a_large_file_goes_into_an_upload(downloader: Downloader, sftp: str) -> None:
    assert len(LARGE) > MAX_IN_MEMORY_BYTES
    upload = MemoryUpload()

    async def open_upload() -> Upload:
        return upload

    request = Request(f"sftp://{sftp}/large", None, None)
    payload = await downloader.fetch(request, open_upload)
    assert payload.upload is upload
    assert upload.data == LARGE
    assert payload.digest == hashlib.sha512(LARGE).digest()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none", Reason.NOT_FOUND),
        ("none/a", Reason.NOT_FOUND),
        ("secret", Reason.DENIED),
        ("folder", Reason.SERVER_ERROR),
    ],
)
async def test_what_cannot_be_had(
    downloader: Downloader, sftp: str, path: str, reason: Reason
) -> None:
    assert (await failure(downloader, f"sftp://{sftp}/{path}")).reason is reason


async def test_another_length_than_announced(downloader: Downloader, sftp: str) -> None:
    error = await failure(downloader, f"sftp://{sftp}/large", length=5)
    assert error.reason is Reason.LENGTH


async def test_an_empty_file_is_data_only_where_it_is_announced(
    downloader: Downloader, sftp: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert (await failure(downloader, f"sftp://{sftp}/empty")).reason is Reason.EMPTY
    assert (await get(downloader, f"sftp://{sftp}/empty", length=0)).data == b""


async def test_a_file_that_ends_before_its_size_is_cut_short(
    downloader: Downloader, sftp: str
) -> None:
    error = await failure(downloader, f"sftp://{sftp}/short")
    assert (error.reason, error.is_fleeting) == (Reason.TRUNCATED, True)


async def test_too_large(downloader: Downloader, sftp: str, tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(LARGE + b"x")
    with pytest.raises(Overridden):
        await get(downloader, f"sftp://{sftp}/huge")


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        href = f"sftp://127.0.0.1:{listener.getsockname()[1]}/a"
        async with a_downloader(timeout_s=0.1) as impatient:
            assert (await failure(impatient, href)).reason is Reason.TIMEOUT


async def test_servers_that_are_none(downloader: Downloader) -> None:
    href = f"sftp://127.0.0.1:{free_port()}/a"
    assert (await failure(downloader, href)).reason is Reason.CONNECT

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as web:
        href = f"sftp://127.0.0.1:{web.sockets[0].getsockname()[1]}/a"
        error = await failure(downloader, href)
        assert error.reason in (Reason.CONNECT, Reason.PROTOCOL)


async def test_a_server_that_requires_compression_is_refused(downloader: Downloader) -> None:
    async with await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Accounts,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=True,
        compression_algs=["zlib@openssh.com"],
        config=[],
    ) as server:
        error = await failure(downloader, f"sftp://127.0.0.1:{server.get_port()}/a")
        assert (error.reason, error.detail) == (
            Reason.PROTOCOL,
            "no method of encryption or compression in common",
        )


async def test_a_forbidden_address_is_refused(downloader: Downloader) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        error = await failure(downloader, f"sftp://127.0.0.2:{listener.getsockname()[1]}/a")
        assert isinstance(error, Refused)
        with pytest.raises(BlockingIOError):
            listener.accept()
