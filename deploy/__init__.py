"""What is behind `make deploy`: one module for each step, and the smoke test."""
