"""The light client of each remote chain, inside the state of this chain.

It starts from the trust that genesis wrote and moves by finality certificates alone, whoever brings
them. Two certified headers that exclude each other freeze the client, which keeps the evidence; no
method thaws it. Only the last `CONSENSUS_STATES_MAX` headers stay provable against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, verify_certificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import (
    Misbehaviour,
    MisbehaviourError,
    SetChange,
    TrustedChain,
    advance,
    judge_misbehaviour,
)
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import RESTART_BYTES_MAX, Restart, RestartAuthorities
from services.consensus.domain.contracts.chain_registry.drift import (
    note_set,
    require_followed,
    require_provable,
)
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client_registration import (
    LIGHT_CLIENT,
    client_key,
    find_trust,
    genesis_set,
    register_chain,
)
from services.consensus.domain.contracts.packets_host import (
    NUMBER_BOUND,
    RELAYER,
    SystemHost,
    hex_bytes,
    require_members,
    require_role,
    rows,
    system_host,
    text,
)
from services.consensus.domain.contracts.set_events import warn_of_shares

NAME: Final = LIGHT_CLIENT
ACTIVE: Final = "ACTIVE"
FROZEN: Final = "FROZEN"

CONSENSUS_STATES_MAX: Final = 1_024
CLOCK_AHEAD_MS_MAX: Final = 600_000
"""How far a remote block time may lie ahead of this chain's (reliability G9)."""

SET_CHANGES_MAX: Final = 8
"""Set changes in one transaction: every replica checks up to a hundred signatures for each."""

_HEADER_BYTES_MAX: Final = 512
_CERTIFICATE_BYTES_MAX: Final = 8_192
_SET_BYTES_MAX: Final = 131_072


@dataclass(frozen=True, slots=True)
class ConsensusState:
    """What a certified header of a remote chain says, for proofs against it."""

    header_hash: bytes
    state_root: bytes
    receipts_root: bytes
    transactions_root: bytes
    block_time_ms: int


@dataclass(frozen=True, slots=True)
class LightClientContract:
    """`light_client`; v2 also follows the restart of a chain that lost its quorum, approved by the
    authorities that genesis or the registration named.
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """`register_chain` for the chain's administrator; `update` and `submit_misbehaviour` for
        relayers, who are trusted with nothing.
        """
        restarts = self.version > 1
        return {
            "register_chain": partial(register_chain, restarts=restarts),
            "update": partial(update, restarts=restarts),
            "submit_misbehaviour": submit_misbehaviour,
        }


def known_height(host: SystemHost, chain: str) -> int:
    """How high this chain knows another one to be; 0 where it knows no header of it yet."""
    record = host.read(NAME, client_key(chain))
    return _int(record["height"]) if isinstance(record, dict) else 0


def consensus_state(host: SystemHost, chain: str, height: int) -> ConsensusState:
    """Return the consensus state of `chain` at `height` for another contract, or refuse.

    A frozen client proves nothing, old states included (reliability G22).
    """
    record = host.read(NAME, client_key(chain))
    if not isinstance(record, dict):
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    _refuse_frozen(chain, record)
    require_provable(host, chain)
    state = host.read(NAME, _state_key(chain, height))
    if not isinstance(state, dict):
        raise Refusal("HEIGHT_UNKNOWN", chain=chain, height=height, latest=record["height"])
    return ConsensusState(
        header_hash=_bytes(state["header_hash"]),
        state_root=_bytes(state["state_root"]),
        receipts_root=_bytes(state["receipts_root"]),
        transactions_root=_bytes(state["transactions_root"]),
        block_time_ms=_int(state["block_time_ms"]),
    )


def certified_header(
    host: SystemHost, chain: str, body: Mapping[str, Json], path: str
) -> BlockHeader:
    """A header that `body` brings as `header` and `certificate`, certified by the set that the
    client of `chain` follows now, for another contract that proves something against it at once;
    the client does not move. Raises `Refusal`.
    """
    found: list[BlockHeader] = []
    host.within(NAME, lambda: found.append(_certified_header(host, chain, body, path)))
    return found[0]


def _certified_header(
    host: SystemHost, chain: str, body: Mapping[str, Json], path: str
) -> BlockHeader:
    record = _client(host, chain)
    _refuse_frozen(chain, record)
    require_provable(host, chain)
    header, certificate = _certified(body, path)
    known = host.get(_state_key(chain, header.height))
    if isinstance(known, dict) and known["header_hash"] != header.hash().hex():
        piece = f"header of {chain} height {header.height}"
        detail = "another header is known at this height"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    replica_set = _trusted(record, None).replica_set
    try:
        verify_certificate(header, certificate, replica_set, host.verify_signature)
    except ProofError as error:
        raise _unverified(error) from error
    return header


def update(host: Host, body: Mapping[str, Json], *, restarts: bool = False) -> None:
    """Move the client of `chain` to a newer header; freeze it where a quorum contradicts itself.
    With `restarts` a restart may stand among the set changes.
    """
    require_role(host, RELAYER)
    require_members(body, "", "chain header certificate set_changes")
    system, chain = system_host(host), text(body["chain"], "chain")
    header, certificate = _certified(body, "")
    set_changes = _set_changes(body["set_changes"], restarts=restarts)
    record = _client(host, chain)
    _refuse_frozen(chain, record)
    trusted = _trusted(record, _authorities(host, chain) if restarts else None)
    if header.chain_id == chain and _is_known(host, trusted, header):
        return
    known = host.get(_state_key(chain, header.height))
    if isinstance(known, dict) and header.chain_id == chain:
        _judge_known_height(system, body, known, header, certificate)
        return
    try:
        after = advance(
            trusted,
            header,
            certificate,
            system.verify_signature,
            set_changes,
            block_time_ms_max=host.block_time_ms() + CLOCK_AHEAD_MS_MAX,
        )
    except MisbehaviourError as error:
        _freeze(host, record, body, error)
        return
    except ProofError as error:
        raise _unverified(error) from error
    require_followed(system, chain, changes_set=bool(set_changes))
    _store(host, record, after, header, set_changes)
    if set_changes:
        note_set(system, after.replica_set)


def submit_misbehaviour(host: Host, body: Mapping[str, Json]) -> None:
    """Freeze the client on two certified headers of one height, and name who signed both.

    A client that is frozen already takes further evidence: names are added, nothing is thawed.
    """
    require_role(host, RELAYER)
    require_members(body, "", "chain first second")
    system, chain = system_host(host), text(body["chain"], "chain")
    record = _client(host, chain)
    first, second = _evidence(body["first"], "first"), _evidence(body["second"], "second")
    replica_set = _set_that_signs(host, chain, first[0])
    try:
        shown = judge_misbehaviour(replica_set, first, second, system.verify_signature)
    except ProofError as error:
        raise _unverified(error) from error
    key = f"misbehaviour/{chain}/{shown.height:020d}"
    if host.get(key) is not None:
        return
    evidence = _shown_json(shown)
    host.put(key, {**evidence, "first": body["first"], "second": body["second"]})
    host.put(client_key(chain), {**record, "status": FROZEN})
    host.emit("light_client.frozen", evidence)


def _client(host: Host, chain: str) -> dict[str, Json]:
    """The client's record; the first use takes it from genesis or registration (G39)."""
    record = host.get(client_key(chain))
    if isinstance(record, dict):
        return record
    trust = find_trust(host, chain)
    if trust is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    return _initialise(host, chain, trust)


def _initialise(host: Host, chain: str, trust: Mapping[str, Json]) -> dict[str, Json]:
    replica_set = genesis_set(chain, trust)
    trusted = TrustedChain.from_genesis(_bytes(trust["genesis_hash"]), replica_set)
    host.put(_set_key(chain, replica_set.epoch), replica_set.encode().hex())
    return _record(trusted, states=0)


def _is_known(host: Host, trusted: TrustedChain, header: BlockHeader) -> bool:
    """Whether this very header was taken before: relayers race, with one effect (G37)."""
    if trusted.header_hash == header.hash():
        return True
    known = host.get(_state_key(trusted.chain_id, header.height))
    return isinstance(known, dict) and known["header_hash"] == header.hash().hex()


def _judge_known_height(
    host: SystemHost,
    body: Mapping[str, Json],
    known: Mapping[str, Json],
    header: BlockHeader,
    certificate: FinalityCertificate,
) -> None:
    """Another header at a height taken before: a fork if a quorum of its epoch signed (G7)."""
    chain = header.chain_id
    trusted = TrustedChain.from_checkpoint(
        header.hash(),
        _set_that_signs(host, chain, header),
        header.height,
        _bytes(known["header_hash"]),
    )
    try:
        advance(trusted, header, certificate, host.verify_signature)
    except MisbehaviourError as error:
        _freeze(host, _client(host, chain), body, error)
    except ProofError as error:
        raise _unverified(error) from error


def _store(
    host: Host,
    record: Mapping[str, Json],
    after: TrustedChain,
    header: BlockHeader,
    set_changes: Sequence[SetChange],
) -> None:
    chain, states = after.chain_id, _int(record["states"]) + 1
    for change in set_changes:
        new = change.replica_set
        host.put(_set_key(chain, new.epoch), new.encode().hex())
        host.put(_end_key(chain, new.epoch - 1), change.header.height)
        warn_of_shares(host, NAME, new, {"chain": chain, "epoch": new.epoch})
        if change.restart is not None:
            _announce_restart(host, change.restart)
    facts: dict[str, Json] = {
        "header_hash": header.hash().hex(),
        "block_time_ms": header.block_time_ms,
        "epoch": header.epoch,
    }
    roots: dict[str, Json] = {
        "state_root": header.state_root.hex(),
        "receipts_root": header.receipts_root.hex(),
        "transactions_root": header.transactions_root.hex(),
        "recorded_height": host.height(),
    }
    host.put(_state_key(chain, header.height), {**facts, **roots})
    if states > CONSENSUS_STATES_MAX:
        oldest, _ = host.scan(f"state/{chain}/", 1)[0]
        host.delete(oldest)
        states -= 1
    host.put(client_key(chain), _record(after, states=states))
    host.emit("light_client.updated", {"chain": chain, "height": header.height, **facts})


def _announce_restart(host: Host, restart: Restart) -> None:
    """The regulator must see that a chain went on without its quorum."""
    statement = restart.statement
    facts: dict[str, Json] = {
        "chain": statement.chain_id,
        "epoch": statement.epoch,
        "height": statement.height,
        "statement": statement.digest().hex(),
        "reason": statement.reason,
    }
    host.emit("light_client.restarted", facts)


def _authorities(host: Host, chain: str) -> RestartAuthorities | None:
    """Who may approve a restart of the chain: as genesis or the registration names them."""
    trust = find_trust(host, chain) or {}
    named = trust.get("restart_authorities")
    return None if named is None else RestartAuthorities.from_json(named)


def _freeze(
    host: Host, record: Mapping[str, Json], body: Mapping[str, Json], error: MisbehaviourError
) -> None:
    facts: dict[str, Json] = {
        "chain": error.chain_id,
        "height": error.height,
        "known_hash": error.known.hex(),
        "other_hash": error.other.hex(),
    }
    host.put(client_key(error.chain_id), {**record, "status": FROZEN})
    host.put(f"fork/{error.chain_id}/{error.height:020d}", {**facts, "evidence": dict(body)})
    host.emit("light_client.frozen", facts)


def _refuse_frozen(chain: str, record: Mapping[str, Json]) -> None:
    if record["status"] == FROZEN:
        raise Refusal("CLIENT_FROZEN", chain=chain, height=record["height"])


def _unverified(error: ProofError) -> Refusal:
    if error.code.startswith("RESTART_"):
        return Refusal(error.code, piece=error.piece, detail=error.detail)
    return Refusal("HEADER_UNVERIFIED", piece=error.piece, detail=error.detail)


def _evidence(value: Json, field: str) -> tuple[BlockHeader, FinalityCertificate]:
    if not isinstance(value, dict):
        raise Refusal("BODY_MALFORMED", field=field, fault="not an object")
    require_members(value, f"{field}.", "header certificate")
    return _certified(value, f"{field}.")


def _certified(body: Mapping[str, Json], path: str) -> tuple[BlockHeader, FinalityCertificate]:
    encoded = hex_bytes(body["header"], f"{path}header", _HEADER_BYTES_MAX)
    signed = hex_bytes(body["certificate"], f"{path}certificate", _CERTIFICATE_BYTES_MAX)
    try:
        header, certificate = BlockHeader.decode(encoded), FinalityCertificate.decode(signed)
    except MalformedError as error:
        raise Refusal(
            "BODY_MALFORMED", field=f"{path}header or certificate", fault=str(error)
        ) from error
    if max(header.epoch, header.height, header.block_time_ms) >= NUMBER_BOUND:
        raise Refusal(
            "BODY_MALFORMED", field=f"{path}header", fault="a number that JSON state cannot carry"
        )
    return header, certificate


def _set_changes(value: Json, *, restarts: bool) -> tuple[SetChange, ...]:
    changes: list[SetChange] = []
    wanted = "header certificate replica_set"
    if restarts and isinstance(value, list):
        value = [_restart_row(row) for row in value]
        wanted += " restart"
    for index, row in enumerate(rows(value, "set_changes", wanted, SET_CHANGES_MAX)):
        path = f"set_changes[{index}]."
        if row.get("restart"):
            changes.append(_restart(row["restart"], f"{path}restart"))
            continue
        header, certificate = _certified(row, path)
        encoded = hex_bytes(row["replica_set"], f"{path}replica_set", _SET_BYTES_MAX)
        try:
            replica_set = ReplicaSet.decode(encoded)
        except MalformedError as error:
            raise Refusal("BODY_MALFORMED", field=f"{path}replica_set", fault=str(error)) from error
        changes.append(SetChange(header, certificate, replica_set))
    return tuple(changes)


def _restart_row(row: Json) -> Json:
    """A row with a restart has no other member; the others have an empty one from here on."""
    if not isinstance(row, dict):
        return row
    if set(row) == {"restart"}:
        return {"header": "", "certificate": "", "replica_set": "", **row}
    return row if "restart" in row else {**row, "restart": ""}


def _restart(value: Json, field: str) -> SetChange:
    try:
        return SetChange.of_restart(Restart.decode(hex_bytes(value, field, RESTART_BYTES_MAX)))
    except MalformedError as error:
        raise Refusal("BODY_MALFORMED", field=field, fault=str(error)) from error


def _shown_json(shown: Misbehaviour) -> dict[str, Json]:
    return {
        "chain": shown.chain_id,
        "height": shown.height,
        "known_hash": shown.first_hash.hex(),
        "other_hash": shown.second_hash.hex(),
        "replicas": [
            {"replica": replica, "entity_id": entity_id, "entity_name": entity_name}
            for replica, entity_id, entity_name in shown.replicas
        ],
    }


def _record(trusted: TrustedChain, *, states: int) -> dict[str, Json]:
    header = trusted.header
    restarted: dict[str, Json] = {}
    if trusted.restarted_at is not None:
        restarted["restarted_at"] = trusted.restarted_at
    return {
        **restarted,
        "status": ACTIVE,
        "genesis_hash": trusted.genesis_hash.hex(),
        "epoch": trusted.replica_set.epoch,
        "replica_set": trusted.replica_set.encode().hex(),
        "height": trusted.height,
        "header": None if header is None else header.encode().hex(),
        "block_time_ms": trusted.block_time_ms,
        "states": states,
    }


def _trusted(record: Mapping[str, Json], authorities: RestartAuthorities | None) -> TrustedChain:
    restarted_at = record.get("restarted_at")
    replica_set = ReplicaSet.decode(_bytes(record["replica_set"]))
    encoded = record["header"]
    header = None if encoded is None else BlockHeader.decode(_bytes(encoded))
    return TrustedChain(
        chain_id=replica_set.chain_id,
        genesis_hash=_bytes(record["genesis_hash"]),
        replica_set=replica_set,
        height=_int(record["height"]),
        header_hash=None if header is None else header.hash(),
        block_time_ms=_int(record["block_time_ms"]),
        header=header,
        authorities=authorities,
        restarted_at=None if restarted_at is None else _int(restarted_at),
    )


def _state_key(chain: str, height: int) -> str:
    return f"state/{chain}/{height:020d}"


def _set_key(chain: str, epoch: int) -> str:
    return f"set/{chain}/{epoch:020d}"


def _end_key(chain: str, epoch: int) -> str:
    """Where the last height of an epoch is kept, once it is over."""
    return f"end/{chain}/{epoch:020d}"


def _set_that_signs(host: Host, chain: str, header: BlockHeader) -> ReplicaSet:
    """The set whose signatures count for a header; what a set signs above the end of its epoch
    shows nothing, so that old keys cannot freeze a client.
    """
    piece = f"header of {chain} height {header.height}"
    replica_set = host.get(_set_key(chain, header.epoch))
    if not isinstance(replica_set, str):
        detail = f"epoch {header.epoch} was never trusted here"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    end = host.get(_end_key(chain, header.epoch))
    if end is not None and header.height > _int(end):
        detail = f"epoch {header.epoch} ended below it"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    return ReplicaSet.decode(_bytes(replica_set))


def _bytes(value: Json) -> bytes:
    assert isinstance(value, str)
    return bytes.fromhex(value)


def _int(value: Json) -> int:
    assert type(value) is int
    return value
