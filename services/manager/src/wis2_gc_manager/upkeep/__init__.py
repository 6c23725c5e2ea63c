"""What a manager does beside its items: leases, heartbeat, expiry, the list of centres."""
