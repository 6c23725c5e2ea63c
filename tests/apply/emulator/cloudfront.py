"""CloudFront: what moto does not know or tells wrongly.

That is cache policies and response headers policies; and of a distribution its origin access
control, what its cache policy replaces, and that a certificate of its own replaces CloudFront's.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import moto.cloudfront.urls
from moto.cloudfront.models import DefaultCacheBehaviour, Origin, ViewerCertificate
from moto.cloudfront.responses import CloudFrontResponse
from moto.core.responses import ActionResult, EmptyResult

from tests.apply.emulator.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of each kind by id: its configuration, as it was given.
_policies: dict[str, dict[str, Any]] = {"CachePolicy": {}, "ResponseHeadersPolicy": {}}


def install() -> None:
    """Put these beside moto's own."""
    paths = dict.fromkeys(moto.cloudfront.urls.url_paths, _CloudFront.dispatch)
    for kind in ("cache-policy", "response-headers-policy"):
        for rest in ("$", "/(?P<policy_id>[^/]+)$", "/(?P<policy_id>[^/]+)/config$"):
            paths[f"{{0}}/2020-05-31/{kind}{rest}"] = _CloudFront.dispatch
    moto.cloudfront.urls.url_paths = paths
    _complete(Origin, _complete_origin)
    _complete(DefaultCacheBehaviour, _complete_behaviour)
    _complete(ViewerCertificate, _complete_certificate)


def _complete(model: Any, completion: Callable[[Any, dict[str, Any]], None]) -> None:
    begin = model.__init__

    def begin_and_complete(made: Any, config: dict[str, Any]) -> None:
        begin(made, config)
        completion(made, config)

    model.__init__ = begin_and_complete


def _complete_origin(origin: Origin, config: dict[str, Any]) -> None:
    origin.origin_access_control_id = config.get("OriginAccessControlId", "")


def _complete_behaviour(behaviour: DefaultCacheBehaviour, config: dict[str, Any]) -> None:
    if config.get("CachePolicyId"):
        behaviour.forwarded_values = None


def _complete_certificate(certificate: ViewerCertificate, config: dict[str, Any]) -> None:
    if config.get("ACMCertificateArn"):
        certificate.cloud_front_default_certificate = False


class _CloudFront(CloudFrontResponse):
    def _find(self, kind: str) -> str:
        policy_id: str = self._get_param("Id")
        if policy_id not in _policies[kind]:
            raise Refusal(f"NoSuch{kind}", f"{policy_id} is not there")
        return policy_id

    def _answer(self, kind: str, policy_id: str) -> ActionResult:
        policy = {
            "Id": policy_id,
            "LastModifiedTime": datetime.now(tz=UTC),
            f"{kind}Config": _policies[kind][policy_id],
        }
        return ActionResult({kind: policy, "ETag": "E1"})

    def _create(self, kind: str) -> ActionResult:
        given = self._get_param(f"{kind}Config")
        if any(other["Name"] == given["Name"] for other in _policies[kind].values()):
            raise Refusal(f"{kind}AlreadyExists", f"{given['Name']} is there already")
        policy_id = str(uuid.uuid4())
        _policies[kind][policy_id] = given
        return self._answer(kind, policy_id)

    def _update(self, kind: str) -> ActionResult:
        policy_id = self._find(kind)
        _policies[kind][policy_id] = self._get_param(f"{kind}Config")
        return self._answer(kind, policy_id)

    def _delete(self, kind: str) -> ActionResult:
        del _policies[kind][self._find(kind)]
        return EmptyResult()

    def create_cache_policy(self) -> ActionResult:
        return self._create("CachePolicy")

    def get_cache_policy(self) -> ActionResult:
        return self._answer("CachePolicy", self._find("CachePolicy"))

    def update_cache_policy(self) -> ActionResult:
        return self._update("CachePolicy")

    def delete_cache_policy(self) -> ActionResult:
        return self._delete("CachePolicy")

    def create_response_headers_policy(self) -> ActionResult:
        return self._create("ResponseHeadersPolicy")

    def get_response_headers_policy(self) -> ActionResult:
        return self._answer("ResponseHeadersPolicy", self._find("ResponseHeadersPolicy"))

    def update_response_headers_policy(self) -> ActionResult:
        return self._update("ResponseHeadersPolicy")

    def delete_response_headers_policy(self) -> ActionResult:
        return self._delete("ResponseHeadersPolicy")
