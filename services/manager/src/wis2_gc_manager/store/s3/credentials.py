"""Credentials for S3 from the AWS SDK's own chain, looked for in a thread and renewed in time.

The chain of botocore is: environment, profile, web identity (IRSA), SSO, process, container
(EKS Pod Identity), instance role. It blocks, so it never runs on the event loop.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import exceptions as boto
from botocore.credentials import Credentials

from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.runtime.aws_causes import (
    NO_CREDENTIALS,
    SETTINGS_ERRORS,
    no_answer,
    settings_problem,
)
from wis2_gc_common.runtime.causes import BUG
from wis2_gc_common.runtime.logs import get_logger, silence_aws_sdk

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often the chain is asked. It renews credentials that expire within 15 minutes, and answers at
#: once if there is nothing to renew.
LOOK_AGAIN_S = 60.0
#: The shortest time between two searches after a refusal: each takes a new session of the SDK.
RENEW_AT_MOST_EVERY_S = 10.0

_log = get_logger(__name__)


def new_session(region: str | None = None) -> botocore.session.Session:
    """Return a session of the SDK whose libraries do not log secrets."""
    silence_aws_sdk()
    session = botocore.session.Session()
    if region is not None:
        # For the chain's own calls (STS), which do not read AWS_REGION.
        session.set_config_variable("region", region)
    return session


class CredentialChain:
    """The present credentials. Used by one event loop."""

    def __init__(self, open_session: Callable[[], Any]) -> None:
        """`open_session`: makes a session of botocore, which then looks for credentials again."""
        self._open_session = open_session
        self._threads = ThreadPoolExecutor(1, "s3-credentials")
        self._chain: Any = None
        """What botocore has found, and renews."""
        self._found: Credentials | None = None
        self._look: asyncio.Task[Credentials] | None = None
        self._look_again_s = 0.0
        self._renewed_s = float("-inf")

    async def current(self) -> Credentials:
        """Return the credentials to sign with; waits only if none have been found yet.

        Raises Unavailable: their source does not answer; Misconfigured: there are none.
        """
        if self._found is None:
            return await asyncio.shield(self._looking())
        if self._now_s() >= self._look_again_s and self._look is None:
            self._looking().add_done_callback(_report)
        return self._found

    async def renew(self, refused: Credentials) -> bool:
        """Look for credentials other than those that S3 refused; return whether there are any.

        Raises like `current`.
        """
        if self._found is not refused:
            return True
        if self._look is None:
            if self._now_s() < self._renewed_s + RENEW_AT_MOST_EVERY_S:
                return False
            self._renewed_s = self._now_s()
            # A session keeps what it has found, even if it is wrong: only a new session looks.
            self._chain = None
        return await asyncio.shield(self._looking()) is not refused

    async def close(self) -> None:
        """End the thread. Never raises."""
        if self._look is not None:
            await asyncio.wait({self._look})
        self._threads.shutdown(wait=False)

    def _looking(self) -> asyncio.Task[Credentials]:
        if self._look is None:
            self._look = asyncio.get_running_loop().create_task(self._find())
            self._look.add_done_callback(_collect)
        return self._look

    async def _find(self) -> Credentials:
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._ask_chain)
        finally:
            self._look = None
            self._look_again_s = self._now_s() + LOOK_AGAIN_S
        if self._found is None or found != self._values(self._found):
            self._found = Credentials(*found)
        return self._found

    def _ask_chain(self) -> tuple[str, str, str | None]:
        try:
            if self._chain is None:
                self._chain = self._open_session().get_credentials()
            frozen = self._chain and self._chain.get_frozen_credentials()
        except SETTINGS_ERRORS as error:
            problem = settings_problem(error)
            raise Misconfigured("store", "AWS_PROFILE", problem) from None
        except boto.ClientError as error:
            raise _refused_by_sts(error) from None
        except Exception as error:  # noqa: BLE001 - each link of the chain has errors of its own
            # Without its text, which may contain the answer of a credential server.
            problem = f"the AWS credentials are not available now ({no_answer(error)})"
            raise Unavailable("store", problem) from None
        if not frozen or not frozen.access_key or not frozen.secret_key:
            self._chain = None
            raise Misconfigured("store", "AWS_ACCESS_KEY_ID", NO_CREDENTIALS)
        return frozen.access_key, frozen.secret_key, frozen.token

    @staticmethod
    def _values(credentials: Credentials) -> tuple[str, str, str | None]:
        return credentials.access_key, credentials.secret_key, credentials.token

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _refused_by_sts(error: boto.ClientError) -> Unavailable:
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    operation = str(error.operation_name)[:64]
    if code in ("AccessDenied", "AccessDeniedException", "InvalidIdentityToken"):
        return Misconfigured(
            "store",
            "AWS_ROLE_ARN",
            f"{operation} is refused ({code}); check the role and its trust policy",
        )
    return Unavailable("store", f"the AWS credentials are not available now ({operation}: {code})")


def _collect(task: asyncio.Task[Credentials]) -> None:
    """Read the result of a search that nothing waits for any more."""
    if not task.cancelled():
        task.exception()


def _report(task: asyncio.Task[Credentials]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        if isinstance(error, Unavailable):
            _log.warning("credentials_not_renewed", detail=error.detail)
        else:
            _log.error("credentials_not_renewed", detail=BUG, exc_info=error)
