"""Load balancers: which elastic IP stands in which subnet, which moto drops."""

from __future__ import annotations

from typing import Any

from moto.elbv2.models import AvailabilityZone, ELBv2Backend, FakeLoadBalancer


def install() -> None:
    """Have moto keep it."""
    create_load_balancer = ELBv2Backend.create_load_balancer
    zones = FakeLoadBalancer.availability_zones.fget

    def create_and_keep(
        backend: ELBv2Backend, *args: Any, subnet_mappings: Any = None, **kwargs: Any
    ) -> FakeLoadBalancer:
        made = create_load_balancer(backend, *args, subnet_mappings=subnet_mappings, **kwargs)
        made.addresses = {each["SubnetId"]: each["AllocationId"] for each in subnet_mappings or []}
        return made

    def with_addresses(balancer: FakeLoadBalancer) -> list[AvailabilityZone]:
        told: list[AvailabilityZone] = zones(balancer)
        for zone in told:
            address = balancer.addresses.get(zone.subnet_id)
            zone.load_balancer_addresses = [{"AllocationId": address}] if address else []
        return told

    ELBv2Backend.create_load_balancer = create_and_keep
    FakeLoadBalancer.availability_zones = property(with_addresses)
