"""Mistakes about the order in which a replica writes and speaks; see `bugs`.

Simulated runs have another driver and another ledger around the same core, so tests of the real
ones must notice.
"""

from __future__ import annotations

from typing import Final

from tests.planted.bug import Bug

_APPEND: Final = """\
        if records or certified:
            new = await self._ledger.append(self.replica.epoch, records, certified)
"""
_SEND: Final = """\
        for effect in effects:
            self._perform_one(effect)
"""
_PROMISE: Final = "                self.store.cover_votes(*reach_of(records))\n"
_WRITE: Final = "                self.store.append_records(encoded)\n"

DRIVER: Final = (
    Bug(
        "D2",
        "a vote is sent before it is durable",
        "services/consensus/driver.py",
        _APPEND + _SEND,
        _SEND + _APPEND,
        test="tests/integration/node/test_records_before_sends.py::test_p14",
    ),
    Bug(
        "R6",
        "a vote is durable before the promise that covers it",
        "services/consensus/ledger.py",
        _PROMISE + _WRITE,
        _WRITE + _PROMISE,
        test="tests/integration/ledger/test_promise_before_votes.py::test_p14",
    ),
)
