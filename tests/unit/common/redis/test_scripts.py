from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from wis2_gc_common import metrics
from wis2_gc_common.redis import queue_scripts, registry_scripts
from wis2_gc_common.redis.scripts import Script, load

NAMED = {"queue": queue_scripts, "registry": registry_scripts}


def scripts_of(folder: str) -> list[Script]:
    return [value for value in vars(NAMED[folder]).values() if isinstance(value, Script)]


ALL = [
    pytest.param(folder, script, id=f"{folder}-{name}")
    for folder, module in NAMED.items()
    for name, script in vars(module).items()
    if isinstance(script, Script)
]


@pytest.mark.parametrize("folder", NAMED)
def test_every_lua_file_is_loaded(folder: str) -> None:
    place = files("wis2_gc_common.redis") / "lua" / folder
    lua = {path.name.removesuffix(".lua") for path in place.iterdir() if path.is_file()}
    assert lua == {script.name for script in scripts_of(folder)}
    sources = "".join(script.source for script in scripts_of(folder))
    shared = [path.name.removesuffix(".lua") for path in (place / "shared").iterdir()]
    assert shared
    assert all(load(folder, f"shared/{name}").source in sources for name in shared)


@pytest.mark.parametrize(("folder", "script"), ALL)
def test_the_sha_is_the_one_redis_computes(folder: str, script: Script) -> None:
    assert script.sha == hashlib.sha1(script.source.encode()).hexdigest()


@pytest.mark.parametrize(("folder", "script"), ALL)
def test_metrics_go_by_their_names_in_the_catalogue(folder: str, script: Script) -> None:
    assert "METRIC." not in script.source
    quoted = set(re.findall(r"'((?:wmo_)?wis2_gc_\w+)'", script.source))
    assert quoted <= {metric.name for metric in metrics.CATALOGUE}


@pytest.mark.parametrize("script", scripts_of("registry"), ids=lambda script: script.name)
def test_every_script_says_what_it_takes_and_answers(script: Script) -> None:
    text = (files("wis2_gc_common.redis") / "lua" / "registry" / f"{script.name}.lua").read_text()
    end = re.search(r"^(?!--)", text, re.MULTILINE)
    assert end is not None
    head = text[: end.start()]
    assert re.search(r"^-- KEYS ", head, re.MULTILINE)
    assert re.search(r"^-- Answers ", head, re.MULTILINE)


def test_a_script_that_names_an_unknown_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(metrics, "GIVEN_UP")
    with pytest.raises(AttributeError):
        load("registry", "shared/record", "release")


def test_what_runs_when_full_says_so_in_its_first_line() -> None:
    full = load("registry", "ping", when_full=True, constants="local ONE = 1")
    assert full.source.splitlines()[:2] == ["#!lua flags=allow-oom", "local ONE = 1"]
    assert not load("registry", "ping").source.startswith("#!")
