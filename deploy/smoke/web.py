"""What the world gets over HTTPS: the metrics and the data."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from deploy.smoke.waiting import NotYet
from wis2_gc_common.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 20
_MAX_BYTES = 64 * 1024 * 1024
_OK = 200
_REPORT_BY = re.compile(r'^wmo_wis2_gc_[a-z_]+\{[^}\n]*report_by="([^"\n]*)"', re.MULTILINE)
#: Known to the metrics service from its first moment, whatever was counted so far.
_OURS = re.compile(r"^# TYPE wis2_gc_\w+ ", re.MULTILINE)
#: What is a Global Broker's to mend, of the lines of /readyz.
_THEIRS = re.compile(r"listener \S+ is not subscribed")


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Web:
    """A client that verifies certificates and demands TLS, except from this machine itself."""

    def __init__(self, *, ca_file: str | None = None) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=client_context(ca_file))
        )

    def get(self, url: str) -> Answer:
        """Return the answer, whatever its status. Raises NotYet: none came, or not over TLS."""
        demand_tls(url, "https")
        try:
            try:
                response = self._opener.open(url, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return Answer(response.status, response.headers, response.read(_MAX_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise NotYet(f"{url}: {getattr(error, 'reason', error)}") from None


def demand_tls(url: str, scheme: str) -> None:
    """Raise NotYet where `url` is without TLS and leads off this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_this_machine = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_this_machine = False
    if parts.scheme != scheme and not is_this_machine:
        raise NotYet(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} is not {scheme}")


def check_metrics(web: Web, url: str, centre_id: str) -> str:
    """Return what `/metrics` has. Raises NotYet: no metrics, or another cache's."""
    answer = web.get(url)
    if answer.status != _OK:
        raise NotYet(f"{url} answers {answer.status}")
    text = answer.body.decode("utf-8", "replace")
    ours, reporters = len(_OURS.findall(text)), _REPORT_BY.findall(text)
    if not ours:
        raise NotYet(f"{url} has no metrics of a Global Cache")
    if others := sorted({*reporters} - {centre_id}):
        raise NotYet(f"{url} reports for {', '.join(others)}, not for {centre_id}")
    return f"{ours} metrics of the service, {len(reporters)} samples of the WMO's"


def check_ready(web: Web, url: str, *, is_last_look: bool = False) -> str:
    """Return that every listener is subscribed and a manager receives. Raises NotYet.

    `is_last_look`: a Global Broker that does not take our listener is told, and no reason to fail.
    """
    answer = web.get(url)
    if answer.status == _OK:
        return "every listener is subscribed, a manager receives"
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        missing = [str(line) for line in json.loads(text)["missing"]]
    except (ValueError, KeyError, TypeError):
        missing = [text[:300]]
    if is_last_look and all(map(_THEIRS.fullmatch, missing)):
        return f"a manager receives; NOT SUBSCRIBED, ask the Global Brokers: {'; '.join(missing)}"
    raise NotYet(f"{url} answers {answer.status}: {'; '.join(missing)}")


def check_data(web: Web, base_url: str) -> str:
    """Return how the data server answers for its root: it is there, and lists nothing."""
    answer = web.get(f"{base_url}/")
    if answer.status >= http.client.INTERNAL_SERVER_ERROR:
        raise NotYet(f"{base_url}/ answers {answer.status}")
    if answer.status == _OK:
        raise NotYet(f"{base_url}/ lists what is there")
    return f"answers, lists nothing ({answer.status})"
