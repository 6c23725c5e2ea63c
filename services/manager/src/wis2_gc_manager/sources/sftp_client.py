"""Gets data over SFTP (wis2-rules.md 15), on asyncssh. Imported on first use: it is heavy.

Host keys are not verified: links come from strangers, WIS2 has no list of the centres' host keys,
and the data is public. The checksum of the notification proves the data. An impostor could catch
only credentials that are in that notification anyway. Our own keys, agent and ssh configuration
are never used.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, cast

import asyncssh

from wis2_gc_common.errors import Reason, SourceError
from wis2_gc_common.runtime.causes import RESETS, os_words
from wis2_gc_manager.sources.timeouts import Timeouts, sooner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wis2_gc_manager.sources.addresses import Addresses
    from wis2_gc_manager.sources.body import Body
    from wis2_gc_manager.sources.link_target import Target

#: Each read is several requests in flight, so it costs one round trip; it must end within the idle
#: time-out, also on a slow line.
_READ_BYTES = 256 * 1024
_NOT_FOUND = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_LOST = (asyncssh.ConnectionLost, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)

# At INFO, asyncssh writes several lines per connection, with user names.
logging.getLogger("asyncssh").setLevel(logging.WARNING)


class SftpClient:
    """Gets sftp targets."""

    def __init__(self, addresses: Addresses, *, timeouts: Timeouts) -> None:
        self._addresses = addresses
        self._timeouts = timeouts

    async def get(self, target: Target, body: Body) -> None:
        """Fill `body`. Raises SourceError, Refused among them, and what `body` raises."""
        path = target.path
        connection: asyncssh.SSHClientConnection | None = None
        try:
            with (
                sooner(body.deadline, self._timeouts.connect_s + self._timeouts.idle_s),
                _translated(lost=Reason.CONNECT),
            ):
                connection = await self._connect(target)
                client = await connection.start_sftp_client()
                file = await client.open(path, "rb", encoding=None)
                size = (await file.stat()).size
            body.begin(size)
            while True:
                with (
                    sooner(body.deadline, self._timeouts.idle_s),
                    _translated(lost=Reason.TRUNCATED),
                ):
                    chunk = cast("bytes", await file.read(_READ_BYTES))
                if not chunk:
                    return
                await body.add(chunk)
        finally:
            if connection is not None:
                connection.abort()

    async def _connect(self, target: Target) -> asyncssh.SSHClientConnection:
        sock = await self._addresses.connect(target.host, target.port)
        try:
            return await asyncssh.connect(
                target.host,
                target.port,
                sock=sock,
                config=None,
                known_hosts=None,
                username=target.url.user or "anonymous",
                password=target.url.password or "",
                client_keys=None,
                agent_path=None,
                public_key_auth=False,
                host_based_auth=False,
                gss_auth=False,
                gss_kex=False,
                # asyncssh unpacks a packet without a bound: 256 kB can become 256 MB.
                compression_algs=["none"],
                login_timeout=0,  # its error would look like a lost connection; `sooner` bounds it
            )
        except BaseException:
            sock.close()
            raise


@contextlib.contextmanager
def _translated(*, lost: Reason) -> Iterator[None]:
    """Translate errors; `lost` is the reason for a connection that broke off."""
    try:
        yield
    except asyncssh.SFTPFileIsADirectory:
        raise SourceError(Reason.NOT_FOUND, "a folder, not a file") from None
    except _NOT_FOUND:
        raise SourceError(Reason.NOT_FOUND, "no such file") from None
    except asyncssh.SFTPPermissionDenied:
        raise SourceError(Reason.DENIED, "the file may not be read") from None
    except asyncssh.PermissionDenied:
        raise SourceError(Reason.DENIED, "the server does not accept the login") from None
    except TimeoutError:
        raise SourceError(Reason.TIMEOUT, "nothing was received in time") from None
    except _LOST as error:
        raise SourceError(lost, "connection lost", is_fleeting=True) from error
    except OSError as error:
        is_reset = error.errno in RESETS
        raise SourceError(lost, os_words(error), is_fleeting=is_reset) from error
    except asyncssh.SFTPError as error:
        raise SourceError(Reason.SERVER_ERROR, f"SFTP status {error.code}") from error
    except asyncssh.KeyExchangeFailed as error:
        text = "no method of encryption or compression in common"
        raise SourceError(Reason.PROTOCOL, text) from error
    except (asyncssh.ServiceNotAvailable, asyncssh.ChannelOpenError) as error:
        raise SourceError(Reason.PROTOCOL, "the server offers no SFTP") from error
    except (asyncssh.Error, ValueError) as error:
        raise SourceError(Reason.PROTOCOL, "not valid SSH or SFTP") from error
