"""What the services require of queue and registry: protocols and value types, no adapters."""
