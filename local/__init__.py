"""What runs the whole cache on one machine, and the simulated WIS2 world around it."""
