"""Runs the whole cache on one machine, and a simulated WIS2 world around it."""
