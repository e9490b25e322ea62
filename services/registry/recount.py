"""The independent check of the register (design, section 8): counts the read model again, and
compares with what the chain itself holds of each product, proven.

The contract keeps its invariants by deltas; this reads every row that concerns a product and trusts
no running count. What it finds is either a row that somebody changed, which `rebuild-projection`
tells, or an error of the contract's rules. It never changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from guqiao_sdk import register_keys
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.proven import ProvenState
from services.chassis.block_feed import projected_height
from services.chassis.postgres import Connection, Pool
from services.registry.register_store import list_changed

STATEMENT_SECONDS_MAX: Final = 600.0
ROWS_AT_ONCE: Final = 1_000
PRODUCTS_AT_ONCE: Final = 500
VIOLATIONS_MAX: Final = 1_000
"""Of positions: whoever changed that many changed all; the rest is not counted."""

_CONTRACT: Final = "register/"


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, where, and the two figures that differ."""

    invariant: str
    place: str
    counted: int
    recorded: int

    def __str__(self) -> str:
        return f"{self.invariant} {self.place}: {self.counted} counted, {self.recorded} recorded"


@dataclass(frozen=True, slots=True)
class Recount:
    """What was found at a height; none of `violations` is the good answer."""

    height: int
    products: int
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class _Counted:
    """A product as the read model shows it."""

    total: int
    holders: int


async def recount(pool: Pool, client: ChainClient, since: int | None = None) -> Recount:
    """Count the products that blocks above `since` changed (None: all), as at the height that is
    projected. Raises what reading the chain raises; `HEIGHT_PRUNED` where the read model is far
    behind.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        height = await projected_height(connection, client.chain_id)
        if since is None:
            codes, violations = await _products(connection), await _of_unknown_products(connection)
        else:
            codes, violations = await list_changed(connection, since, height), []
        violations += await _of_positions(connection, codes)
        counted = await _count(connection, codes)
    violations += await _of_products(client, height, counted)
    return Recount(height, len(codes), tuple(violations))


async def _products(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT product_code FROM products ORDER BY 1")
    return [row["product_code"] for row in rows]


async def _of_positions(connection: Connection, products: Sequence[str]) -> list[Violation]:
    """In one pass, however many there are; the first `VIOLATIONS_MAX` of what is found."""
    found: list[Violation] = []
    rows = connection.cursor(
        _POSITIONS, products, prefetch=ROWS_AT_ONCE, timeout=STATEMENT_SECONDS_MAX
    )
    async for row in rows:
        found += _judge(row)
        if len(found) >= VIOLATIONS_MAX:
            break
    return found


_POSITIONS: Final = """
WITH bound AS (
    SELECT account, product_code, nature,
           sum(effective) FILTER (WHERE kind = 'pledge') AS pledged,
           sum(effective) FILTER (WHERE kind = 'freeze') AS frozen,
           sum(waiting) AS waiting
    FROM encumbrances
    WHERE to_height IS NULL AND product_code = ANY($1)
    GROUP BY account, product_code, nature
), held AS (
    SELECT * FROM positions WHERE to_height IS NULL AND product_code = ANY($1)
)
SELECT account, product_code, nature,
       coalesce(held.total, 0) AS total, coalesce(held.available, 0) AS available,
       coalesce(held.pledged, 0) AS pledged, coalesce(held.frozen, 0) AS frozen,
       coalesce(held.pledged_and_frozen, 0) AS overlap, held.account IS NOT NULL AS is_held,
       coalesce(bound.pledged, 0) AS pledges, coalesce(bound.frozen, 0) AS freezes,
       coalesce(bound.waiting, 0) AS waiting
FROM held FULL JOIN bound USING (account, product_code, nature)
ORDER BY product_code, account, nature
"""
"""Positions beside what binds them; either may be there alone."""


def _judge(row: Record) -> Iterator[Violation]:
    """One position. A freeze waits only where nothing is left to take."""
    place = f"{row['account']}/{row['product_code']}/{row['nature']}"
    counted = {name: int(row[name]) for name in _AMOUNTS}
    total, pledged, frozen, overlap = (
        counted[name] for name in ("total", "pledged", "frozen", "overlap")
    )
    encumbered = pledged + frozen - overlap
    if row["is_held"] and total <= 0:
        yield Violation("TOTAL_POSITIVE", place, total, 1)
    if not 0 <= overlap <= min(pledged, frozen):
        yield Violation("OVERLAP_WITHIN_BOTH", place, overlap, min(pledged, frozen))
    if encumbered > total:
        yield Violation("ENCUMBERED_WITHIN_TOTAL", place, encumbered, total)
    yield from _differ("AVAILABLE", place, total - encumbered, counted["available"])
    yield from _differ("PLEDGED", place, counted["pledges"], pledged)
    yield from _differ("FROZEN", place, counted["freezes"], frozen)
    if counted["waiting"] > 0:
        yield from _differ("ALL_FROZEN_WHERE_WAITING", place, total, frozen)


_AMOUNTS: Final = (
    *("total", "available", "pledged", "frozen", "overlap", "pledges", "freezes", "waiting"),
)


async def _count(connection: Connection, products: Sequence[str]) -> dict[str, _Counted]:
    rows = await connection.fetch(_TOTALS, products, timeout=STATEMENT_SECONDS_MAX)
    found = {row["product_code"]: _Counted(int(row["total"]), int(row["holders"])) for row in rows}
    return {code: found.get(code, _Counted(0, 0)) for code in products}


_TOTALS: Final = """
SELECT product_code, sum(total) AS total, sum(counted) AS holders
FROM (
    SELECT held.product_code, sum(held.total) AS total, max(coalesce(counted_holders, 0)) AS counted
    FROM positions AS held
    LEFT JOIN accounts ON text_digest(accounts.account) = text_digest(held.account)
    WHERE to_height IS NULL AND product_code = ANY($1)
    GROUP BY held.product_code, held.account
) AS by_account
GROUP BY product_code
"""


async def _of_unknown_products(connection: Connection) -> list[Violation]:
    rows = await connection.fetch(
        """
        SELECT product_code, count(*) AS positions FROM positions
        WHERE to_height IS NULL AND product_code NOT IN (SELECT product_code FROM products)
        GROUP BY product_code
        """,
        timeout=STATEMENT_SECONDS_MAX,
    )
    return [
        Violation("PRODUCT_REGISTERED", row["product_code"], row["positions"], 0) for row in rows
    ]


async def _of_products(
    client: ChainClient, height: int, counted: dict[str, _Counted]
) -> list[Violation]:
    """Compare with the chain's own record of each product at the height, which it proves."""
    found: list[Violation] = []
    codes = list(counted)
    for start in range(0, len(codes), PRODUCTS_AT_ONCE):
        some = codes[start : start + PRODUCTS_AT_ONCE]
        keys = [f"{_CONTRACT}product/{register_keys.part_of_key(code)}" for code in some]
        proven = await client.get_state_proofs(keys, height)
        for code, state in zip(some, proven, strict=True):
            registered, holders = _recorded(state)
            found += _differ("TOTAL_IS_REGISTERED", code, counted[code].total, registered)
            found += _differ("HOLDER_COUNT", code, counted[code].holders, holders)
    return found


def _recorded(state: ProvenState) -> tuple[int, int]:
    """Registered total and holder count of a product, zeros where the chain has none such."""
    if state.value is None:
        return 0, 0
    product = json.loads(state.value)
    return int(product["registered_total"]), int(product["holder_count"])


def _differ(invariant: str, place: str, counted: int, recorded: int) -> Iterator[Violation]:
    if counted != recorded:
        yield Violation(invariant, place, counted, recorded)
