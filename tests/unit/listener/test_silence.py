from __future__ import annotations

import pytest

from wis2_gc_listener.silence import Silence, is_due

MINUTE, HOUR = 60.0, 3600.0


class Broker:
    """A broker whose every second we live through, at once."""

    def __init__(self, *, timeout_s: float = 300) -> None:
        self.now_s = 1000.0
        self.silence = Silence(timeout_s=timeout_s)
        self.reconnections: list[float] = []
        self.silence.connected()

    def live(
        self,
        duration_s: float,
        *,
        message_every_s: float | None = None,
        is_listening: bool = True,
        is_cured_by_reconnecting: bool = False,
    ) -> None:
        """Note when we connect again, in seconds from now."""
        for second in range(1, int(duration_s) + 1):
            self.now_s += 1
            is_heard = message_every_s is not None and second % message_every_s == 0
            if self.silence.look(self.now_s, is_heard=is_heard, is_listening=is_listening):
                self.reconnections.append(second)
                self.silence.connected()
                if is_cured_by_reconnecting:
                    self.silence.look(self.now_s, is_heard=True, is_listening=True)
                    return


def test_a_busy_broker_that_falls_silent_is_connected_again_after_the_timeout() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    assert broker.reconnections == []
    broker.live(10 * MINUTE, is_cured_by_reconnecting=True)
    assert broker.reconnections == [300]


def test_a_broker_that_stays_silent_is_tried_again_ever_less_often() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    broker.live(5 * HOUR)
    first = [300, 900, 2100, 4500]
    # Then once an hour.
    assert broker.reconnections == [pytest.approx(at, abs=9) for at in (*first, 8100, 11700, 15300)]


@pytest.mark.parametrize("pause_s", [10 * MINUTE, 25 * MINUTE, HOUR])
def test_a_broker_that_was_always_quiet_is_left_alone(pause_s: float) -> None:
    broker = Broker()
    broker.live(10 * HOUR, message_every_s=pause_s)
    broker.live(2 * pause_s)
    assert broker.reconnections == []
    broker.live(2 * pause_s)
    assert len(broker.reconnections) == 1


def test_bursts_at_the_top_of_the_hour_are_not_a_reason() -> None:
    broker = Broker()
    for _ in range(12):
        broker.live(5 * MINUTE, message_every_s=1)
        broker.live(55 * MINUTE)
    # Only the first pause was unlike all that was known before.
    assert len(broker.reconnections) <= 3


def test_a_burst_after_the_start_is_not_the_past() -> None:
    broker = Broker()
    broker.live(30, message_every_s=1)
    broker.live(HOUR)
    assert broker.reconnections == []


def test_a_broker_that_has_never_sent_anything_has_no_past() -> None:
    broker = Broker()
    broker.live(5 * HOUR)
    assert broker.reconnections == []


def test_a_silence_that_a_connection_ended_is_not_learnt_as_natural() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    for _ in range(5):
        broker.live(10 * MINUTE, is_cured_by_reconnecting=True)
        broker.live(MINUTE, message_every_s=1)
    assert broker.reconnections == [300] * 5


def test_a_silence_that_ended_by_itself_is_learnt() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    broker.live(20 * MINUTE)
    broker.live(MINUTE, message_every_s=1)
    made = len(broker.reconnections)
    broker.live(50 * MINUTE)
    assert len(broker.reconnections) == made


def test_a_process_that_was_suspended_has_not_heard_a_silence() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    broker.now_s += 8 * HOUR
    broker.live(290)
    assert broker.reconnections == []


def test_while_we_hold_the_broker_back_it_is_not_silent() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    broker.live(2 * HOUR, is_listening=False)
    broker.live(290)
    assert broker.reconnections == []


def test_a_broker_so_busy_that_something_is_always_unacknowledged_has_a_past() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1, is_listening=False)
    broker.live(10 * MINUTE, is_cured_by_reconnecting=True)
    assert broker.reconnections == [300]


def test_the_time_without_a_connection_is_not_silence() -> None:
    broker = Broker()
    broker.live(HOUR, message_every_s=1)
    broker.live(200)
    broker.now_s += HOUR
    broker.silence.connected()
    broker.live(290)
    assert broker.reconnections == []


def test_zero_switches_it_off() -> None:
    broker = Broker(timeout_s=0)
    broker.live(HOUR, message_every_s=1)
    broker.live(5 * HOUR)
    assert broker.reconnections == []


@pytest.mark.parametrize("fruitless", [0, 1, 5, 10**6])
def test_the_wait_is_bounded_however_often_it_was_fruitless(fruitless: int) -> None:
    past = {"timeout_s": 300.0, "past_s": HOUR, "longest_pause_s": 1.0, "fruitless": fruitless}
    assert is_due(waited_s=HOUR, **past)  # type: ignore[arg-type]
    assert not is_due(waited_s=299, **past)  # type: ignore[arg-type]
