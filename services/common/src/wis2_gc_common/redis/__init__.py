"""Queue and registry on Redis or Valkey. Scripts: `lua/`."""
