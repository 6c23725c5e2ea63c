"""The rules of WIS2: what messages mean and what we do with them. Pure: no file, no network."""
