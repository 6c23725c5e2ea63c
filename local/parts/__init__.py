"""The servers that the cache requires, one class each: start, wait until ready, stop."""
