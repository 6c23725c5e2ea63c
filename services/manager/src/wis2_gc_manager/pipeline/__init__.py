"""What happens to one item, from its claim to its end, and what keeps centres apart."""
