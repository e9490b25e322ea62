"""A market dataset, format guqiao-market-dataset/1 (docs/market-dataset.md), as it was read.

It holds its events in order and gives the bodies that put its reference data on a chain. Identity
numbers leave it only as keyed digests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.market_identifiers import identity_valid_from

ROWS_IN_CHUNK: Final = 200
"""Rows in one reference data body, as the register contract accepts them."""

CHUNK_BYTES_MAX: Final = 512 * 1024
"""Of rows in one body, so that it fits a transaction; a larger row goes alone."""

DATASET_FILES: Final = (
    *("market.json", "companies.csv", "investors.csv"),
    *("products.csv", "trading_days.txt", "events.jsonl"),
)

Row = dict[str, Any]
IdentityDigest = Callable[[str, str], str]
"""From (id_type, id_number) to the keyed digest, 64 lower-case hexadecimal digits."""

_ON_CHAIN: Final = (
    *("market_code", "chain_name", "operator", "currency", "period_start", "period_end"),
    *("rules", "share_natures", "evidence_required"),
)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is malformed, and where: the line in which the row begins. Line 0: the whole file.

    A row with a `cause` is right itself, but refers to the row at that place, which is malformed
    or follows from one that is.
    """

    file: str
    line: int
    field: str
    problem: str
    cause: str = ""
    whole_file: bool = False
    """There is no row that could be left out."""

    is_gap: bool = False
    """Rows are missing before this one, which is right itself and never left out."""

    def __str__(self) -> str:
        """Return the problem as one line for a person."""
        return f"{self.file}:{self.line}: {self.field or 'row'}: {self.problem}"


@dataclass(frozen=True, slots=True)
class DatasetEvent:
    """One event. `body` holds the members of its type and `evidence`: a contract call's body."""

    seq: int
    time: str
    type: str
    request_id: str
    body: Row


@dataclass(frozen=True, slots=True)
class MarketDataset:
    """A well-formed dataset. `left_out` tells the malformed rows that are not in it, and `gaps`
    the events before which others are missing.
    """

    market: Row
    companies: tuple[Row, ...]
    investors: tuple[Row, ...]
    products: tuple[Row, ...]
    trading_days: tuple[str, ...]
    events: tuple[DatasetEvent, ...]
    left_out: tuple[RowProblem, ...] = ()
    gaps: tuple[RowProblem, ...] = ()

    def market_calls(self) -> Iterator[tuple[str, Row]]:
        """Yield (method, body) of the contract calls that put the market's reference data on a
        chain, in order: all but the investors.
        """
        yield "configure_market", {name: self.market[name] for name in _ON_CHAIN}
        # A year of the calendar may have no trading day at all: that, too, has to be told.
        years = [int(day[:4]) for day in (*self.trading_days[:1], *self.trading_days[-1:])]
        for year in range(years[0], years[-1] + 1) if years else ():
            days = [day for day in self.trading_days if day.startswith(f"{year:04}-")]
            yield "put_trading_days", {"year": year, "days": days}
        yield from _chunked_calls("companies", self.companies)
        yield from _chunked_calls("products", self.products)

    def investor_calls(self, identity_digest: IdentityDigest) -> Iterator[tuple[str, Row]]:
        """Yield the calls that come after those of the market: the investors, without what may not
        be on a chain.
        """
        rows = [self._on_chain(row, identity_digest) for row in self.investors]
        yield from _chunked_calls("investors", rows)

    def reference_calls(self, identity_digest: IdentityDigest) -> Iterator[tuple[str, Row]]:
        """Yield all of them."""
        yield from self.market_calls()
        yield from self.investor_calls(identity_digest)

    @property
    def identities_as_of(self) -> str:
        """The date from which the dataset's identities are looked at: none of its events is
        earlier, whatever its period says, which only identifies the dataset.
        """
        days = (event.time[:10] for event in self.events)
        return min(days, default=str(self.market["period_start"]))

    def _on_chain(self, investor: Row, identity_digest: IdentityDigest) -> Row:
        """Return the investor as the chain may know it: no name and no number."""
        id_type, id_number = investor["id_type"], investor["id_number"]
        hidden = ("name", "id_number")
        return {
            **{name: value for name, value in investor.items() if name not in hidden},
            "identity_digest": identity_digest(id_type, id_number),
            "identity_valid_from": identity_valid_from(
                id_type, id_number, as_of=self.identities_as_of
            ),
        }


def _chunked_calls(name: str, rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    for chunk in row_chunks(rows, count_max=ROWS_IN_CHUNK, bytes_max=CHUNK_BYTES_MAX):
        yield f"put_{name}", {name: chunk}


def row_chunks(rows: Sequence[Row], *, count_max: int, bytes_max: int) -> Iterator[list[Row]]:
    """Yield the rows in order, in lists of bounded count and size; a row too large goes alone."""
    chunk: list[Row] = []
    left = bytes_max
    for row in rows:
        size = len(json.dumps(row, ensure_ascii=False).encode())
        if chunk and (len(chunk) == count_max or size > left):
            yield chunk
            chunk, left = [], bytes_max
        chunk.append(row)
        left -= size
    if chunk:
        yield chunk
