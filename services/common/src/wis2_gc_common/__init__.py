"""The WIS2 domain and the contracts between the parts of the Global Cache."""
