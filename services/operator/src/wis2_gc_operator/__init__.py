"""The operator's command: shows the state of a running cache, puts dead letters back."""
