"""The queue between listeners and managers; `base` is the contract, the rest are adapters."""
