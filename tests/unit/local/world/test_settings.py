from __future__ import annotations

from pathlib import Path

import pytest

from local.world.mix import DEFAULT_MIX
from local.world.settings import WorldSettings, from_environment, to_environment


def test_what_the_run_writes_is_what_the_world_reads() -> None:
    settings = WorldSettings(
        directory=Path("/state/world"),
        global_brokers={"alpha": "mqtts://a:b@127.0.0.1:1"},
        ca_file=Path("/ca"),
        tls_chain_file=Path("/chain"),
        tls_key_file=Path("/key"),
        centre_id="xx-a-global-cache",
        cache_broker_url="",
        data_base_url="http://127.0.0.1:1/data",
        ready_url="",
        rate=2.5,
        mix=str(DEFAULT_MIX),
        seed=1,
        items=0,
    )
    assert from_environment(to_environment(settings)) == settings
    assert settings.parsed_mix() == DEFAULT_MIX


def test_without_its_variable_the_world_does_not_start() -> None:
    with pytest.raises(KeyError):
        from_environment({})
