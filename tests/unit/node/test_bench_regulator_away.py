"""What the bench tells of a market whose regulator is away, over plain data."""

from __future__ import annotations

from collections import Counter

from bench.load import FinalTransaction, Tally
from bench.regulator_away import figures


def tally(count: int, seconds: float = 0.1, refusals: Counter[str] | None = None) -> Tally:
    finals = [
        FinalTransaction(number.to_bytes(32, "big"), number, number, number + seconds, 7)
        for number in range(count)
    ]
    return Tally(finals, refusals=refusals or Counter())


def test_the_ratio_is_of_the_turns_of_one_round_and_the_median_of_the_rounds() -> None:
    there = [tally(100), tally(200), tally(400)]
    away = [tally(100), tally(100), tally(300, seconds=0.4)]
    found = figures(there, away, [3.14, 2.0, 1.0], seconds=10.0)
    assert (found["ratio_away"], found["ratio_away_min"]) == (0.75, 0.5)
    assert (found["tps_there"], found["tps_away"]) == ([10.0, 20.0, 40.0], [10.0, 10.0, 30.0])
    assert found["local_final_p95_there_ms"] == [100.0] * 3
    assert found["local_final_p95_away_ms"] == [100.0, 100.0, 400.0]
    assert (found["waited"], found["made_good_s"]) == ([100, 100, 300], [3.1, 2.0, 1.0])


def test_what_either_turn_was_refused_is_told() -> None:
    there = [tally(10, refusals=Counter(QUEUE_FULL=2))]
    away = [tally(10, refusals=Counter(QUEUE_FULL=1, EXPIRED=4))]
    assert figures(there, away, [1.0], 1.0)["refusals"] == {"QUEUE_FULL": 3, "EXPIRED": 4}
    assert there[0].refusals == Counter(QUEUE_FULL=2)
