"""ElastiCache: users, their groups, replication groups, parameter and subnet groups.

moto answers at once, knows no groups of users, and its replication group forgets most of what it
was given. What matters to terraform/modules/registry is here as AWS does it:

- a user that is being modified is "modifying", and so is every group that it is in;
- a replication group whose group of users is not active is refused (InvalidUserGroupState);
- access strings come back with `-@all` before the first rule;
- a user without a password is `no-password`, also if it had another type when it was made;
- without ApplyImmediately another node type waits for the maintenance window.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import moto.elasticache.urls
from moto.core.responses import ActionResult, BaseResponse, EmptyResult

from tests.apply.emulator.errors import Refusal
from tests.apply.emulator.states import Passing

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = dict[str, Any]

_USER_SECONDS = 3.0
_GROUP_SECONDS = 1.0
_CACHE_SECONDS = 3.0
#: The patch level of each version, as DescribeCacheClusters tells it.
_PATCHES = {"7.1": "7.1.0", "7.2": "7.2.6", "8.0": "8.0.1"}
_AUTHENTICATION = {"no-password-required": "no-password"}
#: Members of ModifyReplicationGroup that are kept under the same name.
_MODIFIED = (
    "AutoMinorVersionUpgrade",
    "CacheParameterGroupName",
    "PreferredMaintenanceWindow",
    "SecurityGroupIds",
    "SnapshotRetentionLimit",
    "SnapshotWindow",
)


@dataclass
class _Account:
    users: dict[str, Answer] = field(default_factory=dict)
    user_groups: dict[str, Answer] = field(default_factory=dict)
    parameter_groups: dict[str, Answer] = field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    subnet_groups: dict[str, Answer] = field(default_factory=dict)
    caches: dict[str, Answer] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


_account = _Account()


def install() -> None:
    """Put these in the place of moto's own."""
    moto.elasticache.urls.url_paths = {"{0}/$": _ElastiCache.dispatch}


def _locked(method: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    @wraps(method)
    def call(self: Any) -> ActionResult:
        with _account.lock:
            return method(self)

    return call


def _found(things: dict[str, Answer], name: str, code: str) -> Answer:
    if name not in things:
        raise Refusal(code, f"{name} is not there")
    return things[name]


def _some(things: dict[str, Answer], name: str | None, code: str) -> list[Answer]:
    return [_found(things, name, code)] if name else list(things.values())


def _new(things: dict[str, Answer], name: str, code: str) -> None:
    if name in things:
        raise Refusal(code, f"{name} is there already")


def _access_string(given: str) -> str:
    """Return it as AWS tells it: from nothing allowed, rule by rule."""
    words = given.split()
    first = next((i for i, word in enumerate(words) if word[0] in "+-"), len(words))
    if first < len(words) and words[first] not in {"+@all", "-@all"}:
        words.insert(first, "-@all")
    return " ".join(words)


def _authentication(mode: Answer) -> Answer:
    kind = mode["Type"]
    return {
        "Type": _AUTHENTICATION.get(kind, kind),
        "PasswordCount": len(mode.get("Passwords") or []),
    }


def _group_status(group: Answer) -> str:
    members = (str(_account.users[user]["Status"]) for user in group["UserIds"])
    return "modifying" if any(status != "active" for status in members) else str(group["Status"])


def _told(thing: Answer) -> Answer:
    """Return it with its state of this moment."""
    is_group = "UserIds" in thing
    return {**thing, "Status": _group_status(thing) if is_group else str(thing["Status"])}


class _ElastiCache(BaseResponse):
    def __init__(self) -> None:
        super().__init__(service_name="elasticache")
        self.automated_parameter_parsing = True

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:elasticache:{self.region}:{self.current_account}:{kind}:{name}"

    def _tag(self, arn: str) -> None:
        _account.tags[arn] = {tag["Key"]: tag["Value"] for tag in self.params.get("Tags") or []}

    # Users

    @_locked
    def create_user(self) -> ActionResult:
        given = self.params
        _new(_account.users, given["UserId"], "UserAlreadyExists")
        mode = given.get("AuthenticationMode") or {
            "Type": "no-password-required" if given.get("NoPasswordRequired") else "password",
            "Passwords": given.get("Passwords"),
        }
        if mode["Type"] == "iam" and given["UserId"] != given["UserName"]:
            raise Refusal(
                "InvalidParameterValue", "with IAM authentication user id and name are the same"
            )
        arn = self._arn("user", given["UserId"])
        self._tag(arn)
        user = _account.users[given["UserId"]] = {
            "UserId": given["UserId"],
            "UserName": given["UserName"],
            "Engine": given["Engine"].lower(),
            "MinimumEngineVersion": "7.0" if mode["Type"] == "iam" else "6.0",
            "AccessString": _access_string(given["AccessString"]),
            "UserGroupIds": [],
            "Authentication": _authentication(mode),
            "ARN": arn,
            "Status": Passing("creating", "active", _USER_SECONDS),
        }
        return ActionResult(_told(user))

    @_locked
    def describe_users(self) -> ActionResult:
        users = _some(_account.users, self.params.get("UserId"), "UserNotFound")
        return ActionResult({"Users": [_told(user) for user in users]})

    @_locked
    def modify_user(self) -> ActionResult:
        given = self.params
        user = _found(_account.users, given["UserId"], "UserNotFound")
        if str(user["Status"]) != "active":
            raise Refusal("InvalidUserState", f"{given['UserId']} is {user['Status']}")
        if mode := given.get("AuthenticationMode"):
            if any(len(password) < 16 for password in mode.get("Passwords") or []):
                raise Refusal("InvalidParameterValue", "passwords require 16 to 128 characters")
            user["Authentication"] = _authentication(mode)
        if "AccessString" in given:
            user["AccessString"] = _access_string(given["AccessString"])
        user["Status"] = Passing("modifying", "active", _USER_SECONDS)
        return ActionResult(_told(user))

    @_locked
    def delete_user(self) -> ActionResult:
        user = _found(_account.users, self.params["UserId"], "UserNotFound")
        if user["UserGroupIds"] and user["UserName"] == "default":
            raise Refusal("DefaultUserAssociatedToUserGroup", "a group has no other default")
        del _account.users[self.params["UserId"]]
        for group in user["UserGroupIds"]:
            _account.user_groups[group]["UserIds"].remove(user["UserId"])
        return ActionResult({**user, "Status": "deleting"})

    # Groups of users

    @_locked
    def create_user_group(self) -> ActionResult:
        given = self.params
        name = given["UserGroupId"]
        _new(_account.user_groups, name, "UserGroupAlreadyExists")
        users = [_found(_account.users, user, "UserNotFound") for user in given["UserIds"]]
        if not any(user["UserName"] == "default" for user in users):
            raise Refusal("DefaultUserRequired", "a group has a user named default")
        arn = self._arn("usergroup", name)
        self._tag(arn)
        group = _account.user_groups[name] = {
            "UserGroupId": name,
            "Engine": given["Engine"].lower(),
            "UserIds": given["UserIds"],
            "MinimumEngineVersion": max(user["MinimumEngineVersion"] for user in users),
            "ReplicationGroups": [],
            "ARN": arn,
            "Status": Passing("creating", "active", _GROUP_SECONDS),
        }
        for user in users:
            user["UserGroupIds"].append(name)
        return ActionResult(_told(group))

    @_locked
    def describe_user_groups(self) -> ActionResult:
        groups = _some(_account.user_groups, self.params.get("UserGroupId"), "UserGroupNotFound")
        return ActionResult({"UserGroups": [_told(group) for group in groups]})

    @_locked
    def delete_user_group(self) -> ActionResult:
        name = self.params["UserGroupId"]
        group = _found(_account.user_groups, name, "UserGroupNotFound")
        if group["ReplicationGroups"]:
            raise Refusal("InvalidUserGroupState", f"{name} is in use")
        del _account.user_groups[name]
        for user in group["UserIds"]:
            _account.users[user]["UserGroupIds"].remove(name)
        return ActionResult({**group, "Status": "deleting"})

    # Parameter groups

    @_locked
    def create_cache_parameter_group(self) -> ActionResult:
        given = self.params
        name = given["CacheParameterGroupName"]
        _new(_account.parameter_groups, name, "CacheParameterGroupAlreadyExists")
        arn = self._arn("parametergroup", name)
        self._tag(arn)
        _account.parameters[name] = {}
        group = _account.parameter_groups[name] = {
            "CacheParameterGroupName": name,
            "CacheParameterGroupFamily": given["CacheParameterGroupFamily"],
            "Description": given["Description"],
            "IsGlobal": False,
            "ARN": arn,
        }
        return ActionResult({"CacheParameterGroup": group})

    @_locked
    def describe_cache_parameter_groups(self) -> ActionResult:
        name = self.params.get("CacheParameterGroupName")
        groups = _some(_account.parameter_groups, name, "CacheParameterGroupNotFound")
        return ActionResult({"CacheParameterGroups": groups})

    @_locked
    def modify_cache_parameter_group(self) -> ActionResult:
        name = self.params["CacheParameterGroupName"]
        _found(_account.parameter_groups, name, "CacheParameterGroupNotFound")
        for parameter in self.params["ParameterNameValues"]:
            _account.parameters[name][parameter["ParameterName"]] = parameter["ParameterValue"]
        return ActionResult({"CacheParameterGroupName": name})

    @_locked
    def describe_cache_parameters(self) -> ActionResult:
        name = self.params["CacheParameterGroupName"]
        _found(_account.parameter_groups, name, "CacheParameterGroupNotFound")
        parameters = [
            {"ParameterName": key, "ParameterValue": value, "Source": "user"}
            for key, value in _account.parameters[name].items()
        ]
        return ActionResult({"Parameters": parameters})

    @_locked
    def delete_cache_parameter_group(self) -> ActionResult:
        name = self.params["CacheParameterGroupName"]
        _found(_account.parameter_groups, name, "CacheParameterGroupNotFound")
        if any(cache["CacheParameterGroupName"] == name for cache in _account.caches.values()):
            raise Refusal("InvalidCacheParameterGroupState", f"{name} is in use")
        del _account.parameter_groups[name]
        return EmptyResult()

    # Subnet groups

    @_locked
    def create_cache_subnet_group(self) -> ActionResult:
        given = self.params
        name = given["CacheSubnetGroupName"]
        _new(_account.subnet_groups, name, "CacheSubnetGroupAlreadyExists")
        arn = self._arn("subnetgroup", name)
        self._tag(arn)
        group = _account.subnet_groups[name] = {
            "CacheSubnetGroupName": name,
            "CacheSubnetGroupDescription": given["CacheSubnetGroupDescription"],
            "Subnets": [{"SubnetIdentifier": subnet} for subnet in given["SubnetIds"]],
            "ARN": arn,
        }
        return ActionResult({"CacheSubnetGroup": group})

    @_locked
    def describe_cache_subnet_groups(self) -> ActionResult:
        name = self.params.get("CacheSubnetGroupName")
        groups = _some(_account.subnet_groups, name, "CacheSubnetGroupNotFoundFault")
        return ActionResult({"CacheSubnetGroups": groups})

    @_locked
    def delete_cache_subnet_group(self) -> ActionResult:
        name = self.params["CacheSubnetGroupName"]
        _found(_account.subnet_groups, name, "CacheSubnetGroupNotFoundFault")
        if any(cache["CacheSubnetGroupName"] == name for cache in _account.caches.values()):
            raise Refusal("CacheSubnetGroupInUse", f"{name} is in use")
        del _account.subnet_groups[name]
        return EmptyResult()

    # Replication groups

    @_locked
    def create_replication_group(self) -> ActionResult:
        given = self.params
        name = given["ReplicationGroupId"]
        _new(_account.caches, name, "ReplicationGroupAlreadyExists")
        groups = [
            _found(_account.user_groups, group, "UserGroupNotFound")
            for group in given["UserGroupIds"]
        ]
        for group in groups:
            if _group_status(group) != "active":
                raise Refusal(
                    "InvalidUserGroupState", f"User group {group['UserGroupId']} is not active."
                )
        for group in groups:
            group["ReplicationGroups"].append(name)
        arn = self._arn("replicationgroup", name)
        self._tag(arn)
        members = [f"{name}-{number:03d}" for number in range(1, given["NumCacheClusters"] + 1)]
        host = f"{name}.a1b2c3.euw3.cache.amazonaws.com"
        cache = _account.caches[name] = {
            **given,
            "ARN": arn,
            "Status": Passing("creating", "available", _CACHE_SECONDS),
            "Description": given["ReplicationGroupDescription"],
            "TransitEncryptionMode": given.get("TransitEncryptionMode", "required"),
            "AutomaticFailover": _switch(given.get("AutomaticFailoverEnabled")),
            "MultiAZ": _switch(given.get("MultiAZEnabled")),
            "SnapshotRetentionLimit": given.get("SnapshotRetentionLimit", 0),
            "MemberClusters": members,
            "ClusterEnabled": False,
            "ClusterMode": "disabled",
            "AuthTokenEnabled": False,
            "DataTiering": "disabled",
            "NetworkType": "ipv4",
            "IpDiscovery": "ipv4",
            "NodeGroups": [
                {
                    "NodeGroupId": "0001",
                    "Status": "available",
                    "PrimaryEndpoint": {"Address": f"master.{host}", "Port": given["Port"]},
                    "ReaderEndpoint": {"Address": f"replica.{host}", "Port": given["Port"]},
                    "NodeGroupMembers": [
                        {"CacheClusterId": member, "CacheNodeId": "0001"} for member in members
                    ],
                }
            ],
        }
        return ActionResult({"ReplicationGroup": _told(cache)})

    @_locked
    def describe_replication_groups(self) -> ActionResult:
        name = self.params.get("ReplicationGroupId")
        caches = _some(_account.caches, name, "ReplicationGroupNotFoundFault")
        return ActionResult({"ReplicationGroups": [_told(cache) for cache in caches]})

    @_locked
    def modify_replication_group(self) -> ActionResult:
        given = self.params
        cache = _found(
            _account.caches, given["ReplicationGroupId"], "ReplicationGroupNotFoundFault"
        )
        if str(cache["Status"]) != "available":
            raise Refusal("InvalidReplicationGroupState", "not available")
        if given.get("ApplyImmediately") and "CacheNodeType" in given:
            cache["CacheNodeType"] = given["CacheNodeType"]
        cache.update({name: given[name] for name in _MODIFIED if name in given})
        cache["Status"] = Passing("modifying", "available", _CACHE_SECONDS)
        return ActionResult({"ReplicationGroup": _told(cache)})

    @_locked
    def delete_replication_group(self) -> ActionResult:
        name = self.params["ReplicationGroupId"]
        cache = _found(_account.caches, name, "ReplicationGroupNotFoundFault")
        del _account.caches[name]
        for group in cache["UserGroupIds"]:
            _account.user_groups[group]["ReplicationGroups"].remove(name)
        return ActionResult({"ReplicationGroup": {**cache, "Status": "deleting"}})

    @_locked
    def describe_cache_clusters(self) -> ActionResult:
        name = self.params["CacheClusterId"]
        caches = [cache for cache in _account.caches.values() if name in cache["MemberClusters"]]
        if not caches:
            raise Refusal("CacheClusterNotFound", f"{name} is not there")
        return ActionResult({"CacheClusters": [self._member(name, caches[0])]})

    def _member(self, name: str, cache: Answer) -> Answer:
        """Return one node, as a cluster of its own."""
        same = (
            *("AutoMinorVersionUpgrade", "AuthTokenEnabled", "AtRestEncryptionEnabled"),
            *("CacheNodeType", "CacheSubnetGroupName", "Engine", "PreferredMaintenanceWindow"),
            *("ReplicationGroupId", "SnapshotRetentionLimit", "SnapshotWindow"),
            *("TransitEncryptionEnabled", "TransitEncryptionMode"),
        )
        return {
            **{key: cache[key] for key in same if key in cache},
            "ARN": self._arn("cluster", name),
            "CacheClusterId": name,
            "CacheClusterStatus": str(cache["Status"]),
            "EngineVersion": _PATCHES[cache["EngineVersion"]],
            "NumCacheNodes": 1,
            "CacheParameterGroup": {
                "CacheParameterGroupName": cache["CacheParameterGroupName"],
                "ParameterApplyStatus": "in-sync",
            },
            "SecurityGroups": [
                {"SecurityGroupId": group, "Status": "active"}
                for group in cache["SecurityGroupIds"]
            ],
        }

    # Tags

    @_locked
    def list_tags_for_resource(self) -> ActionResult:
        return self._tags()

    @_locked
    def add_tags_to_resource(self) -> ActionResult:
        have = _account.tags.setdefault(self.params["ResourceName"], {})
        have.update({tag["Key"]: tag["Value"] for tag in self.params["Tags"]})
        return self._tags()

    @_locked
    def remove_tags_from_resource(self) -> ActionResult:
        have = _account.tags.setdefault(self.params["ResourceName"], {})
        for key in self.params["TagKeys"]:
            have.pop(key, None)
        return self._tags()

    def _tags(self) -> ActionResult:
        tags = _account.tags.get(self.params["ResourceName"], {})
        return ActionResult({"TagList": [{"Key": k, "Value": v} for k, v in tags.items()]})


def _switch(is_on: bool | None) -> str:
    return "enabled" if is_on else "disabled"
