"""A regulatory chain in memory on which an operator gives notice of upgrades, and its calendar."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.working_days import published
from services.consensus.domain.contracts.host import Party, Refusal
from services.consensus.domain.contracts.notice.interface import read_interface
from services.consensus.domain.contracts.notice.standing import DOCUMENTS, Kind
from services.consensus.domain.contracts.notices import NoticesContract
from tests.unit.contracts.memory_host import MemoryHost, Outcome

CHAIN: Final = "shandong"
OWNER: Final = "did:rem:shandong:operator"


def party(name: str, organisation: str, *roles: str) -> Party:
    return Party(f"{organisation}.{name}", "k1", organisation, frozenset(roles))


MARKET_SIDE: Final = party("market", "did:rem:csrc:c", "csrc_market")
TECH_SIDE: Final = party("tech", "did:rem:csrc:c", "csrc_tech")
MAKER: Final = party("maker", OWNER, "operator_maker")
CHECKER: Final = party("checker", OWNER, "operator_checker")
OTHERS: Final = (
    party("m", "did:rem:beijing:operator", "operator_maker"),
    party("c", "did:rem:beijing:operator", "operator_checker"),
)
Signers = tuple[Party, Party | None]
CSRC: Final[Signers] = (MARKET_SIDE, TECH_SIDE)
TECH: Final[Signers] = (TECH_SIDE, None)
OPERATOR: Final[Signers] = (MAKER, CHECKER)
WHO: Final[dict[str, Signers]] = {
    **dict.fromkeys(("adopt", "ack", "object", "waive", "review", "close"), CSRC),
    **dict.fromkeys(("open_test", "pass_test", "fail_test", "compare", "verify"), TECH),
    **dict.fromkeys(
        (
            *("file", "refile", "replan", "schedule", "open_window", "cutover", "roll_back"),
            "cancel",
        ),
        OPERATOR,
    ),
}

OLD: Final[dict[str, Any]] = {
    "format": "guqiao-interface/1",
    "model_version": "guqiao-1",
    "parts": {
        "object.subject": {
            "fields": {
                "subject_company_name": {"type": "text", "required": True},
                "subject_layer": {"type": "text", "required": True, "values": ["F", "G"]},
                "subject_document_information[].code": {"type": "text", "required": False},
            }
        },
        "rpc.block": {"fields": {"height": {"type": "integer", "required": True}}},
    },
}


def interface(version: str = "guqiao-2", **fields: Any) -> dict[str, Any]:
    """The interface in force with other fields of a subject; None takes one away."""
    value = copy.deepcopy(OLD) | {"model_version": version}
    known = value["parts"]["object.subject"]["fields"]
    for name, described in fields.items():
        known.pop(name, None)
        if described is not None:
            known[name] = described
    return value


OPTIONAL: Final = {"type": "text", "required": False}
COMPATIBLE: Final = interface(subject_note=OPTIONAL)
BREAKING: Final = interface(subject_layer=None)
NEW: Final = {
    Kind.INTERFACE: COMPATIBLE,
    Kind.INCOMPATIBLE: BREAKING,
    Kind.MIGRATION: BREAKING,
    Kind.SECURITY_HOTFIX: BREAKING,
}
FIGURES: Final[dict[str, Any]] = {"objects": 3, "latest": "1a" * 32, "state": "2b" * 32}


def digest(value: dict[str, Any]) -> str:
    return read_interface(value).digest.hex()


def moment(text: str) -> int:
    """Milliseconds of a time in China, such as 2025-09-15T10:00."""
    return int(datetime.fromisoformat(f"{text}:00+08:00").astimezone(UTC).timestamp() * 1000)


@dataclass
class NoticesHost(MemoryHost):
    """The host as a system contract of the regulatory chain sees it. `elsewhere` is the state of
    the other contracts, by contract and key.
    """

    elsewhere: dict[tuple[str, str], Json] = field(default_factory=dict)
    within_contract: str = ""
    notices_version: int = 1

    def verify_signature(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        raise AssertionError("notices bring no signatures of their own")

    def read(self, contract: str, key: str) -> Json | None:
        return super().get(key) if contract == "notices" else self.elsewhere.get((contract, key))

    def get(self, key: str) -> Json | None:
        if self.within_contract:
            return self.elsewhere.get((self.within_contract, key))
        return super().get(key)

    def attempt(self, call: Callable[[], None]) -> Refusal | None:
        raise AssertionError("notices attempt nothing")

    def within(self, contract: str, call: Callable[[], None]) -> None:
        self.within_contract = contract
        call()
        self.within_contract = ""


def regulator(now: str = "2025-09-15T10:00", *years: int) -> NoticesHost:
    """A chain that follows `CHAIN`, at a time, with the calendars of these years."""
    host = NoticesHost(block_ms=moment(now))
    for year in years or (2025, 2026):
        record: dict[str, Json] = {"version": 1, **published().years[year].to_json()}
        host.elsewhere["calendar", f"year/{year}"] = record
    host.elsewhere["light_client", f"trust/{CHAIN}"] = {"chain_id": CHAIN}
    return host


def at(host: NoticesHost, now: str) -> NoticesHost:
    """The same chain at another time."""
    host.block_ms = moment(now)
    host.block_height += 1
    return host


def act(host: NoticesHost, method: str, *, who: Signers | None = None, **body: Any) -> Outcome:
    host.party, host.second_party = who or WHO[method]
    return host.run(NoticesContract(host.notices_version), method, {"chain": CHAIN, **body})


def must(host: NoticesHost, method: str, **body: Any) -> Outcome:
    outcome = act(host, method, **body)
    assert outcome.code is None, (method, outcome)
    return outcome


def adopted(now: str = "2025-09-15T10:00", *years: int) -> NoticesHost:
    host = regulator(now, *years)
    must(host, "adopt", operator=OWNER, interface=OLD)
    return host


def filing(kind: Kind = Kind.INCOMPATIBLE, **changes: Any) -> dict[str, Any]:
    """What a notice is filed with; planned late enough for each of the tests' times."""
    return {
        "kind": kind.value,
        "old": digest(OLD),
        "interface": NEW[kind],
        "documents": {name: "3c" * 32 for name in DOCUMENTS[kind]},
        "planned": "2025-10-18",
    } | changes


def filed(
    now: str = "2025-09-15T10:00", kind: Kind = Kind.INCOMPATIBLE, **changes: Any
) -> NoticesHost:
    host = adopted(now)
    must(host, "file", **filing(kind, **changes))
    return host


GOOD: Final[dict[str, dict[str, Any]]] = {
    "ack": {"working_days": None},
    "object": {"reason": "回退方案不完整"},
    "replan": {"planned": "2025-10-20"},
    "open_test": {},
    "pass_test": {"report": "4d" * 32},
    "fail_test": {"report": "4d" * 32},
    "schedule": {"planned": "2025-10-18", "old_until": "2025-10-31"},
    "open_window": {"target": None},
    "compare": {"before": FIGURES, "after": FIGURES},
    "waive": {"reason": "漏洞已被利用"},
    "review": {"report": "6f" * 32},
    "cutover": {},
    "roll_back": {"reason": "新格式解析失败"},
    "close": {},
    "cancel": {"reason": "升级取消"},
}
"""A body for each step of a notice, where the time is right."""


def step(host: NoticesHost, method: str, number: int = 1, **changes: Any) -> Outcome:
    return act(host, method, number=number, **(GOOD.get(method, {}) | changes))


def walk(host: NoticesHost, *steps: str, number: int = 1) -> NoticesHost:
    """Steps, all of which are taken."""
    for each in steps:
        outcome = step(host, each, number)
        assert outcome.code is None, (each, outcome)
    return host


TESTED: Final = ("ack", "open_test", "pass_test")


def record(host: NoticesHost, number: int = 1) -> dict[str, Any]:
    found = host.get(f"notice/{CHAIN}/{number:020d}")
    assert isinstance(found, dict)
    return found


def arrive(host: NoticesHost, version: str = "guqiao-2", **changes: Any) -> dict[str, Any]:
    """An object that is recorded now; returns how `verify` names it."""
    value: dict[str, Any] = {
        "source": CHAIN,
        "received_height": host.block_height,
        "object": {"header": {"model": {"version": version}}, "body": {"a": 1}},
    }
    host.elsewhere["objects", "shandong:subject:1/0"] = value | changes
    return {"object_id": "shandong:subject:1", "version": 0}
