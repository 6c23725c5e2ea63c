"""The Lua scripts in `lua/`, and how Redis gets to know them. Pure.

`queue_scripts` and `registry_scripts` name them.

Files in `shared/` hold functions that several scripts use; each other file is one script.

In the files, `METRIC.NAME` stands for the name of that metric in `wis2_gc_common.metrics`: the
catalogue stays the only source, at no cost for the script.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, RedisError

from wis2_gc_common import metrics

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_METRIC = re.compile(r"\bMETRIC\.([A-Z_]+)")
#: Redis 7.0 or later runs a script with this flag also when its memory is full. Without the flag it
#: refuses the script's first command that may take memory.
_RUNS_WHEN_FULL = "#!lua flags=allow-oom"


@dataclass(frozen=True, slots=True)
class Script:
    """One script, with the name that EVALSHA uses."""

    name: str
    source: str
    sha: str


Argument = str | bytes | int
Command = tuple[Argument, ...]
#: A script, its keys and its arguments.
Call = tuple[Script, "Sequence[str]", "Sequence[Argument]"]


def exchanges(
    calls: Sequence[Call], *, in_order: bool
) -> Generator[list[Command], list[Any], list[Any]]:
    """Yield what to send; take the answers to it; return one answer for each call.

    A script that Redis does not know has done nothing: Redis gets its source, and the call again.
    If Redis refuses the source, that is the answer. `in_order`: all calls behind it go again, too;
    they may depend on it.
    """
    commands: list[Command] = [
        ("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls
    ]
    answers = yield commands
    unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        sources = dict.fromkeys(calls[at][0].source for at in unknown)
        again = range(unknown[0], len(calls)) if in_order else unknown
        loads: list[Command] = [("SCRIPT", "LOAD", source) for source in sources]
        late = yield [*loads, *(commands[at] for at in again)]
        refused = next((one for one in late[: len(loads)] if isinstance(one, RedisError)), None)
        for at, answer in zip(again, late[len(loads) :], strict=True):
            answers[at] = refused if refused and isinstance(answer, NoScriptError) else answer
    return answers


def load(folder: str, *names: str, constants: str = "", when_full: bool = False) -> Script:
    """Return the script made of `lua/{folder}/{name}.lua`, in this order; the last names it.

    `constants`: Lua that comes first. `when_full`: also runs while the memory of Redis is full.
    """
    lua = files(__package__) / "lua" / folder
    texts = [(lua / f"{name}.lua").read_text(encoding="utf-8") for name in names]
    head = [_RUNS_WHEN_FULL] if when_full else []
    head += [constants] if constants else []
    source = _METRIC.sub(_metric_name, "\n".join([*head, *texts]))
    # SHA-1 is Redis' own name for a script, not a protection.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(names[-1], source, sha)


def _metric_name(match: re.Match[str]) -> str:
    metric = getattr(metrics, match[1])
    if not isinstance(metric, metrics.Metric):
        raise TypeError(f"{match[1]} is not a metric")
    return f"'{metric.name}'"
