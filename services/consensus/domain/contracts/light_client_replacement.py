"""A frozen light client gets another trust, put in force by `chains` and by nobody else (ADR 0041).

The new trust is a certified header above the fork, and the set that certified it, without the keys
that signed two histories. Sets that were followed before count no more: nothing that their keys
sign can freeze the client again. The evidence stays, and what was believed from the fork on is
listed as suspect and proves nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, verify_certificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import TrustedChain, check_header
from guqiao_sdk.proof.misbehaviour import CertifiedHeader
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client import (
    CLOCK_AHEAD_MS_MAX,
    CONSENSUS_STATES_MAX,
    unverified,
)
from services.consensus.domain.contracts.light_client_form import read_certified, read_set
from services.consensus.domain.contracts.light_client_freezing import named_key
from services.consensus.domain.contracts.light_client_records import (
    FROZEN,
    certified_key,
    facts_of,
    put_certified,
    put_state,
    record_of,
    set_key,
    to_bytes,
    to_int,
)
from services.consensus.domain.contracts.light_client_registration import LIGHT_CLIENT, client_key
from services.consensus.domain.contracts.packets_host import SystemHost, require_members
from services.consensus.domain.contracts.set_events import warn_of_shares


def read_trust(value: Json, field: str) -> CertifiedHeader:
    """The members `header`, `certificate` and `replica_set`; nothing of it is judged."""
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field=field, fault="not an object")
    require_members(value, f"{field}.", "header certificate replica_set")
    header, certificate = read_certified(value, f"{field}.")
    replica_set = read_set(value["replica_set"], f"{field}.replica_set")
    return CertifiedHeader(header, certificate, replica_set)


def frozen_client(host: SystemHost, chain: str) -> Mapping[str, Json]:
    """The record of a client that froze and whose evidence names who is at fault, for another
    contract; refuses every other one.
    """
    record = host.read(LIGHT_CLIENT, client_key(chain))
    if not isinstance(record, dict) or record["status"] != FROZEN:
        raise Refusal("CLIENT_NOT_FROZEN", chain=chain)
    if not record.get("evidence"):
        raise Refusal("CLIENT_EVIDENCE_MISSING", chain=chain)
    return record


def generation_of(record: Mapping[str, Json]) -> int:
    """How often the trust of a client was replaced."""
    return to_int(record.get("generation", 0))


def require_trustworthy(
    host: SystemHost, record: Mapping[str, Json], chain: str, trust: CertifiedHeader
) -> None:
    """Within the light client: refuse a trust that a frozen client may not begin with anew."""
    header, replica_set = trust.header, trust.replica_set
    fork = to_int(record["fork_height"])
    if header.height <= fork:
        raise Refusal("CLIENT_TRUST_TOO_LOW", chain=chain, height=header.height, fork=fork)
    _refuse_named(host, chain, replica_set)
    try:
        replica_set.check()
        _check_certified(host, chain, trust)
    except ReplicaSetError as error:
        raise Refusal(error.code, chain=chain, detail=error.detail) from error
    except ProofError as error:
        raise unverified(error) from error


def replace_trust(
    host: SystemHost,
    record: Mapping[str, Json],
    trust: CertifiedHeader,
    facts: Mapping[str, Json],
) -> None:
    """Within the light client: begin anew with a trust that was judged. `facts` are announced with
    what is suspect.
    """
    header, replica_set = trust.header, trust.replica_set
    chain, fork = header.chain_id, to_int(record["fork_height"])
    suspect, sound = _take_suspect(host, chain, fork)
    trusted = TrustedChain.from_checkpoint(
        to_bytes(record["genesis_hash"]), replica_set, header.height, header.hash()
    )
    trusted = replace(trusted, header=header, block_time_ms=header.block_time_ms)
    lasting: dict[str, Json] = {
        "generation": generation_of(record) + 1,
        "base_height": header.height,
    }
    after = record_of(trusted, states=sound + 1, before=lasting)
    host.put(client_key(chain), after)
    host.put(set_key(after, chain, replica_set.epoch), replica_set.encode().hex())
    put_state(host, header)
    put_certified(host, header, trust.certificate)
    warn_of_shares(host, LIGHT_CLIENT, replica_set, {"chain": chain, "epoch": replica_set.epoch})
    told: dict[str, Json] = {
        **facts,
        **lasting,
        **facts_of(header),
        "chain": chain,
        "height": header.height,
        "set_hash": replica_set.hash().hex(),
        "fork_height": fork,
        "known_height": record["height"],
        "frozen_height": record.get("frozen_height"),
        "suspect": suspect,
    }
    host.emit("light_client.replaced", told)


def _refuse_named(host: Host, chain: str, replica_set: ReplicaSet) -> None:
    keys = [member.public_key for member in replica_set.members]
    named: list[Json] = [key.hex() for key in keys if host.get(named_key(chain, key)) is not None]
    if named:
        raise Refusal("CLIENT_KEY_AT_FAULT", chain=chain, keys=named)


def _check_certified(host: SystemHost, chain: str, trust: CertifiedHeader) -> None:
    header: BlockHeader = trust.header
    piece = f"header of {header.chain_id} height {header.height}"
    if header.chain_id != chain:
        raise ProofError(piece, f"it is not of chain {chain}", "HEADER_UNVERIFIED")
    if header.block_time_ms > host.block_time_ms() + CLOCK_AHEAD_MS_MAX:
        raise ProofError(piece, "its block time lies in the future", "HEADER_UNVERIFIED")
    check_header(header)
    verify_certificate(header, trust.certificate, trust.replica_set, host.verify_signature)


def _take_suspect(host: Host, chain: str, fork: int) -> tuple[list[Json], int]:
    """What was believed from the fork on, which proves nothing from now on; and how many states
    below it stay.
    """
    prefix = f"state/{chain}/"
    suspect: list[Json] = []
    states = host.scan(prefix, CONSENSUS_STATES_MAX)
    for key, state in states:
        height = int(key.removeprefix(prefix))
        if height < fork:
            continue
        assert isinstance(state, dict), "the contract wrote it"
        members = ("header_hash", "recorded_height")
        suspect.append({"height": height, **{name: state[name] for name in members}})
        host.delete(key)
        host.delete(certified_key(chain, height))
    return suspect, len(states) - len(suspect)
