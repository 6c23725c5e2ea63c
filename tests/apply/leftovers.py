"""What an environment has left in an account, looked for with the AWS CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.apply.account import Account

#: Of each kind: the call, and the JMESPath of the names.
_KINDS = {
    "addresses": ("ec2 describe-addresses", "Addresses[].Tags[?Key=='Name'][].Value"),
    "alarms": ("cloudwatch describe-alarms", "MetricAlarms[].AlarmName"),
    "buckets": ("s3api list-buckets", "Buckets[].Name"),
    "clusters": ("eks list-clusters", "clusters"),
    "registries": (
        "elasticache describe-replication-groups",
        "ReplicationGroups[].ReplicationGroupId",
    ),
    "distributions": ("cloudfront list-distributions", "DistributionList.Items[].Comment"),
    "gateways": (
        "ec2 describe-nat-gateways",
        "NatGateways[?State!='deleted'].Tags[][?Key=='Name'].Value[]",
    ),
    "log groups": ("logs describe-log-groups", "logGroups[].logGroupName"),
    "networks": ("ec2 describe-vpcs", "Vpcs[].Tags[?Key=='Name'][].Value"),
    "load balancers": ("elbv2 describe-load-balancers", "LoadBalancers[].LoadBalancerName"),
    "queues": ("sqs list-queues", "QueueUrls"),
    "repositories": ("ecr describe-repositories", "repositories[].repositoryName"),
    "roles": ("iam list-roles", "Roles[].RoleName"),
    "secrets": ("secretsmanager list-secrets", "SecretList[].Name"),
    "topics": ("sns list-topics", "Topics[].TopicArn"),
    "users": ("elasticache describe-users", "Users[].UserId"),
    "user groups": ("elasticache describe-user-groups", "UserGroups[].UserGroupId"),
}


def leftovers(account: Account, name: str) -> dict[str, list[str]]:
    """Return what is there with this name in its own, by kind."""
    found = {
        kind: account.aws(*call.split(), "--query", query) or []
        for kind, (call, query) in _KINDS.items()
    }
    ours = {kind: [each for each in names if name in each] for kind, names in found.items()}
    return {kind: names for kind, names in ours.items() if names}
