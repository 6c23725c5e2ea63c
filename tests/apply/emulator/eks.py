"""EKS: a cluster with its add-ons, access entries and pod identities.

moto knows neither of the latter three, and not Auto Mode. As EKS does, making a cluster makes a
security group for it, and deleting the cluster takes that away.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import moto.eks.urls
from moto.core.responses import ActionResult, BaseResponse
from moto.ec2.models import ec2_backends

from tests.apply.emulator.errors import Refusal

Answer = dict[str, Any]

_UPDATE = {"id": "1", "status": "Successful", "type": "ConfigUpdate"}


@dataclass
class _Cluster:
    answer: Answer
    add_ons: dict[str, Answer] = field(default_factory=dict)
    entries: dict[str, Answer] = field(default_factory=dict)
    policies: dict[str, list[Answer]] = field(default_factory=dict)
    identities: dict[str, Answer] = field(default_factory=dict)


_clusters: dict[str, _Cluster] = {}
_tags: dict[str, dict[str, str]] = {}


def install() -> None:
    """Put these in the place of moto's own."""
    moto.eks.urls.url_paths = {"{0}/(?P<path>.+)$": _Eks.dispatch}


def _found(things: dict[str, Any], name: str) -> Any:
    if name not in things:
        raise Refusal("ResourceNotFoundException", f"{name} is not there")
    return things[name]


class _Eks(BaseResponse):
    def __init__(self) -> None:
        super().__init__(service_name="eks")
        self.automated_parameter_parsing = True

    def _given(self, name: str) -> Any:
        return self._get_param(name)

    def _cluster(self, name: str = "clusterName") -> _Cluster:
        cluster: _Cluster = _found(_clusters, self._given(name))
        return cluster

    def _arn(self, kind: str, path: str) -> str:
        return f"arn:aws:eks:{self.region}:{self.current_account}:{kind}/{path}"

    def _made(self, arn_name: str, arn: str) -> Answer:
        _tags[arn] = dict(self._given("tags") or {})
        now = time.time()
        return {arn_name: arn, "createdAt": now, "modifiedAt": now, "tags": _tags[arn]}

    # Clusters

    def create_cluster(self) -> ActionResult:
        name = self._given("name")
        if name in _clusters:
            raise Refusal("ResourceInUseException", f"{name} is there already")
        network = self._given("resourcesVpcConfig")
        ec2 = ec2_backends[self.current_account][self.region]
        vpc_id = ec2.describe_subnets(subnet_ids=network["subnetIds"])[0].vpc_id
        group = ec2.create_security_group(
            f"eks-cluster-sg-{name}", "EKS created security group", vpc_id
        )
        access = dict(self._given("accessConfig"))
        # Is asked for, and never told.
        access.pop("bootstrapClusterCreatorAdminPermissions", None)
        arn = self._arn("cluster", name)
        same = ["computeConfig", "encryptionConfig", "kubernetesNetworkConfig", "logging"]
        same += ["name", "roleArn", "storageConfig", "upgradePolicy", "version"]
        answer = {
            **{key: self._given(key) for key in same if self._given(key) is not None},
            **self._made("arn", arn),
            "accessConfig": access,
            "certificateAuthority": {"data": "bm9uZQ=="},
            "endpoint": f"https://a1b2c3.gr7.{self.region}.eks.amazonaws.com",
            "identity": {"oidc": {"issuer": f"https://oidc.eks.{self.region}.amazonaws.com/id/A1"}},
            "platformVersion": "eks.1",
            "resourcesVpcConfig": {
                "securityGroupIds": [],
                **network,
                "clusterSecurityGroupId": group.id,
                "vpcId": vpc_id,
            },
            "status": "ACTIVE",
        }
        _clusters[name] = _Cluster(answer)
        return ActionResult({"cluster": answer})

    def describe_cluster(self) -> ActionResult:
        return ActionResult({"cluster": self._cluster("name").answer})

    def list_clusters(self) -> ActionResult:
        return ActionResult({"clusters": sorted(_clusters)})

    def update_cluster_config(self) -> ActionResult:
        answer = self._cluster("name").answer
        for name in ("computeConfig", "kubernetesNetworkConfig", "logging", "storageConfig"):
            answer[name] = self._given(name) or answer[name]
        answer["resourcesVpcConfig"].update(self._given("resourcesVpcConfig") or {})
        return ActionResult({"update": _UPDATE})

    def describe_update(self) -> ActionResult:
        return ActionResult({"update": _UPDATE})

    def delete_cluster(self) -> ActionResult:
        cluster = self._cluster("name")
        if cluster.add_ons:
            raise Refusal("ResourceInUseException", "the cluster has add-ons")
        ec2 = ec2_backends[self.current_account][self.region]
        ec2.delete_security_group(
            group_id=cluster.answer["resourcesVpcConfig"]["clusterSecurityGroupId"]
        )
        del _clusters[cluster.answer["name"]]
        return ActionResult({"cluster": {**cluster.answer, "status": "DELETING"}})

    # Add-ons

    def create_addon(self) -> ActionResult:
        cluster, name = self._cluster(), self._given("addonName")
        answer = cluster.add_ons[name] = {
            **self._made("addonArn", self._arn("addon", f"{self._given('clusterName')}/{name}/1")),
            "addonName": name,
            "addonVersion": self._given("addonVersion") or "v1.0.0-eksbuild.1",
            "clusterName": self._given("clusterName"),
            "configurationValues": self._given("configurationValues"),
            "health": {"issues": []},
            "status": "ACTIVE",
        }
        return ActionResult({"addon": answer})

    def describe_addon(self) -> ActionResult:
        return ActionResult({"addon": _found(self._cluster().add_ons, self._given("addonName"))})

    def delete_addon(self) -> ActionResult:
        add_ons, name = self._cluster().add_ons, self._given("addonName")
        answer = _found(add_ons, name)
        del add_ons[name]
        return ActionResult({"addon": {**answer, "status": "DELETING"}})

    # Who is let in

    def create_access_entry(self) -> ActionResult:
        cluster, principal = self._cluster(), self._given("principalArn")
        path = f"{self._given('clusterName')}/{principal.rpartition(':')[2]}/1"
        answer = cluster.entries[principal] = {
            **self._made("accessEntryArn", self._arn("access-entry", path)),
            "clusterName": self._given("clusterName"),
            "kubernetesGroups": [],
            "principalArn": principal,
            "type": "STANDARD",
            "username": principal,
        }
        cluster.policies[principal] = []
        return ActionResult({"accessEntry": answer})

    def describe_access_entry(self) -> ActionResult:
        entries = self._cluster().entries
        return ActionResult({"accessEntry": _found(entries, self._given("principalArn"))})

    def delete_access_entry(self) -> ActionResult:
        entries, principal = self._cluster().entries, self._given("principalArn")
        _found(entries, principal)
        del entries[principal]
        return ActionResult({})

    def associate_access_policy(self) -> ActionResult:
        policies = _found(self._cluster().policies, self._given("principalArn"))
        answer = {
            "policyArn": self._given("policyArn"),
            "accessScope": {"namespaces": [], **self._given("accessScope")},
            "associatedAt": time.time(),
            "modifiedAt": time.time(),
        }
        policies.append(answer)
        return ActionResult({"associatedAccessPolicy": answer})

    def list_associated_access_policies(self) -> ActionResult:
        policies = _found(self._cluster().policies, self._given("principalArn"))
        return ActionResult({"associatedAccessPolicies": policies})

    def disassociate_access_policy(self) -> ActionResult:
        policies = _found(self._cluster().policies, self._given("principalArn"))
        policies[:] = [p for p in policies if p["policyArn"] != self._given("policyArn")]
        return ActionResult({})

    # The roles of pods

    def create_pod_identity_association(self) -> ActionResult:
        identities = self._cluster().identities
        same = ("clusterName", "namespace", "roleArn", "serviceAccount")
        given = {name: self._given(name) for name in same}
        if any(given.items() <= other.items() for other in identities.values()):
            raise Refusal("ResourceInUseException", "the association is there already")
        name = f"a-{uuid.uuid4().hex[:17]}"
        arn = self._arn("podidentityassociation", f"{given['clusterName']}/{name}")
        answer = identities[name] = {
            **given,
            **self._made("associationArn", arn),
            "associationId": name,
            "disableSessionTags": False,
        }
        return ActionResult({"association": answer})

    def describe_pod_identity_association(self) -> ActionResult:
        identities = self._cluster().identities
        return ActionResult({"association": _found(identities, self._given("associationId"))})

    def list_pod_identity_associations(self) -> ActionResult:
        return ActionResult({"associations": list(self._cluster().identities.values())})

    def delete_pod_identity_association(self) -> ActionResult:
        identities, name = self._cluster().identities, self._given("associationId")
        answer = _found(identities, name)
        del identities[name]
        return ActionResult({"association": answer})

    # Tags

    def list_tags_for_resource(self) -> ActionResult:
        return ActionResult({"tags": _found(_tags, self._given("resourceArn"))})

    def tag_resource(self) -> ActionResult:
        _found(_tags, self._given("resourceArn")).update(self._given("tags"))
        return ActionResult({})

    def untag_resource(self) -> ActionResult:
        tags = _found(_tags, self._given("resourceArn"))
        for key in self._given("tagKeys"):
            tags.pop(key, None)
        return ActionResult({})
