"""Serves the metrics, the API and the status page."""
