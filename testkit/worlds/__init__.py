"""A whole WIS2 world of real parts around the three commands."""
