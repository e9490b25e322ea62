"""The objects of the regulatory chain in memory, given what `packets` version 5 proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets import JUDGED_PORT, dispatch
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.xchain.ledger_chain import data_object

TRANSACTION: Final = "ab" * 32
OBJECT_ID: Final = f"shandong:subject:{TRANSACTION}"
MARK: Final[dict[str, Json]] = {
    "chain_id": "shandong",
    "node": "every-replica",
    "org_did": "did:rem:shandong:91370000MA0000000X",
    "system": "register/4",
}
HEIGHT: Final = 9


def seal(name: str) -> dict[str, Json]:
    return {
        "pub_key": {"type": "SM2", "value": f"04{name}"},
        "digest_algo": "SM3",
        "signature": "00",
    }


def reported(
    operation: str = "create",
    version: int = 0,
    body: Json = None,
    *,
    object_id: str = OBJECT_ID,
    metadata: dict[str, Json] | None = None,
) -> dict[str, Any]:
    """A well-formed object with the mark of its source and the seals of two persons."""
    value: dict[str, Any] = data_object(object_id, version=version, operation=operation)
    if body is not None:
        value["body"] = body
    value["header"] |= {"source": MARK, "seal": [seal("aa"), seal("bb")]}
    value["header"]["metadata"] = metadata or {}
    return value


@dataclass
class Regulator(MemoryHost):
    """Follows `shandong`; `others` is what other contracts keep."""

    others: dict[tuple[str, str], Json] = field(default_factory=dict)
    sequence: int = 0

    def __post_init__(self) -> None:
        state = {name: "00" * 32 for name in ("header_hash", "state_root", "receipts_root")}
        known: dict[str, Json] = {**state, "transactions_root": "00" * 32, "block_time_ms": 1}
        client: dict[str, Json] = {"height": HEIGHT, "status": "ACTIVE"}
        self.others |= {
            ("light_client", "client/shandong"): client,
            ("light_client", f"state/shandong/{HEIGHT:020d}"): known,
        }

    def read(self, contract: str, key: str) -> Json | None:
        return self.others.get((contract, key))

    def verify_signature(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        raise AssertionError("certificates are judged elsewhere")

    def attempt(self, call: Callable[[], None]) -> Refusal | None:
        before, events = dict(self.store), len(self.events)
        try:
            call()
        except Refusal as refusal:
            self.store = before
            del self.events[events:]
            return refusal
        return None

    def within(self, contract: str, call: Callable[[], None]) -> None:
        assert contract == "objects"
        call()

    def take(self, value: Json, *, source: str = "shandong") -> dict[str, Any]:
        """Take the next packet of the market; return its acknowledgement."""
        self.sequence += 1
        packet = Packet(source, "csrc", "data_object", self.sequence, canonical_json(value))
        return dispatch(self, JUDGED_PORT, packet, HEIGHT)

    def code(self, value: Json) -> str:
        return str(self.take(value)["code"])

    def exception(self, sequence: int) -> dict[str, Any]:
        found: Any = self.get(f"exception/shandong/data_object/{sequence:020d}")
        assert found is not None
        return dict(found)

    def latest(self, object_id: str = OBJECT_ID) -> Any:
        return self.get(f"{object_id}/latest")
