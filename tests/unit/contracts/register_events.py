"""What the events of the register's receipts tell of encumbrances and dividends, read in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guqiao_sdk.proof.json_values import Json
from tests.unit.contracts.memory_host import MemoryHost, Outcome
from tests.unit.contracts.register_market import as_csv

Record = dict[str, Any]
Name = tuple[str, str]
"""Kind and number."""

ENCUMBRANCE_HEADER = "number,kind,account,product_code,nature,registered,effective,waiting,status"
DIVIDEND_HEADER = "dividend_no,product_code,account,nature,shares,amount_fen,status"


def announced(events: Iterable[tuple[str, Json]]) -> list[tuple[Name, Record]]:
    """Return every encumbrance that events announce."""
    bodies: list[Any] = [body for topic, body in events if topic == "register.encumbrances_changed"]
    found = [dict(record) for body in bodies for record in body["encumbrances"]]
    return [((record.pop("kind"), record["number"]), record) for record in found]


def replayed(outcomes: Iterable[Outcome]) -> dict[Name, Record]:
    """Return the last record of each encumbrance."""
    found: dict[Name, Record] = {}
    for outcome in outcomes:
        found.update(announced(outcome.events))
    return found


def recorded(host: MemoryHost) -> dict[Name, Record]:
    """Return each encumbrance as the state holds it."""
    found: dict[Name, Record] = {}
    for kind in ("freeze", "pledge"):
        for _, value in host.scan(f"{kind}/", 1_000_000):
            record: Any = value
            found[(kind, record["number"])] = record
    return found


def encumbrances_csv(encumbrances: dict[Name, Record]) -> bytes:
    """Return expected/encumbrances.csv."""
    rows: list[list[object]] = []
    for (kind, number), record in sorted(encumbrances.items()):
        effective = record["effective"] if kind == "freeze" else record["outstanding"]
        waiting = record.get("waiting", 0)
        status = "EFFECTIVE" if effective else "WAITING" if waiting else "ENDED"
        place = [record["account"], record["product_code"], record["nature"]]
        rows.append([number, kind, *place, record["registered"], effective, waiting, status])
    return as_csv(ENCUMBRANCE_HEADER, rows)


def dividends_csv(outcomes: Iterable[Outcome]) -> bytes:
    """Return expected/dividends.csv."""
    rows: list[list[object]] = []
    for outcome in outcomes:
        for topic, event in outcome.events:
            if topic == "register.dividend_recorded":
                body: Any = event
                common = [body["dividend_no"], body["product_code"]]
                names = ("account", "nature", "shares", "amount_fen", "status")
                rows += [[*common, *(line[name] for name in names)] for line in body["lines"]]
                rows.append([*common, "", "", "", body["rounding_fen"], "ROUNDING"])
    return as_csv(DIVIDEND_HEADER, rows)
