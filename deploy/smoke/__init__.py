"""The smoke test: whether a deployed cache does what it is for, seen from outside."""
