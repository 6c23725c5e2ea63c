"""The steps of `make deploy`, one module for each, and the smoke test."""
