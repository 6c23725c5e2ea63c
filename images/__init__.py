"""Builds the container images of the three services, and tries them out (docs/images.md)."""
