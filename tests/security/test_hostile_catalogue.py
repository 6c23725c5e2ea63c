"""The catalogue itself: so many kinds, so many inputs, and none that expects nothing."""

from __future__ import annotations

from testkit.hostile.all_kinds import CLIENTS, DELIVERIES, NOTIFICATIONS, REQUESTS, SOURCES
from testkit.hostile.catalogue import Delivery, Message, Outcome, Place
from testkit.hostile.servers import NoServers

MESSAGES = DELIVERIES | NOTIFICATIONS | SOURCES
PLACE = Place("any", 1, NoServers(), 9)


def test_there_are_forty_kinds_and_two_hundred_inputs_at_the_very_least() -> None:
    kinds = [list(make(PLACE)) for make in MESSAGES.values()]
    kinds += [list(make()) for make in (CLIENTS | REQUESTS).values()]
    assert len(kinds) == len(MESSAGES) + len(CLIENTS) + len(REQUESTS)
    assert len(kinds) >= 80
    assert sum(map(len, kinds)) >= 1400
    assert min(map(len, kinds)) >= 3


def test_every_input_has_a_name_of_its_own_in_its_kind() -> None:
    for kind, make in (MESSAGES | CLIENTS | REQUESTS).items():
        inputs = list(make(PLACE) if kind in MESSAGES else make())
        names = [(one.name, getattr(one, "server", "")) for one in inputs]
        assert len(set(names)) == len(names), f"{kind}: {names}"


def test_every_message_is_to_have_one_end() -> None:
    for kind, make in MESSAGES.items():
        for one in make(PLACE):
            assert isinstance(one, Message | Delivery)
            outcome = one.outcome
            assert outcome != Outcome(), f"{kind}: {one.name}"
            ends = [
                outcome.listener, outcome.manager, outcome.failures, outcome.untouched,
                outcome.data is not None,
            ]  # fmt: skip
            assert len([end for end in ends if end]) == 1, f"{kind}: {one.name}"
            assert bool(one.data_id) or (outcome.data is None and not outcome.untouched)


def test_among_them_are_inputs_that_are_refused_that_fail_and_that_are_cached() -> None:
    outcomes = [one.outcome for make in MESSAGES.values() for one in make(PLACE)]
    for part in ("listener", "manager", "failures", "data", "untouched"):
        assert len([each for each in outcomes if getattr(each, part)]) >= 10
