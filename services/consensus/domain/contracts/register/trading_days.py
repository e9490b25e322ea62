"""The interval between opposite deals, counted in trading days.

Trading days lie in the state by month, and a year is loaded whole, so a count reads a month or two
and a year that nobody loaded is an error and never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import records, state


def month_key(month: str) -> str:
    """Return the key of a month, YYYY-MM."""
    return state.key("trading_days", month)


def are_fewer_between(host: Host, earlier: str, later: str, *, count: int) -> bool:
    """Tell whether fewer than `count` trading days t have earlier < t <= later."""
    found = 0
    for month in _months(earlier, later):
        if found >= count:
            return False
        days = host.get(month_key(month))
        if days is None:
            raise Refusal("CALENDAR_YEAR_UNKNOWN", year=month[:4])
        found += sum(earlier < day <= later for day in records.texts(days))
    return found < count


def _months(earlier: str, later: str) -> Iterator[str]:
    """Yield the months from one date to another, both included."""
    month = earlier[:7]
    while month <= later[:7]:
        yield month
        year, number = int(month[:4]), int(month[5:7])
        month = f"{year + number // 12:04}-{number % 12 + 1:02}"
