"""Papers of the register, which come from a market and are read far from it."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any, Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.register_papers.certificate import Certificate
from guqiao_sdk.register_papers.institution import Seal, Signer
from guqiao_sdk.register_papers.manifest import Manifest
from guqiao_sdk.register_papers.proofs import Place
from guqiao_sdk.register_papers.proven import (
    FREEZE,
    PLEDGE,
    Listing,
    ProvenRegister,
    encumbrance_key,
    holding_key,
    identity_key,
    product_key,
    queue_key,
)
from guqiao_sdk.register_papers.tables import (
    ENCUMBRANCES,
    HISTORY,
    HOLDERS,
    RECONCILIATION,
    Table,
)
from guqiao_sdk.register_papers.verification_code import code_of, read_code
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import any_signature

_SIGNER: Final = Signer("did:rem:shandong:x", "key-1", b"\x04" * 65)
_POSITION: Final[dict[str, Json]] = {
    "total": 10,
    "pledged": 3,
    "frozen": 10,
    "overlap": 3,
    "confirmed": True,
    "restricted_until": "2026-01-01",
}
_BOUND: Final[dict[str, Json]] = {
    "account": "Q1",
    "product_code": "P",
    "nature": "51",
    "registered": 10,
}
_RECORDS: Final[dict[str, dict[str, Json]]] = {
    product_key("P"): {"registered_total": 10, "holder_count": 1},
    holding_key("P", "Q1"): {"positions": {"51": _POSITION}},
    encumbrance_key(PLEDGE, "1"): {
        **_BOUND, "number": "1", "outstanding": 3, "pledgee_uscc": "91370199MA9900001C",
    },
    encumbrance_key(FREEZE, "2"): {
        **_BOUND, "number": "2", "effective": 10, "waiting": 0, "category": "aml", "fruits": True,
        "court_doc_no": "", "term_end": "2026-08-31",
    },
}  # fmt: skip
_IDENTITY: Final[dict[str, Json]] = {
    "did": _SIGNER.did,
    "active": True,
    "roles": ["registration_institution"],
    "keys": {
        "key-1": {
            "public_key": _SIGNER.public_key.hex(),
            "not_before_ms": 0,
            "not_after_ms": 9,
            "revoked": False,
        }
    },
}
_LISTING: Final = Listing(
    "P", frozenset(["Q1"]), frozenset([(PLEDGE, "1"), (FREEZE, "2")]), frozenset([("Q1", "51")])
)


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    manifest = Manifest.build(
        chain_id="shandong",
        height=7,
        block_time_ms=1_756_000_000_000,
        product="P",
        files={"holders.csv": b"", "proof-0001.gqx": b"1"},
        seal=Seal(_SIGNER, lambda message: bytes(64)),
    )
    return (
        Target(
            "export manifest", Manifest.decode, (ProofError,),
            [manifest.encode()], mutations.of_json, lambda value: value.encode(),
        ),
        Target(
            "holding certificate", Certificate.decode, (ProofError,),
            [_certificate().encode()], mutations.of_json, lambda value: value.encode(),
        ),
        Target(
            "verification code", _typed, (ValueError,),
            [code_of(b"\x5a" * 8).encode()], mutations.of_bytes,
        ),
        *(
            Target(
                table.name, table.read, (ProofError,), [table.write(_rows(table))],
                mutations.of_bytes, table.write,
            )
            for table in (HOLDERS, ENCUMBRANCES, HISTORY, RECONCILIATION)
        ),
        *(
            Target(
                f"proven {name}", partial(_register, name), (ProofError,),
                [canonical_json(record)], mutations.of_json,
            )
            for name, record in _RECORDS.items()
        ),
        Target(
            "proven institution", _institution, (ProofError,),
            [canonical_json(_IDENTITY)], mutations.of_json,
        ),
    )  # fmt: skip


def _typed(data: bytes) -> str:
    """A code as somebody typed it: one who mistyped is told so, which here is an error."""
    code = read_code(data.decode("latin-1"))
    if code is None:
        raise ValueError("mistyped")
    return code


def _certificate() -> Certificate:
    facts = {key.encode(): canonical_json(record) for key, record in _RECORDS.items()}
    facts[queue_key("P", ("Q1", "51")).encode()] = b"[]"
    register = ProvenRegister.read(facts, _LISTING)
    return Certificate(
        Place("shandong", 7, 1_756_000_000_000), "P", "Q1", register.holders,
        register.encumbrances, _SIGNER, bytes(64), (b"1", b"23"),
    )  # fmt: skip


def _rows(table: Table[Any]) -> list[Any]:
    """Two rows in which every text asks for quotes or the guard."""
    values = {"str": ('=a,"b"', "'c\n"), "int": (0, 1 << 50), "bool": (True, False)}
    kinds = [str(each.type) for each in fields(table.kind)]
    return [table.kind(*(values[kind][row] for kind in kinds)) for row in (0, 1)]


def _register(name: str, data: bytes) -> ProvenRegister:
    facts = {key.encode(): canonical_json(record) for key, record in _RECORDS.items()}
    facts[queue_key("P", ("Q1", "51")).encode()] = b"[]"
    return ProvenRegister.read({**facts, name.encode(): data}, _LISTING)


def _institution(data: bytes) -> bytes:
    facts = {identity_key(_SIGNER.did).encode(): data}
    _SIGNER.check(facts, 5, b"", bytes(64), any_signature)
    return data
