"""What tests and benchmarks share: a world around the cache, servers, messages and fakes."""
