"""What the light client keeps of a remote chain, under the chain's id in each key.

client/<chain>                 status, set, latest header; of a trust that replaced a frozen one
                               its `generation` (none: the first) and the height it begins at
state/<chain>/<height>         what a certified header says, for proofs
certified/<chain>/<height>     that header with its certificate, from version 3 on: evidence
set/<chain>/<epoch>            the set of each epoch; the generation stands before a later one's
end/<chain>/<epoch>            the last height of an epoch that is over; the same
fork/…, misbehaviour/…         evidence of forks, see `light_client_freezing`
named/<chain>/<key>            who signed two histories
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import TrustedChain
from guqiao_sdk.proof.misbehaviour import CertifiedHeader
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import RestartAuthorities
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client_registration import find_trust

ACTIVE: Final = "ACTIVE"
FROZEN: Final = "FROZEN"
_LASTING: Final = ("generation", "base_height")
"""Members of a record that headers do not move."""


@dataclass(frozen=True, slots=True)
class ConsensusState:
    """What a certified header of a remote chain says, for proofs against it."""

    header_hash: bytes
    state_root: bytes
    receipts_root: bytes
    transactions_root: bytes
    block_time_ms: int

    @staticmethod
    def from_json(state: Mapping[str, Json]) -> ConsensusState:
        """Of what is kept under `state_key`."""
        return ConsensusState(
            header_hash=to_bytes(state["header_hash"]),
            state_root=to_bytes(state["state_root"]),
            receipts_root=to_bytes(state["receipts_root"]),
            transactions_root=to_bytes(state["transactions_root"]),
            block_time_ms=to_int(state["block_time_ms"]),
        )


def record_of(
    trusted: TrustedChain, *, states: int, before: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """The record of a client that is not frozen; what lasts is that of the record `before`."""
    header = trusted.header
    further = {name: before[name] for name in _LASTING if before is not None and name in before}
    if trusted.restarted_at is not None:
        further["restarted_at"] = trusted.restarted_at
    return {
        **further,
        "status": ACTIVE,
        "genesis_hash": trusted.genesis_hash.hex(),
        "epoch": trusted.replica_set.epoch,
        "replica_set": trusted.replica_set.encode().hex(),
        "height": trusted.height,
        "header": None if header is None else header.encode().hex(),
        "block_time_ms": trusted.block_time_ms,
        "states": states,
    }


def trusted_of(
    host: Host, record: Mapping[str, Json], authorities: RestartAuthorities | None
) -> TrustedChain:
    """What a record says is believed of the chain."""
    restarted_at = record.get("restarted_at")
    replica_set = ReplicaSet.decode(to_bytes(record["replica_set"]))
    encoded, height = record["header"], to_int(record["height"])
    header = None if encoded is None else BlockHeader.decode(to_bytes(encoded))
    return TrustedChain(
        chain_id=replica_set.chain_id,
        genesis_hash=to_bytes(record["genesis_hash"]),
        replica_set=replica_set,
        height=height,
        header_hash=None if header is None else header.hash(),
        block_time_ms=to_int(record["block_time_ms"]),
        header=header,
        authorities=authorities,
        restarted_at=None if restarted_at is None else to_int(restarted_at),
        certified=certified_at(host, record, replica_set.chain_id, height),
    )


def put_state(host: Host, header: BlockHeader) -> None:
    """Keep what a certified header says."""
    facts: dict[str, Json] = {
        **facts_of(header),
        "state_root": header.state_root.hex(),
        "receipts_root": header.receipts_root.hex(),
        "transactions_root": header.transactions_root.hex(),
        "recorded_height": host.height(),
    }
    host.put(state_key(header.chain_id, header.height), facts)


def facts_of(header: BlockHeader) -> dict[str, Json]:
    """What events say of a header beside its chain and height."""
    return {
        "header_hash": header.hash().hex(),
        "block_time_ms": header.block_time_ms,
        "epoch": header.epoch,
    }


def put_certified(host: Host, header: BlockHeader, certificate: FinalityCertificate) -> None:
    """Keep a header with its certificate: who signed it is asked should another one come."""
    host.put(certified_key(header.chain_id, header.height), certified_json(header, certificate))


def certified_json(header: BlockHeader, certificate: FinalityCertificate) -> dict[str, Json]:
    """Both as bodies and evidence name them."""
    return {"header": header.encode().hex(), "certificate": certificate.encode().hex()}


def certified_at(
    host: Host, record: Mapping[str, Json], chain: str, height: int
) -> CertifiedHeader | None:
    """The header taken at a height with what certified it; None where that is not kept."""
    kept = host.get(certified_key(chain, height))
    if not isinstance(kept, dict):
        return None
    header = BlockHeader.decode(to_bytes(kept["header"]))
    certificate = FinalityCertificate.decode(to_bytes(kept["certificate"]))
    signing = host.get(set_key(record, chain, header.epoch))
    return CertifiedHeader(header, certificate, ReplicaSet.decode(to_bytes(signing)))


def authorities_of(host: Host, chain: str) -> RestartAuthorities | None:
    """Who may approve a restart of the chain: as genesis or the registration names them."""
    named = (find_trust(host, chain) or {}).get("restart_authorities")
    return None if named is None else RestartAuthorities.from_json(named)


def set_that_signs(
    host: Host, record: Mapping[str, Json], chain: str, header: BlockHeader
) -> ReplicaSet:
    """The set whose signatures count for a header; what a set signs above the end of its epoch
    shows nothing, so that old keys cannot freeze a client. Of a trust that replaced a frozen one,
    nothing below its beginning counts, and no set that was followed before.
    """
    piece = f"header of {chain} height {header.height}"
    if header.height < to_int(record.get("base_height", 0)):
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail="trust was replaced above it")
    replica_set = host.get(set_key(record, chain, header.epoch))
    if not isinstance(replica_set, str):
        detail = f"epoch {header.epoch} was never trusted here"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    end = host.get(end_key(record, chain, header.epoch))
    if end is not None and header.height > to_int(end):
        detail = f"epoch {header.epoch} ended below it"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    return ReplicaSet.decode(to_bytes(replica_set))


def state_key(chain: str, height: int) -> str:
    """Where a consensus state is kept."""
    return f"state/{chain}/{height:020d}"


def certified_key(chain: str, height: int) -> str:
    """Where the header of that state is kept with its certificate."""
    return f"certified/{chain}/{height:020d}"


def set_key(record: Mapping[str, Json], chain: str, epoch: int) -> str:
    """Where the set of an epoch is kept, in the generation of the record."""
    return f"set/{chain}/{_generation(record)}{epoch:020d}"


def end_key(record: Mapping[str, Json], chain: str, epoch: int) -> str:
    """Where the last height of an epoch is kept, once it is over; the same."""
    return f"end/{chain}/{_generation(record)}{epoch:020d}"


def _generation(record: Mapping[str, Json]) -> str:
    return f"{record['generation']}/" if "generation" in record else ""


def to_bytes(value: Json) -> bytes:
    """Of hexadecimal digits that the contract wrote."""
    assert isinstance(value, str)
    return bytes.fromhex(value)


def to_int(value: Json) -> int:
    """An integer that the contract wrote."""
    assert type(value) is int
    return value
