"""What the services ask of queue and registry: protocols and the values that pass, no adapter."""
