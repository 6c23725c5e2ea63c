"""EC2: two things that moto forgets.

The description of a rule that names another security group; and that a NAT gateway which is
deleted gives up its address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroupRule

if TYPE_CHECKING:
    from moto.ec2.models import EC2Backend
    from moto.ec2.models.nat_gateways import NatGateway


def install() -> None:
    """Have moto do both."""
    delete_nat_gateway = NatGatewayBackend.delete_nat_gateway

    def delete_and_give_up(backend: EC2Backend, nat_gateway_id: str) -> NatGateway:
        gateway = delete_nat_gateway(backend, nat_gateway_id)
        for address in gateway.address_set:
            backend.disassociate_address(address=address["publicIp"])
        return gateway

    def description(rule: SecurityGroupRule) -> str | None:
        found: str | None = rule.ip_range.get("Description") or rule.source_group.get("Description")
        return found

    NatGatewayBackend.delete_nat_gateway = delete_and_give_up
    SecurityGroupRule.description = property(description)
