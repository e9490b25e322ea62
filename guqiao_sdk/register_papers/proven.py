"""The register of a product as a proven state holds it: read from facts, checked to be whole.

That no holder is left out follows from the sum: every position is positive, and all of them are the
product's registered total. That no pledge or effective freeze is left out follows in the same way
from what each position says; that no waiting one is, from its queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import VALUE_BYTES_MAX
from guqiao_sdk.proof.json_values import DEPTH_BOUND, parse_json_strict
from guqiao_sdk.register_keys import key
from guqiao_sdk.register_papers.tables import Control, Encumbrance, Holding

PLEDGE: Final = "pledge"
FREEZE: Final = "freeze"
Facts = Mapping[bytes, bytes | None]
"""Under each key of the state a value, or None where nothing stands."""

_Read = TypeVar("_Read")
_Place = tuple[str, str]
"""Account and share nature."""


def product_key(product: str) -> str:
    """Where the register keeps a product with its totals."""
    return "register/" + key("product", product)


def holding_key(product: str, account: str) -> str:
    """Where the register keeps what an account holds of a product, in all natures."""
    return "register/" + key("holding", product, account)


def queue_key(product: str, place: _Place) -> str:
    """Where the register keeps which freezes wait for shares of a position, first come first."""
    account, nature = place
    return "register/" + key("waiting", account, product, nature)


def encumbrance_key(kind: str, number: str) -> str:
    """Where the register keeps a pledge or a freeze."""
    return "register/" + key(kind, number)


def identity_key(did: str) -> str:
    """Where the chain keeps the keys and roles of an identity."""
    return f"identity/did/{did}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be proven of a product: whose holdings, and which pledges and freezes, each as
    (kind, number). `queues` are positions for which freezes wait or may wait.
    """

    product: str
    accounts: frozenset[str]
    encumbrances: frozenset[tuple[str, str]]
    queues: frozenset[_Place]

    @staticmethod
    def of(
        product: str, holders: Iterable[Holding], encumbrances: Iterable[Encumbrance]
    ) -> Listing:
        """Of rows as they are claimed. A freeze waits only where every share is frozen."""
        held, bound = [*holders], [*encumbrances]
        full = {(row.account, row.nature) for row in held if row.frozen == row.total}
        waiting = {(row.account, row.nature) for row in bound if row.waiting}
        return Listing(
            product,
            frozenset(row.account for row in held),
            frozenset((row.kind, row.number) for row in bound),
            frozenset(full | waiting),
        )

    def keys(self) -> tuple[str, ...]:
        """The keys of the state that prove it."""
        return (
            product_key(self.product),
            *(holding_key(self.product, account) for account in self.accounts),
            *(queue_key(self.product, place) for place in self.queues),
            *(encumbrance_key(kind, number) for kind, number in self.encumbrances),
        )


@dataclass(frozen=True, slots=True)
class ProvenRegister:
    """The holdings and encumbrances of a listing as the state has them. `registered_total` is in
    shares, `counted_holders` looks through partnerships.
    """

    product: str
    registered_total: int
    counted_holders: int
    holders: tuple[Holding, ...]
    encumbrances: tuple[Encumbrance, ...]
    queues: Mapping[_Place, Sequence[str]]

    @staticmethod
    def read(facts: Facts, listing: Listing) -> ProvenRegister:
        """Raises `ProofError` where a fact is missing or is not what the register keeps."""
        product = listing.product
        totals = read_fact(facts, product_key(product), _totals_of)
        if totals is None:
            raise ProofError(f"state of {product_key(product)}", "the product is not registered")
        holders = [
            row
            for account in sorted(listing.accounts)
            for row in holdings_of(facts, product, account)
        ]
        queues = {
            place: read_fact(facts, queue_key(product, place), _queue) or ()
            for place in sorted(listing.queues)
        }
        bound = [
            _encumbrance(facts, product, kind, number, queues)
            for kind, number in sorted(listing.encumbrances)
        ]
        return ProvenRegister(product, *totals, tuple(holders), tuple(bound), queues)

    def check_whole(self) -> None:
        """Raise `ProofError` unless these are all the holders, and all that binds their shares."""
        counted = sum(row.total for row in self.holders)
        if counted != self.registered_total:
            raise ProofError(
                "completeness of the holders",
                f"they hold {counted} shares, {self.registered_total} are registered",
            )
        self.check_encumbrances()

    def check_encumbrances(self) -> None:
        """Raise `ProofError` unless the pledges and freezes of these holders are all there."""
        bound: Counter[tuple[str, str, str]] = Counter()
        for each in self.encumbrances:
            bound[each.kind, each.account, each.nature] += each.effective
        for row in self.holders:
            for kind, shares in ((PLEDGE, row.pledged), (FREEZE, row.frozen)):
                counted = bound[kind, row.account, row.nature]
                if counted != shares:
                    raise _incomplete(
                        f"those listed bind {counted} shares of {row.account} in {row.nature} by "
                        f"{kind}, its position says {shares}"
                    )
        listed = {row.number for row in self.encumbrances if row.waiting}
        queued = {number for numbers in self.queues.values() for number in numbers}
        if listed != queued:
            raise _incomplete("the freezes that wait are not those of the queues")


def holdings_of(facts: Facts, product: str, account: str) -> list[Holding]:
    """What an account holds of a product, by nature. Raises `ProofError`."""
    name = holding_key(product, account)
    return read_fact(facts, name, _holdings(product, account)) or []


def controls(register: ProvenRegister, changes: int) -> tuple[Control, ...]:
    """The control totals: counts, and sums of shares by nature. `changes` is the number of rows of
    the history.
    """
    whole = {
        "registered_total": register.registered_total,
        "counted_holders": register.counted_holders,
        "holders": len({row.account for row in register.holders}),
        "positions": len(register.holders),
        "pledges": sum(row.kind == PLEDGE for row in register.encumbrances),
        "freezes": sum(row.kind == FREEZE for row in register.encumbrances),
        "waiting": sum(row.waiting for row in register.encumbrances),
        "changes": changes,
    }
    rows = [Control(name, "", value) for name, value in whole.items()]
    for nature in sorted({row.nature for row in register.holders}):
        held = [row for row in register.holders if row.nature == nature]
        sums = {
            "shares": sum(row.total for row in held),
            "available": sum(row.available for row in held),
            "pledged": sum(row.pledged for row in held),
            "frozen": sum(row.frozen for row in held),
            "pledged_and_frozen": sum(row.pledged_and_frozen for row in held),
            "unconfirmed": sum(row.total for row in held if not row.confirmed),
        }
        rows += [Control(name, nature, value) for name, value in sums.items()]
    return tuple(rows)


def _incomplete(detail: str) -> ProofError:
    return ProofError("completeness of the encumbrances", detail)


def read_fact(facts: Facts, name: str, convert: Callable[[Any], _Read]) -> _Read | None:
    """What stands under a key, None where nothing does; raises `ProofError`."""
    piece = f"state of {name}"
    try:
        value = facts[name.encode()]
    except KeyError:
        raise ProofError(piece, "it is not among the proofs") from None
    if value is None:
        return None
    try:
        return convert(parse_json_strict(value, depth_max=DEPTH_BOUND, size_max=VALUE_BYTES_MAX))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ProofError(piece, "it is not what the register keeps") from None


def _totals_of(product: Any) -> tuple[int, int]:
    return int(product["registered_total"]), int(product["holder_count"])


def _queue(numbers: Any) -> Sequence[str]:
    return tuple(str(number) for number in numbers)


def _holdings(product: str, account: str) -> Callable[[Any], list[Holding]]:
    return lambda value: [
        Holding(
            account=account,
            product_code=product,
            nature=nature,
            total=position["total"],
            available=position["total"]
            - position["pledged"]
            - position["frozen"]
            + position["overlap"],
            pledged=position["pledged"],
            frozen=position["frozen"],
            pledged_and_frozen=position["overlap"],
            confirmed=position["confirmed"],
            restricted_until=position["restricted_until"] or "",
        )
        for nature, position in sorted(value["positions"].items())
    ]


def _encumbrance(
    facts: Facts, product: str, kind: str, number: str, queues: Mapping[_Place, Sequence[str]]
) -> Encumbrance:
    name = encumbrance_key(kind, number)
    convert = {PLEDGE: _pledge, FREEZE: _freeze(queues)}.get(kind)
    found = None if convert is None else read_fact(facts, name, convert)
    if found is None or found.product_code != product or not found.effective + found.waiting:
        raise ProofError(f"state of {name}", "nothing is outstanding of it in this product")
    return found


def _pledge(record: Any) -> Encumbrance:
    return Encumbrance(
        kind=PLEDGE,
        **_common(record),
        effective=int(record["outstanding"]),
        waiting=0,
        queue_place=0,
        pledgee_uscc=record["pledgee_uscc"],
        category="",
        fruits=False,
        court_doc_no="",
        term_end="",
    )


def _freeze(queues: Mapping[_Place, Sequence[str]]) -> Callable[[Any], Encumbrance]:
    def convert(record: Any) -> Encumbrance:
        queue = queues.get((record["account"], record["nature"]), ())
        number, waits = record["number"], record["waiting"] > 0
        return Encumbrance(
            kind=FREEZE,
            **_common(record),
            effective=int(record["effective"]),
            waiting=int(record["waiting"]),
            queue_place=queue.index(number) + 1 if waits else 0,
            pledgee_uscc="",
            category=record["category"],
            fruits=record["fruits"],
            court_doc_no=record["court_doc_no"],
            term_end=record["term_end"],
        )

    return convert


def _common(record: Any) -> dict[str, Any]:
    names = ("number", "account", "product_code", "nature", "registered")
    return {name: record[name] for name in names}
