"""The kinds of faults, by what is broken."""
