"""Freezes and their order of rights: freezable shares always go to the earliest waiting freeze.

The queue belongs to (account, product, nature) and outlives the position. Between operations, where
a freeze waits, every share of the position is frozen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import records, state
from services.consensus.domain.contracts.register.changes import Changes
from services.consensus.domain.contracts.register.records import Freeze, Position

WAITING_MAX: Final = 1_000
"""How many freezes may wait for one position."""


def run_where_shares_wait(host: Host, changes: Changes, account: str, nature: str) -> None:
    """Run the queue where one can be: shares that were not all frozen had no freeze waiting."""
    before = changes.position_before(account, nature)
    if before is None or before.frozen == before.total:
        run(host, changes, account, nature)


def run(host: Host, changes: Changes, account: str, nature: str) -> None:
    """Turn waiting shares into effective ones, the earliest freeze first, while any are free."""
    key = queue_key(account, changes.product_code, nature)
    queue = find_queue(host, key)
    served = 0
    for number in queue:
        position = changes.position(account, nature)
        freezable = 0 if position is None else position.total - position.frozen
        if position is None or freezable == 0:
            break
        freeze = state.find_freeze(host, number)
        assert freeze is not None
        turned = min(freeze.waiting, freezable)
        changes.set_position(account, nature, _frozen(position, freeze, turned))
        changes.set_encumbrance(
            replace(freeze, effective=freeze.effective + turned, waiting=freeze.waiting - turned)
        )
        served += turned == freeze.waiting
    if served:
        put_queue(host, key, queue[served:])


def append(host: Host, freeze: Freeze) -> None:
    """Put a freeze at the end of its queue."""
    key = queue_key(freeze.account, freeze.product_code, freeze.nature)
    queue = find_queue(host, key)
    if len(queue) >= WAITING_MAX:
        raise Refusal("WAITING_QUEUE_FULL", freezes_waiting=len(queue))
    put_queue(host, key, (*queue, freeze.number))


def leave(host: Host, freeze: Freeze) -> None:
    """Take a freeze that waits for nothing out of its queue; the others keep their places."""
    key = queue_key(freeze.account, freeze.product_code, freeze.nature)
    queue = find_queue(host, key)
    if freeze.number in queue:
        put_queue(host, key, tuple(number for number in queue if number != freeze.number))


def queue_key(account: str, product_code: str, nature: str) -> str:
    """Return the key of a queue; those of one account lie together."""
    return state.key("waiting", account, product_code, nature)


def find_queue(host: Host, key: str) -> tuple[str, ...]:
    """Return the numbers of the waiting freezes in order of receipt."""
    stored = host.get(key)
    return () if stored is None else records.texts(stored)


def put_queue(host: Host, key: str, queue: tuple[str, ...]) -> None:
    """Write a queue; an empty one does not exist."""
    if queue:
        host.put(key, [*queue])
    else:
        host.delete(key)


def _frozen(position: Position, freeze: Freeze, shares: int) -> Position:
    """Freeze shares of a position: available ones first, then pledged ones."""
    available_part = min(shares, position.available)
    becomes_effective = freeze.effective == 0 and shares > 0
    return replace(
        position,
        frozen=position.frozen + shares,
        overlap=position.overlap + shares - available_part,
        fruit_freezes=position.fruit_freezes + (becomes_effective and freeze.fruits),
    )
