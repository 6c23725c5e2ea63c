"""What an operator can set: declared in `catalogue`, read once at start by `reader`."""
