"""Receives WIS2 notifications from one Global Broker and queues them."""
