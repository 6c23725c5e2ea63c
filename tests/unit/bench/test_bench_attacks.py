"""What `make bench-attacks` makes of what it saw."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bench import names, strangers
from bench.attacks import AttackResult, Phase, table
from bench.canaries import Canary
from bench.load import Load, Look, Watch, between
from testkit.servers.name_server import answer

if TYPE_CHECKING:
    from collections.abc import Callable


def always(percent: float) -> Callable[[float, float], float]:
    """A machine that is always as busy."""

    def busiest(begin_s: float, end_s: float) -> float:
        assert begin_s < end_s
        return percent

    return busiest


def phase(delays_ms: list[float | None], *, machine: float = 50.0, wrong: int = 0) -> Phase:
    result = Phase(load=Load({}, {}, machine, 0.0))
    for number, delay_ms in enumerate(delays_ms):
        at = None if delay_ms is None else delay_ms / 1000
        canary = Canary("", b"", 0.0, announced=at, fetched=at, is_right=number >= wrong)
        result.add(canary, always(machine))
    return result


def result(undisturbed: Phase, attacked: Phase, *, is_run: bool = True) -> AttackResult:
    return AttackResult("flood", "", "", is_run, undisturbed, attacked, {})


@pytest.mark.parametrize(
    ("attacked_ms", "machine", "verdict"),
    [
        (12.0, 50.0, "1.20 | 0, 0 | 50 to 50 % |"),
        (13.0, 50.0, "1.30 **above** | 9, 0 | 50 to 50 % |"),
        (13.0, 99.0, "1.30 **above** | 9, 9 | 50 to 99 % |"),
    ],
)
def test_the_table_says_what_is_above_the_ratio_and_whether_the_machine_was_busy(
    attacked_ms: float, machine: float, verdict: str
) -> None:
    rows = list(table([result(phase([10.0] * 9), phase([attacked_ms] * 9, machine=machine))]))
    assert rows[2].startswith("| flood | 18 of 18 | 10 / 10 / 10 ")
    assert rows[2].endswith(verdict)


def test_a_ratio_is_to_the_undisturbed_canaries_of_the_same_run() -> None:
    runs = [result(phase([delay] * 9), phase([20.0] * 9)) for delay in (10.0, 20.0)]
    assert [row.split(" | ")[4] for row in list(table(runs))[2:4]] == ["2.00 **above**", "1.00"]


def test_who_is_missing_or_wrong_makes_a_run_fail() -> None:
    good = phase([10.0, 11.0])
    assert result(good, good).is_right
    assert not result(good, phase([10.0, None])).is_right
    assert not result(good, phase([10.0, 11.0], wrong=1)).is_right
    assert not result(good, good, is_run=False).is_right
    assert "3 of 4" in list(table([result(good, phase([10.0, None]))]))[2]
    assert "none" in list(table([result(good, phase([None]))]))[2]


def test_load_is_what_was_done_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    before = Look(100.0, 50.0, {"redis": 7.0}, {"redis": 1.0})
    after = Look(110.0, 60.0, {"redis": 9.0}, {"redis": 1.5})
    assert between(before, after) == Load({"redis": 20.0}, {"redis": 5.0}, 50.0, 40.0)


def test_the_busiest_moment_of_a_canary_is_found() -> None:
    watch = Watch()
    watch.close()
    watch.samples = [(0.0, 0.5, 10.0), (0.5, 1.0, 99.0), (1.0, 1.5, 20.0)]
    assert watch.most(0.1, 0.2) == 10.0
    assert watch.most(0.4, 0.6) == 99.0
    assert watch.most(1.1, 9.0) == 20.0
    assert watch.most(2.0, 9.0) == 0.0


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"id\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2) + b"\0\1"


def test_the_name_server_knows_one_name_and_is_silent_about_others() -> None:
    found = answer(question(names.KNOWN, 1), "127.0.0.1", known=names.KNOWN)
    assert found.startswith(b"id\x81\x80\0\1\0\1")
    assert found.endswith(socket.inet_aton("127.0.0.1"))
    # No address of IPv6, which is an answer, too.
    assert answer(question(names.KNOWN, 28), "127.0.0.1", known=names.KNOWN)[6:8] == b"\0\0"
    assert answer(question("www.example.test", 1), "127.0.0.1", known=names.KNOWN) == b""


def test_each_attack_says_what_it_is() -> None:
    assert all(attack.meaning for attack in strangers.ATTACKS.values())
