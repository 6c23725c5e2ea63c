"""Queue and registry on Redis or Valkey: the one way of reaching it. Scripts: `lua/`."""
