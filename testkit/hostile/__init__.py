"""Strangers: what they send, and the servers they run."""
