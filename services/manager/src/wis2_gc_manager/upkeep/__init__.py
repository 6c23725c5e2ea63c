"""The work of a manager besides its items: leases, heartbeat, expiry, the list of centres."""
