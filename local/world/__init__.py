"""A simulated WIS2: made-up centres with web servers, another Global Cache, what they publish."""
