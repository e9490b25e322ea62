"""The positions that one operation touches: read once, changed in memory, written once.

Writing keeps the invariants by deltas: the running total and the holder count of the product, the
list of products an account holds. It announces every touched position with its full new state, and
every freeze and pledge that the operation changed with its whole new record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.register import records, state
from services.consensus.domain.contracts.register.operation import Operation
from services.consensus.domain.contracts.register.records import (
    Account,
    Encumbrance,
    Holding,
    Position,
    Product,
)

ENCUMBRANCES_BYTES_MAX: Final = 65_536
"""Encumbrances that one event announces, but for one that is larger alone: a receipt has room for
the positions of a large issue and for few events more.
"""

NOTHING = Position(total=0)
"""Stands for a position that does not exist, where before and after are compared."""


@dataclass(frozen=True, slots=True)
class PositionChange:
    """A position before and after the operation; total 0 where there is none."""

    account: str
    nature: str
    before: Position
    after: Position


class Changes:
    """The working copy of one product's holdings."""

    def __init__(
        self,
        operation: Operation,
        product: Product,
        accounts: Mapping[str, Account | None],
        holdings: Mapping[str, Holding] | None = None,
    ) -> None:
        """Start from the stored state, of which `holdings` were read already."""
        self._operation = operation
        self._product = product
        self._accounts = accounts
        self._before: dict[str, Holding] = dict(holdings or {})
        self._after: dict[str, Holding] = dict(self._before)
        self._touched: dict[tuple[str, str], None] = {}
        self._encumbrances: dict[tuple[type[Encumbrance], str], Encumbrance] = {}

    @property
    def product_code(self) -> str:
        """Return the code of the one product."""
        return self._product.code

    def position_before(self, account: str, nature: str) -> Position | None:
        """Return the position as the operation found it."""
        self.holding(account)
        return self._before[account].positions.get(nature)

    def holding(self, account: str) -> Holding:
        """Return the holding as changed so far."""
        if account not in self._after:
            holding = state.get_holding(self._operation.host, self._product.code, account)
            self._before[account] = self._after[account] = holding
        return self._after[account]

    def position(self, account: str, nature: str) -> Position | None:
        """Return the position as changed so far, or None where there is none."""
        return self.holding(account).positions.get(nature)

    def set_position(self, account: str, nature: str, position: Position) -> None:
        """Change a position. With a total of 0 it ceases to exist, with its flags."""
        assert 0 <= position.overlap <= min(position.pledged, position.frozen)
        assert position.pledged + position.frozen - position.overlap <= position.total
        holding = self.holding(account)
        positions = {**holding.positions, nature: position}
        if position.total == 0:
            del positions[nature]
        self._after[account] = replace(holding, positions=positions)
        self._touched[(account, nature)] = None

    def remove_shares(self, account: str, nature: str, shares: int) -> None:
        """Take available shares out of a position."""
        position = self.position(account, nature)
        assert position is not None
        self.set_position(account, nature, replace(position, total=position.total - shares))

    def add_shares(
        self, account: str, nature: str, shares: int, *, restricted_until: str | None
    ) -> None:
        """Bring incoming shares into a position; the later of both restrictions covers it all."""
        position = self.position(account, nature)
        if position is None:
            added = Position(total=shares, restricted_until=restricted_until)
        else:
            until = max(position.restricted_until or "", restricted_until or "") or None
            added = replace(position, total=position.total + shares, restricted_until=until)
        self.set_position(account, nature, added)

    def set_encumbrance(self, record: Encumbrance) -> None:
        """Write a freeze or pledge of a position; however often it changes, its last record is
        announced.
        """
        state.put_encumbrance(self._operation.host, record)
        self._encumbrances[(type(record), record.number)] = record

    def set_last_sides(
        self, account: str, *, purchase: str | None = None, sale: str | None = None
    ) -> None:
        """Remember the date of an agreement purchase or sale."""
        holding = self.holding(account)
        self._after[account] = replace(
            holding,
            last_purchase=purchase or holding.last_purchase,
            last_sale=sale or holding.last_sale,
        )

    def write(self) -> tuple[PositionChange, ...]:
        """Write what changed, announce it, and return it in the order in which it was touched."""
        changes = tuple(self._change(account, nature) for account, nature in self._touched)
        self._write_product(changes)
        for account, holding in self._after.items():
            self._write_holding(account, self._before[account], holding)
        for change in changes:
            self._operation.host.emit("register.position_changed", self._announcement(change))
        for encumbrances in _pieces(self._encumbrances.values()):
            self._operation.host.emit(
                "register.encumbrances_changed",
                {"encumbrances": encumbrances, "time": self._operation.time},
            )
        return changes

    def _write_product(self, changes: tuple[PositionChange, ...]) -> None:
        total = sum(change.after.total - change.before.total for change in changes)
        product = replace(
            self._product,
            positions_total=self._product.positions_total + total,
            holder_count=self._product.holder_count + self._holder_count_delta(),
        )
        assert product.positions_total == product.registered_total
        # A product being registered or enlarged differs from what is stored in its total.
        if product != self._product or total != 0:
            state.put_product(self._operation.host, product)

    def _holder_count_delta(self) -> int:
        delta = 0
        for code, after in self._after.items():
            joined = bool(after.positions) - bool(self._before[code].positions)
            if joined:
                account = self._accounts[code]
                assert account is not None
                delta += joined * account.counted_holders
        return delta

    def _write_holding(self, account: str, before: Holding, after: Holding) -> None:
        host, code = self._operation.host, self._product.code
        if after == before:
            return
        state.put_holding(host, code, account, after)
        if bool(after.positions) != bool(before.positions):
            state.set_held(host, code, account, held=bool(after.positions))

    def _change(self, account: str, nature: str) -> PositionChange:
        return PositionChange(
            account=account,
            nature=nature,
            before=self._before[account].positions.get(nature, NOTHING),
            after=self._after[account].positions.get(nature, NOTHING),
        )

    def _announcement(self, change: PositionChange) -> dict[str, Json]:
        """Give the whole new state, so that a projection needs no other event."""
        after = change.after
        return {
            "account": change.account,
            "product_code": self._product.code,
            "nature": change.nature,
            "total": after.total,
            "available": after.available,
            "pledged": after.pledged,
            "frozen": after.frozen,
            "pledged_and_frozen": after.overlap,
            "confirmed": after.confirmed,
            "restricted_until": after.restricted_until,
            "time": self._operation.time,
        }


def _pieces(changed: Iterable[Encumbrance]) -> Iterator[list[Json]]:
    """Give the records in the order of their first change, in lists that an event holds."""
    piece: list[Json] = []
    size = 0
    for record in changed:
        written = records.encumbrance_to_json(record)
        added = len(canonical_json(written))
        if piece and size + added > ENCUMBRANCES_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(written)
        size += added
    if piece:
        yield piece
