"""The history of a product's register, told by the chain's own blocks and nothing else (N0-19).

Blocks are applied in order from the first; what remains is every state that a holding ever had, and
the register as at the last block, of which an earlier one may be asked for in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.transaction import parse_payload
from guqiao_sdk.register_papers.proven import PLEDGE, Listing
from guqiao_sdk.register_papers.tables import Change

_POSITION_CHANGED: Final = "register.position_changed"
_ENCUMBRANCES_CHANGED: Final = "register.encumbrances_changed"


@dataclass(slots=True)
class History:
    """What happened to the holdings of one product."""

    product: str
    changes: list[Change] = field(default_factory=list)
    _last: dict[tuple[str, str], Change] = field(default_factory=dict)
    _outstanding: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def apply(self, block: VerifiedBlock) -> None:
        """Take the next block."""
        pairs = zip(block.transactions, block.receipts, strict=True)
        for index, (transaction, receipt) in enumerate(pairs):
            for event in receipt.events:
                if event.topic == _POSITION_CHANGED:
                    body = json.loads(event.body)
                    if body["product_code"] == self.product:
                        method = parse_payload(transaction.payload).method
                        place = (block.height, index, receipt.transaction_id.hex(), method)
                        self._take(_change(place, body))
                elif event.topic == _ENCUMBRANCES_CHANGED:
                    for record in json.loads(event.body)["encumbrances"]:
                        self._bind(record)

    def listing(self) -> Listing:
        """What stands after the last block."""
        held = {place: each for place, each in self._last.items() if each.total}
        full = {place for place, each in held.items() if each.frozen == each.total}
        waiting = {
            (record["account"], record["nature"])
            for record in self._outstanding.values()
            if record.get("waiting")
        }
        return Listing(
            self.product,
            frozenset(account for account, _ in held),
            frozenset(self._outstanding),
            frozenset(full | waiting),
        )

    def _take(self, change: Change) -> None:
        self.changes.append(change)
        self._last[change.account, change.nature] = change

    def _bind(self, record: dict[str, Any]) -> None:
        if record["product_code"] != self.product:
            return
        name = (record["kind"], record["number"])
        if _shares(record):
            self._outstanding[name] = record
        else:
            self._outstanding.pop(name, None)


def _shares(record: Mapping[str, Any]) -> int:
    """What is outstanding of a pledge or freeze."""
    if record["kind"] == PLEDGE:
        return int(record["outstanding"])
    return int(record["effective"] + record["waiting"])


def _change(place: tuple[int, int, str, str], body: Mapping[str, Any]) -> Change:
    height, index, transaction, method = place
    return Change(
        height=height,
        index=index,
        transaction=transaction,
        method=method,
        time=body["time"],
        account=body["account"],
        nature=body["nature"],
        total=body["total"],
        available=body["available"],
        pledged=body["pledged"],
        frozen=body["frozen"],
        pledged_and_frozen=body["pledged_and_frozen"],
        confirmed=body["confirmed"],
        restricted_until=body["restricted_until"] or "",
    )
