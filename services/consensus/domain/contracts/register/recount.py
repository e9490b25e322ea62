"""The independent check of the register: count everything again and compare.

The operations keep the invariants by deltas; this reads the whole state and trusts none of the
running counts. It never changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guqiao_sdk import register_keys as keys
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import records
from services.consensus.domain.contracts.register.records import Freeze, Pledge, Position

ENTRIES_MAX: Final = 10_000_000
"""A register with more entries of one kind is reported, not counted in part."""

_Triple = tuple[str, str, str]
"""Account, product, nature, each as it stands in a key: long names have no other form there."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, where, and the two figures that differ."""

    invariant: str
    place: str
    counted: int
    recorded: int


def recount(host: Host) -> list[Violation]:
    """Return every violation of the invariants of the register; none is the good answer."""
    positions = _positions(host)
    pledges = [records.pledge_from_json(value) for _, value in _entries(host, "pledge")]
    freezes = [records.freeze_from_json(value) for _, value in _entries(host, "freeze")]
    return [
        *_of_products(host, positions),
        *_of_positions(positions),
        *_of_pledges(positions, pledges),
        *_of_freezes(positions, freezes),
        *_of_queues(host, freezes),
        *_of_held(host, positions),
    ]


def _entries(host: Host, kind: str) -> list[tuple[str, Json]]:
    found = host.scan(kind + "/", ENTRIES_MAX + 1)
    if len(found) > ENTRIES_MAX:
        raise OverflowError(f"more than {ENTRIES_MAX} entries of {kind}")
    return found


def _positions(host: Host) -> dict[_Triple, Position]:
    """Return every position by (account, product, nature)."""
    positions: dict[_Triple, Position] = {}
    for key, value in _entries(host, "holding"):
        _, product, account = key.split("/")
        for nature, position in records.positions_from_json(value).items():
            positions[(account, product, keys.part_of_key(nature))] = position
    return positions


def _of_products(host: Host, positions: dict[_Triple, Position]) -> Iterator[Violation]:
    counted_holders = {
        keys.part_of_key(account.code): account.counted_holders
        for account in (records.account_from_json(value) for _, value in _entries(host, "account"))
    }
    products = {
        keys.part_of_key(product.code): product
        for product in (records.product_from_json(value) for _, value in _entries(host, "product"))
    }
    totals = dict.fromkeys(products, 0)
    holders: dict[str, set[str]] = {code: set() for code in products}
    for (account, code, nature), position in positions.items():
        if code not in products:
            yield Violation("PRODUCT_REGISTERED", f"{account}/{code}/{nature}", 0, 1)
            continue
        totals[code] += position.total
        holders[code].add(account)
    for code, product in products.items():
        count = sum(counted_holders.get(account, 0) for account in holders[code])
        yield from _differ("TOTAL_IS_REGISTERED", code, totals[code], product.registered_total)
        yield from _differ("RUNNING_TOTAL", code, totals[code], product.positions_total)
        yield from _differ("HOLDER_COUNT", code, count, product.holder_count)


def _of_positions(positions: dict[_Triple, Position]) -> Iterator[Violation]:
    for triple, position in positions.items():
        place, encumbered = "/".join(triple), position.total - position.available
        if position.total <= 0:
            yield Violation("TOTAL_POSITIVE", place, position.total, 1)
        if not 0 <= position.overlap <= min(position.pledged, position.frozen):
            yield Violation("OVERLAP_WITHIN_BOTH", place, position.overlap, position.pledged)
        if encumbered > position.total:
            yield Violation("ENCUMBERED_WITHIN_TOTAL", place, encumbered, position.total)


def _of_pledges(positions: dict[_Triple, Position], pledges: list[Pledge]) -> Iterator[Violation]:
    outstanding: dict[_Triple, int] = {}
    for pledge in pledges:
        triple = _triple(pledge)
        outstanding[triple] = outstanding.get(triple, 0) + pledge.outstanding
    for triple in sorted({*positions, *outstanding}):
        recorded = positions[triple].pledged if triple in positions else 0
        yield from _differ("PLEDGED", "/".join(triple), outstanding.get(triple, 0), recorded)


def _of_freezes(positions: dict[_Triple, Position], freezes: list[Freeze]) -> Iterator[Violation]:
    effective: dict[_Triple, int] = {}
    fruits: dict[_Triple, int] = {}
    waiting: set[_Triple] = set()
    for freeze in freezes:
        triple = _triple(freeze)
        effective[triple] = effective.get(triple, 0) + freeze.effective
        fruits[triple] = fruits.get(triple, 0) + (freeze.fruits and freeze.effective > 0)
        if freeze.waiting > 0:
            waiting.add(triple)
    none = Position(total=0)
    for triple in sorted({*positions, *effective}):
        place, position = "/".join(triple), positions.get(triple, none)
        yield from _differ("FROZEN", place, effective.get(triple, 0), position.frozen)
        yield from _differ("FRUITS", place, fruits.get(triple, 0), position.fruit_freezes)
        if triple in waiting:
            yield from _differ("ALL_FROZEN_WHERE_WAITING", place, position.total, position.frozen)


def _of_queues(host: Host, freezes: list[Freeze]) -> Iterator[Violation]:
    """Each waiting freeze stands in its queue once, and nothing else does."""
    queued: dict[str, list[str]] = {}
    for key, value in _entries(host, "waiting"):
        queued[key.partition("/")[2]] = [*records.texts(value)]
    waiting: dict[str, list[str]] = {}
    for freeze in freezes:
        if freeze.waiting > 0:
            waiting.setdefault("/".join(_triple(freeze)), []).append(freeze.number)
    for place in sorted({*queued, *waiting}):
        counted, recorded = waiting.get(place, []), queued.get(place, [])
        if sorted(counted) != sorted(recorded):
            yield Violation("WAITING_QUEUE", place, len(counted), len(recorded))


def _of_held(host: Host, positions: dict[_Triple, Position]) -> Iterator[Violation]:
    counted = {(account, product) for account, product, _ in positions}
    recorded = {tuple(key.split("/")[1:]) for key, _ in _entries(host, "held")}
    for pair in sorted(counted ^ recorded):
        yield Violation("HELD", "/".join(pair), int(pair in counted), int(pair in recorded))


def _triple(record: Pledge | Freeze) -> _Triple:
    account, product = keys.part_of_key(record.account), keys.part_of_key(record.product_code)
    return account, product, keys.part_of_key(record.nature)


def _differ(invariant: str, place: str, counted: int, recorded: int) -> Iterator[Violation]:
    if counted != recorded:
        yield Violation(invariant, place, counted, recorded)
