"""Business time: the time that the market's rules use, carried by each operation.

It never runs backwards within the market, and it lies within a day of the block's time. While the
import of a market's history is open it may lie in the past as far as it will, and ten years ahead,
for invented histories end where they like; one far beyond would stop the market's clock for ever.
Pure integer arithmetic on the +08:00 form.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register.members import is_date

DISTANCE_MS_MAX: Final = 86_400_000
"""One day to either side of the block's time."""

AHEAD_MS_MAX: Final = 3_660 * DISTANCE_MS_MAX
"""Of the block's time, while the import of a market's history is open."""

_FORM = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])\+08:00"
)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_OFFSET_SECONDS: Final = 8 * 3600


def advance(host: Host, *, historic_import: bool) -> tuple[str, int]:
    """Take the operation's time as the market's clock; return it, and its Unix time in seconds."""
    time = host.business_time()
    seconds = None if time is None else unix_seconds(time)
    if time is None or seconds is None:
        raise Refusal("BUSINESS_TIME_MALFORMED", time=time)
    clock = host.get("clock")
    if clock is not None:
        assert isinstance(clock, str)
        # One offset and one width: the order of the texts is the order of the times.
        if time < clock:
            raise Refusal("BUSINESS_TIME_REGRESSED", time=time, market_time=clock)
    distance = seconds * 1000 - host.block_time_ms()
    is_near = distance <= AHEAD_MS_MAX if historic_import else abs(distance) <= DISTANCE_MS_MAX
    if not is_near:
        raise Refusal("BUSINESS_TIME_OUT_OF_RANGE", time=time, block_time_ms=host.block_time_ms())
    if time != clock:
        host.put("clock", time)
    return time, seconds


def unix_seconds(time: str) -> int | None:
    """Return the Unix time of an RFC 3339 time in seconds at +08:00; None for any other form."""
    form = _FORM.fullmatch(time)
    if form is None or not is_date(form[1]):
        return None
    day = date.fromisoformat(form[1]).toordinal() - _EPOCH_DAY
    return ((day * 24 + int(form[2])) * 60 + int(form[3])) * 60 + int(form[4]) - _OFFSET_SECONDS
