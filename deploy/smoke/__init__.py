"""The smoke test: whether a deployed cache does its work, seen from outside."""
