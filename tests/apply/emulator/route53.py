"""Route 53: a record that was deleted may be made again.

moto remembers it, and then takes any record that comes after it in the alphabet for it: whether it
was refused depended on which one Terraform made first.
"""

from __future__ import annotations

from typing import Any

from moto.route53.models import ChangeList, FakeZone


def install() -> None:
    """Have moto forget what was made and deleted."""
    delete_rrset = FakeZone.delete_rrset

    def delete_and_forget(zone: FakeZone, record: dict[str, Any]) -> None:
        delete_rrset(zone, record)
        gone = record["Name"].strip("."), record["Type"]
        kept = [
            change
            for change in zone.rr_changes
            if (change["ResourceRecordSet"]["Name"], change["ResourceRecordSet"]["Type"]) != gone
        ]
        zone.rr_changes = ChangeList(kept)

    FakeZone.delete_rrset = delete_and_forget
