"""What every process has: logs, probes, TLS, delays, the end of the process."""
