from __future__ import annotations

from wis2_gc_listener.rates import CentreRates


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def above(rates: CentreRates, centre_id: str, count: int) -> int:
    """Return how many of `count` notifications sent at once are above the rate."""
    return sum(rates.is_above(centre_id) for _ in range(count))


def test_a_burst_is_within_the_rate_and_what_follows_is_above() -> None:
    rates = CentreRates(rate_per_s=20, burst=300, clock=Clock())
    assert above(rates, "xx-flood", 10_000) == 10_000 - 300
    assert above(rates, "xx-quiet", 10) == 0


def test_a_flood_does_not_cost_a_centre_its_rate() -> None:
    clock = Clock()
    rates = CentreRates(rate_per_s=20, burst=300, clock=clock)
    above(rates, "xx-flood", 10_000)
    within = 0
    for _ in range(100):
        clock.now_s += 0.1
        within += 50 - above(rates, "xx-flood", 50)
    assert 199 <= within <= 200


def test_after_a_pause_the_burst_is_there_again_and_no_more() -> None:
    clock = Clock()
    rates = CentreRates(rate_per_s=20, burst=300, clock=clock)
    above(rates, "xx-flood", 1000)
    clock.now_s += 3600
    assert above(rates, "xx-flood", 1000) == 700


def test_made_up_centres_take_no_memory_and_nobodys_rate() -> None:
    clock = Clock()
    rates = CentreRates(rate_per_s=1, burst=5, clock=clock, max_centres=10)
    assert above(rates, "xx-real", 3) == 0
    # Those there is no room for share one.
    assert sum(rates.is_above(f"made-up-{number}") for number in range(1000)) >= 980
    assert len(rates._buckets) <= 11
    assert above(rates, "xx-real", 3) == 1
    # Buckets that are full again make room.
    clock.now_s += 5
    assert above(rates, "xx-new", 5) == 0


def test_a_centre_keeps_its_own_bucket_while_others_come_and_go() -> None:
    clock = Clock()
    rates = CentreRates(rate_per_s=1, burst=5, clock=clock, max_centres=10)
    assert above(rates, "xx-flood", 50) == 45
    for number in range(100):
        clock.now_s += 1
        rates.is_above(f"passing-{number}")
        assert above(rates, "xx-flood", 10) == 9
