"""The rules of WIS2: what messages mean, what is done with them. Pure: no file, no network."""
