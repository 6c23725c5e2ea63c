"""The servers the cache stands on, one class each: started, awaited, stopped."""
