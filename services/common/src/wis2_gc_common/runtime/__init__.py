"""What every process has, whatever it works on: logs, probes, TLS, delays, its last moment."""
