"""The object store; `base` is the contract, the rest are adapters."""
