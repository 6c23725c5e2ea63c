from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from wis2_gc_common import metrics as metrics_catalogue
from wis2_gc_common.redis import registry_scripts as scripts

ALL = [value for value in vars(scripts).values() if isinstance(value, scripts.Script)]
SHARED = {"record", "order", "labels", "quota"}


def test_every_lua_file_is_loaded():
    names = {path.name for path in (files("wis2_gc_common.redis") / "lua" / "registry").iterdir()}
    lua = {name.removesuffix(".lua") for name in names if name.endswith(".lua")}
    assert lua == {script.name for script in ALL} | SHARED


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_the_sha_is_the_one_redis_computes(script: scripts.Script):
    assert script.sha == hashlib.sha1(script.source.encode()).hexdigest()


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_metrics_go_by_their_names_in_the_catalogue(script: scripts.Script):
    assert "METRIC." not in script.source
    quoted = set(re.findall(r"'((?:wmo_)?wis2_gc_\w+)'", script.source))
    assert quoted <= {metric.name for metric in metrics_catalogue.CATALOGUE}


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_every_script_says_what_it_takes_and_answers(script: scripts.Script):
    text = (files("wis2_gc_common.redis") / "lua" / "registry" / f"{script.name}.lua").read_text()
    head = text[: re.search(r"^(?!--)", text, re.MULTILINE).start()]
    assert re.search(r"^-- KEYS ", head, re.MULTILINE)
    assert re.search(r"^-- Answers ", head, re.MULTILINE)


def test_a_script_that_names_an_unknown_metric_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(metrics_catalogue, "GIVEN_UP")
    with pytest.raises(AttributeError):
        scripts.load("release", "record")
