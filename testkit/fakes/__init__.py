"""Ports of the services, kept in memory."""
