"""Reads Deployments and StatefulSets of one release from the Kubernetes API, and nothing else.

Two GET requests with the pod's own token. Its Role must allow `list` on `deployments` and
`statefulsets` of the group `apps` in its namespace. Nothing is retried: the caller asks again.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
import urllib3

from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.settings.catalogue import KUBERNETES_CREDENTIALS
from wis2_gc_metrics.rollouts import Workload, version_of

if TYPE_CHECKING:
    from pathlib import Path

    from wis2_gc_metrics.rollouts import Kind

#: Both requests together may take this long, in seconds.
REQUESTS_TIMEOUT_S = 3.0
#: A dozen workloads of 10 kB each are usual; a much larger text is not an answer to our question.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
#: Our words for a reason: its message can name nodes and registries, and this text is public.
_PROBLEMS = {"ProgressDeadlineExceeded": "no progress in the time it has"}
_NO_PROGRESS = "no progress"
_KINDS: tuple[tuple[Kind, str], ...] = (
    ("Deployment", "deployments"),
    ("StatefulSet", "statefulsets"),
)


class _Metadata(msgspec.Struct):
    name: str
    generation: int = 0


class _Container(msgspec.Struct):
    image: str = ""


class _PodSpec(msgspec.Struct):
    containers: list[_Container]


class _Template(msgspec.Struct):
    spec: _PodSpec


class _Spec(msgspec.Struct):
    template: _Template
    replicas: int = 1


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""


class _Status(msgspec.Struct, rename="camel"):
    """Kubernetes leaves out what is zero."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    #: Not included in `replicas`; only for Deployments (Kubernetes 1.35 and later).
    terminating_replicas: int = 0
    conditions: list[_Condition] = []


class _Item(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status


class _List(msgspec.Struct):
    items: list[_Item]


class KubernetesApi:
    """A `WorkloadSource`: the workloads of one release, by HTTPS from inside the cluster."""

    def __init__(
        self,
        api_url: str,
        *,
        credentials: Path,
        release: str,
        timeout_s: float = REQUESTS_TIMEOUT_S,
    ) -> None:
        self._api_url = api_url
        self._credentials = credentials
        self._selector = f"app.kubernetes.io/instance={release}"
        self._timeout_s = timeout_s
        self._decode = msgspec.json.Decoder(_List).decode
        self._authorities = ""
        self._pool: urllib3.PoolManager | None = None
        # A thread of its own: an API that hangs must not block the threads that resolve names for
        # Redis.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kubernetes-api")

    async def workloads(self) -> list[Workload]:
        """Return Deployments, then StatefulSets.

        Raises Unavailable: no answer in time, or an unreadable one; Misconfigured: the API refuses
        us, or there are no credentials.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await loop.run_in_executor(self._thread, self._read)
        except TimeoutError:
            raise _away(f"no answer within {self._timeout_s:g} s") from None

    async def close(self) -> None:
        """Begin no new request; a running one ends with its time-out."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> list[Workload]:
        deadline = time.monotonic() + self._timeout_s
        # Read it each time: Kubernetes renews the token every hour.
        token = self._credential("token")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise _refused(f"{self._credentials / 'token'} holds no token")
        namespace = quote(self._credential("namespace"), safe="")
        pool = self._connections()
        return [
            _workload(kind, item)
            for kind, plural in _KINDS
            for item in self._list(
                pool, f"/apis/apps/v1/namespaces/{namespace}/{plural}", token, deadline
            )
        ]

    def _credential(self, name: str) -> str:
        path = self._credentials / name
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(f"{path} cannot be read: {error}") from None
        if not text:
            raise _refused(f"{path} is empty")
        return text

    def _connections(self) -> urllib3.PoolManager:
        """Return connections that trust only the cluster's present authorities."""
        authorities = self._credential("ca.crt")
        if self._pool is None or authorities != self._authorities:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(cadata=authorities)
            except (ssl.SSLError, ValueError) as error:
                path = self._credentials / "ca.crt"
                raise _refused(f"{path} holds no certificates: {error}") from None
            self._pool = urllib3.PoolManager(ssl_context=context, retries=False)
            self._authorities = authorities
        return self._pool

    def _list(
        self, pool: urllib3.PoolManager, path: str, token: str, deadline: float
    ) -> list[_Item]:
        # A new connection for each request: the other side sometimes closes a kept one.
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "Connection": "close",
            "User-Agent": "wis2-gc-metrics",
        }
        left = max(0.001, deadline - time.monotonic())
        try:
            answer = pool.request(
                "GET",
                f"{self._api_url}{path}",
                fields={"labelSelector": self._selector},
                headers=headers,
                timeout=urllib3.Timeout(total=left),
                # Nobody else may get the token.
                redirect=False,
                preload_content=False,
            )
            with answer:
                body = _body(answer, deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _away(f"{path}: {error}"[:500]) from None
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise _refused(f"{path}: HTTP {answer.status} {body[:500].decode(errors='replace')}")
        if answer.status != HTTPStatus.OK:
            raise _away(f"{path}: HTTP {answer.status}")
        try:
            return self._decode(body).items
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _away(f"{path}: no list of workloads: {error}") from None


def _body(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """Return the whole body. Raises Unavailable: it is too long or too slow."""
    body = bytearray()
    while chunk := answer.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _away(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > deadline:
            raise _away("an answer that does not end in time")
    return bytes(body)


def _away(detail: str) -> Unavailable:
    return Unavailable("Kubernetes API", detail)


def _refused(detail: str) -> Misconfigured:
    return Misconfigured("Kubernetes API", KUBERNETES_CREDENTIALS.name, detail)


def _workload(kind: Kind, item: _Item) -> Workload:
    spec, status = item.spec, item.status
    return Workload(
        kind=kind,
        name=item.metadata.name,
        version=version_of(spec.template.spec.containers[0].image)
        if spec.template.spec.containers
        else "",
        desired=spec.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        available=status.available_replicas,
        total=status.replicas + status.terminating_replicas,
        is_observed=status.observed_generation >= item.metadata.generation,
        problem=_problem(status.conditions),
    )


def _problem(conditions: list[_Condition]) -> str | None:
    """Return in our words why the rollout of a Deployment makes no progress, or None."""
    for condition in conditions:
        if condition.type == "Progressing" and condition.status == "False":
            return _PROBLEMS.get(condition.reason, _NO_PROGRESS)
    return None
