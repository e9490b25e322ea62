"""A chain in memory with documents: people with real keys, areas of each tier, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from guqiao_sdk import register_keys
from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.sealed_form import SealContext, Sealed, parse_sealed
from guqiao_sdk.sealing import open_sealed, seal
from services.consensus.domain.contracts.documents import DocumentsContract
from services.consensus.domain.contracts.host import Party, Refusal
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    KeyRecord,
    identity_key,
)
from services.consensus.domain.contracts.register.records import EMPTY_HOLDING
from services.consensus.domain.contracts.replica_sets import first_records
from tests.unit.contracts.memory_host import MemoryHost, Outcome

CHAIN = "shandong"
OWNER = "did:rem:shandong:owner"
OTHER = "did:rem:shandong:other"
ENTITIES = ("owner", "bank", "notary", "centre")
DAY_MS = 86_400_000


def party(name: str, organisation: str, *roles: str) -> Party:
    return Party(f"{organisation}.{name}", "k1", organisation, frozenset(roles))


ADMIN = party("admin", OWNER, "market_admin")
MAKER = party("maker", OWNER, "operator_maker")
CHECKER = party("checker", OWNER, "operator_checker")
OTHER_MAKER = party("maker", OTHER, "operator_maker")
OTHER_CHECKER = party("checker", OTHER, "operator_checker")
ANNE, BO, EVE = (party(name, OTHER, "observer") for name in ("anne", "bo", "eve"))
GOVERNORS = {
    entity: party("governor", f"did:rem:shandong:{entity}", "governor") for entity in ENTITIES
}
DESCRIPTION: dict[str, Any] = {
    "digest": "ab" * 32, "size": 1_234, "owner": OWNER, "reference": "5a" * 16,
}  # fmt: skip


@cache
def provider() -> GmProvider:
    return open_provider()


def key_of(did: str, key_id: str = "k1") -> PrivateKey:
    return _key(did, key_id)


@cache
def _key(did: str, key_id: str) -> PrivateKey:
    return provider().keygen()


@dataclass
class DocumentHost(MemoryHost):
    """A memory host that also sees other contracts, as system contracts do."""

    contract: str = "documents"

    def get(self, key: str) -> Json | None:
        return super().get(f"{self.contract}/{key}")

    def put(self, key: str, value: Json) -> None:
        super().put(f"{self.contract}/{key}", value)

    def delete(self, key: str) -> None:
        super().delete(f"{self.contract}/{key}")

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        cut = len(self.contract) + 1
        found = super().scan(f"{self.contract}/{prefix}", limit)
        return [(key[cut:], value) for key, value in found]

    def entries(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        return self.scan(prefix, limit)

    def read(self, contract: str, key: str) -> Json | None:
        return super().get(f"{contract}/{key}")

    def within(self, contract: str, call: Callable[[], None]) -> None:
        before, self.contract = self.contract, contract
        try:
            call()
        finally:
            self.contract = before

    def attempt(self, call: Callable[[], None]) -> Refusal | None:
        raise AssertionError("documents attempt nothing")

    def verify_signature(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return provider().verify(public_key, message, signature)


@dataclass
class DocumentMarket:
    """What people do, each in a transaction of its own."""

    host: DocumentHost = field(default_factory=DocumentHost)

    def __post_init__(self) -> None:
        self._keep("documents/parameters", {"chain_id": CHAIN})
        members = tuple(
            Member(number, key_of(f"vote-{entity}").public_key, entity, entity)
            for number, entity in enumerate(ENTITIES)
        )
        for key, value in first_records(ReplicaSet(CHAIN, 0, members), 8).items():
            self._keep(f"governance/{key}", value)
        for person in (ANNE, BO, EVE, MAKER):
            self.identify(person)
        for name, tier in (("notices", "PUBLIC"), ("offers", "RESTRICTED"), ("files", "NONPUBLIC")):
            self.accepted(
                (ADMIN, CHECKER), "define_area", area=name, tier=tier, title=f"区域 {name}"
            )

    def _keep(self, key: str, value: Json) -> None:
        self.host.store[key] = canonical_json(value)

    def identify(self, person: Party, *, active: bool = True, **keys: dict[str, Any]) -> None:
        """Register somebody on the chain, with a key `k1` unless others are given."""
        now = self.host.block_ms
        records = {
            key_id: KeyRecord(
                key_of(person.did, key_id).public_key,
                changes.get("not_before_ms", now - DAY_MS),
                changes.get("not_after_ms", now + DAY_MS),
                changes.get("revoked", False),
            )
            for key_id, changes in (keys or {"k1": {}}).items()
        }
        identity = IdentityRecord(person.did, person.organisation, person.roles, active, records)
        self._keep(f"identity/{identity_key(person.did)}", identity.to_json())

    def hold(
        self, product: str, code: str, total: int, suitability: str = "NONE", valid_to: str = ""
    ) -> None:
        """Write an account and what it holds into the register's state."""
        position = {"total": total, "pledged": 0, "frozen": 0, "overlap": 0, "confirmed": True}
        flags = {"restricted_until": None, "fruit_freezes": 0}
        positions: dict[str, Any] = {"ordinary": {**position, **flags}} if total else {}
        self._keep(
            f"register/{register_keys.key('holding', product, code)}",
            {**EMPTY_HOLDING, "positions": positions},
        )
        account: dict[str, Json] = {
            "code": code,
            "investor_ref": "investor",
            "status": "OPEN",
            "suitability": suitability,
            "suitability_valid_to": valid_to or None,
            "counted_holders": 1,
            "object_id": "object",
        }
        self._keep(f"register/{register_keys.key('account', code)}", account)

    def act(self, who: tuple[Party, Party | None], method: str, **body: Any) -> Outcome:
        self.host.party, self.host.second_party = who
        self.host.block_height += 1
        return self.host.run(DocumentsContract(), method, body)

    def accepted(self, who: tuple[Party, Party | None], method: str, **body: Any) -> Outcome:
        outcome = self.act(who, method, **body)
        assert outcome.code is None, outcome
        return outcome

    def grant(
        self, area: str, reader: Party, condition: Json = None, purpose: str = "review"
    ) -> None:
        self.accepted(
            (ADMIN, CHECKER), "grant", area=area, reader=reader.did, purpose=purpose,
            condition=condition,
        )  # fmt: skip

    def revoke(self, area: str, reader: Party) -> None:
        self.accepted((ADMIN, CHECKER), "revoke", area=area, reader=reader.did, reason="离职")

    def publish(self, document: str = "report", version: int = 1, **changes: Any) -> Outcome:
        body: dict[str, Any] = {
            "document": document, "version": version, "type": "announcement", "title": "公告",
        }  # fmt: skip
        return self.act((MAKER, CHECKER), "publish", **(body | changes))

    def read(
        self, who: Party, document: str = "report", version: int = 1, purpose: str = "review"
    ) -> dict[str, Any]:
        """The audit record that an attempt leaves."""
        outcome = self.accepted(
            (who, None), "read", document=document, version=version, purpose=purpose
        )
        [(topic, record)] = outcome.events
        assert topic == "documents.read"
        assert isinstance(record, dict)
        return record

    def record(self, key: str) -> Any:
        return self.host.get(key)

    def version(self, document: str = "report", version: int = 1) -> Any:
        return self.record(f"version/{document}/{version:020d}")

    def opened(self, reader: Party, document: str = "report", version: int = 1) -> bytes:
        """What a reader makes of a version as it stands on chain."""
        sealed = parse_sealed(self.version(document, version)["sealed"])
        context = SealContext(CHAIN, "documents", document, version)
        return open_sealed(provider(), reader.did, key_of(reader.did), sealed, context)


def sealed_for(
    *readers: Party, document: str = "report", version: int = 1, text: bytes = b"secret"
) -> Sealed:
    keys = {reader.did: key_of(reader.did).public_key for reader in readers}
    return seal(provider(), text, keys, SealContext(CHAIN, "documents", document, version))
