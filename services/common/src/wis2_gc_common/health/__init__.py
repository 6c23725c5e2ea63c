"""Whether the cache is well, and why not: one judge for page, API, metrics and command. Pure."""
