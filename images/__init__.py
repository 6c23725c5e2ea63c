"""Builds the container images of the three services, and tests them (docs/images.md)."""
