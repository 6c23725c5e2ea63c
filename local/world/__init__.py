"""A simulated WIS2: invented centres with web servers, other Global Caches, their messages."""
