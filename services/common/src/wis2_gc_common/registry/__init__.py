"""What the cache remembers, on Redis; `base` is the contract."""
