"""A template of format 2 with one of each of its parts, and calls of its contract."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.sealed_form import SealContext
from guqiao_sdk.sealing import seal
from services.consensus.domain.contracts.star.execution import Status
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.package import code_of_source
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.tiers import TierMap
from tests.unit.templates.template_market import GAS, Ended, party

SOURCE: Final = Path(__file__).with_name("orders.star")
BUSINESS: Final = ("key", "supervision", "contract")
TITLE: Final[Json] = {"zh": "甲", "en": "a"}


def field(name: str, kind: str, tier: str | None = "PUBLIC", **more: Json) -> dict[str, Json]:
    told: dict[str, Json] = {"name": name, "type": kind, "title": TITLE, **more}
    return told if tier is None else told | {"tier": tier}


def several(form: str, least: int, most: int) -> dict[str, Json]:
    return {"form": form, "least": least, "most": most}


LINE: Final = [
    field("product", "code"),
    field("quantity", "shares", unit="share"),
    field("kind", "enum", values=["ordinary", "preferred"]),
    field("day", "date", optional=True),
    field("tags", "text", many=several("list", 0, 2), optional=True),
]


@cache
def _code() -> Any:
    return code_of_source(SOURCE.read_bytes()).to_json()


def orders() -> dict[str, Any]:
    """The template's canonical JSON, made anew."""
    return {
        "format": "guqiao-template/2",
        "id": "orders",
        "version": 1,
        "class": "SELF",
        "title": TITLE,
        "description": TITLE,
        "orientation": ["supervision"],
        "key": "order_id",
        "roles": [{"name": name, "title": TITLE} for name in ("maker", "registrar")],
        "parameters": [],
        "records": [{"name": "line", "title": TITLE, "fields": [dict(each) for each in LINE]}],
        "arguments": [
            field("note", "name", optional=True),
            field("text", "text"),
        ],
        "groups": _groups(),
        "states": [{"name": "PLACED", "title": TITLE}],
        "transitions": _transitions(),
        "events": _events(),
        "objects": [],
        "views": [],
        "supervision": {"view": "trace", "state": "trace/"},
        "contract": dict(_code()),
    }


def _groups() -> list[Any]:
    return [
        {
            "name": "order",
            "tier": "PUBLIC",
            "state": "order/",
            "title": TITLE,
            "fields": [field("order_id", "code", None)],
        },
        {
            "name": "lines",
            "tier": "PUBLIC",
            "state": "lines/",
            "title": TITLE,
            "fields": [field("lines", "record", None, record="line", many=several("list", 1, 3))],
        },
        {
            "name": "terms",
            "tier": "RESTRICTED",
            "state": "terms/",
            "title": TITLE,
            "fields": [field("terms_sealed", "sealed", None)],
        },
    ]


def _transitions() -> list[Any]:
    return [
        {
            "method": "place",
            "from": [],
            "to": "PLACED",
            "role": "maker",
            "or_role": ["registrar"],
            "event": "order.placed",
            "more_events": ["order.terms"],
            "takes": ["lines", "terms_sealed", "note"],
            "title": TITLE,
        },
        {
            "method": "announce",
            "from": ["PLACED"],
            "to": "PLACED",
            "role": "maker",
            "event": "order.announced",
            "takes": ["text"],
            "title": TITLE,
        },
    ]


def _events() -> list[Any]:
    return [
        {
            "topic": "order.placed",
            "tier": "PUBLIC",
            "title": TITLE,
            "members": ["order_id", "state", "lines"],
        },
        {
            "topic": "order.terms",
            "tier": "RESTRICTED",
            "title": TITLE,
            "members": ["order_id", "state", "terms_sealed"],
        },
        {
            "topic": "order.announced",
            "tier": "PUBLIC",
            "title": TITLE,
            "members": ["order_id", "state", "text"],
        },
    ]


def own_orders() -> dict[str, Any]:
    """The same as a template of a contract of the chain's own, which sends a data object."""
    value = {name: part for name, part in orders().items() if name not in BUSINESS}
    header = {"protocol": "p", "model_version": "m", "operation": "create", "object_version": 0}
    sent = {"type": "order", "title": TITLE, "tier": "PUBLIC", "methods": ["place"]}
    own = {"name": "orders", "version": 1, "form": "ab" * 32}
    return {**value, "own": own, "objects": [{**sent, "header": header, "body": ["order"]}]}


def line(**changes: Any) -> dict[str, Json]:
    """A line of an order; a member that is None stays, and one that is ... is left out."""
    whole: dict[str, Any] = {
        "product": "P1",
        "quantity": 3,
        "kind": "ordinary",
        "day": "2026-02-28",
        "tags": ["a"],
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


@cache
def _sealed() -> Any:
    key = open_provider().keygen().public_key
    place = SealContext("shandong", "orders", "O1", 1)
    return seal(open_provider(), b"price 13800138000", {"did:rem:shandong:a": key}, place).to_json()


def sealed() -> dict[str, Any]:
    """Terms, sealed to one reader."""
    return dict(_sealed())


def tiers() -> TierMap:
    return TierMap.of(read_template(orders()))


def call(method: str, *, gas: int = GAS, role: str = "maker", **arguments: Any) -> Ended:
    """One call of the contract, guarded as on a chain; its state begins empty."""
    around = Surroundings(party("did:rem:shandong:m", role), None, 1, 1, None)
    meter = Meter(gas, GasTable())
    host = MemoryHost({}, around, guard=TierGuard(tiers(), meter))
    program = Program(read_template(orders()).contract.module, GasTable())
    outcome = host.run(program, meter, method, arguments)
    if outcome.status is not Status.OK:
        return Ended(outcome.code or outcome.status.value, dict(outcome.fields), None, [])
    return Ended(None, {}, outcome.result, list(host.events))
