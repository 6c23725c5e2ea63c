"""The WIS2 domain and the contracts between the parts of the Global Cache.

Comments cite pages of `docs/`: `wis2-rules.md 24` is a rule of WIS2, `architecture.md#queue` a
chapter, `20261128-quotas.md` a decision.
"""
