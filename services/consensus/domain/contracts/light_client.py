"""The light client of each remote chain, inside the state of this chain.

It starts from the trust that genesis wrote, or a registration left, and moves by finality
certificates alone, whoever brings them. Two certified headers that exclude each other freeze the
client, which keeps the evidence; no method here thaws it. Only the last `CONSENSUS_STATES_MAX`
headers stay provable against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, verify_certificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import (
    MisbehaviourError,
    SetChange,
    TrustedChain,
    advance,
    judge_misbehaviour,
)
from guqiao_sdk.proof.misbehaviour import CertifiedHeader, judge_conflict
from guqiao_sdk.proof.restart import Restart
from services.consensus.domain.contracts.chain_registry.drift import (
    note_set,
    require_followed,
    require_provable,
)
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client_form import (
    read_certified,
    read_evidence,
    read_set_changes,
)
from services.consensus.domain.contracts.light_client_freezing import (
    freeze_on_conflict,
    freeze_on_evidence,
    freeze_on_update,
)
from services.consensus.domain.contracts.light_client_records import (
    FROZEN,
    ConsensusState,
    authorities_of,
    certified_at,
    end_key,
    facts_of,
    put_certified,
    put_state,
    record_of,
    set_key,
    set_that_signs,
    state_key,
    to_bytes,
    to_int,
    trusted_of,
)
from services.consensus.domain.contracts.light_client_registration import (
    LIGHT_CLIENT,
    client_key,
    find_trust,
    genesis_set,
    register_chain,
    register_chain_unless_kept,
    require_registration,
)
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    SystemHost,
    require_members,
    require_role,
    system_host,
    text,
)
from services.consensus.domain.contracts.set_events import warn_of_shares

NAME: Final = LIGHT_CLIENT

CONSENSUS_STATES_MAX: Final = 1_024
CLOCK_AHEAD_MS_MAX: Final = 600_000
"""How far a remote block time may lie ahead of this chain's (reliability G9)."""

RESTARTS_FROM: Final = 2
NAMES_FROM: Final = 3
REGISTERED_FROM: Final = 4
"""The versions that follow restarts, that keep who certified what, and that begin with a chain by
its registration alone where such are kept.
"""


@dataclass(frozen=True, slots=True)
class LightClientContract:
    """`light_client`; v2 also follows the restart of a chain that lost its quorum, approved by the
    authorities that genesis or the registration named. v3 keeps each header with its certificate,
    so that a client which freezes names who signed both histories, however the second one came. v4
    begins by a registration in force alone, where the chain has the contract `chains` (SM-1).
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """`register_chain` for the chain's administrator; `update` and `submit_misbehaviour` for
        relayers, who are trusted with nothing.
        """
        registered = self.version >= REGISTERED_FROM
        restarts, names = self.version >= RESTARTS_FROM, self.version >= NAMES_FROM
        register = partial(register_chain, restarts=restarts)
        conflict = partial(submit_conflict, registered=registered)
        return {
            "register_chain": register_chain_unless_kept if registered else register,
            "update": partial(update, version=self.version),
            "submit_misbehaviour": conflict if names else submit_misbehaviour,
        }


def known_height(host: SystemHost, chain: str) -> int:
    """How high this chain knows another one to be; 0 where it knows no header of it yet."""
    record = host.read(NAME, client_key(chain))
    return to_int(record["height"]) if isinstance(record, dict) else 0


def consensus_state(host: SystemHost, chain: str, height: int) -> ConsensusState:
    """Return the consensus state of `chain` at `height` for another contract, or refuse.

    A frozen client proves nothing, old states included (reliability G22).
    """
    record = host.read(NAME, client_key(chain))
    if not isinstance(record, dict):
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    _refuse_frozen(chain, record)
    require_provable(host, chain)
    state = host.read(NAME, state_key(chain, height))
    if not isinstance(state, dict):
        raise Refusal("HEIGHT_UNKNOWN", chain=chain, height=height, latest=record["height"])
    return ConsensusState.from_json(state)


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
    record = _client(host, chain, registered=False)
    _refuse_frozen(chain, record)
    require_provable(host, chain)
    header, certificate = read_certified(body, path)
    known = host.get(state_key(chain, header.height))
    if isinstance(known, dict) and known["header_hash"] != header.hash().hex():
        piece = f"header of {chain} height {header.height}"
        detail = "another header is known at this height"
        raise Refusal("HEADER_UNVERIFIED", piece=piece, detail=detail)
    replica_set = trusted_of(host, record, None).replica_set
    try:
        verify_certificate(header, certificate, replica_set, host.verify_signature)
    except ProofError as error:
        raise unverified(error) from error
    return header


def update(host: Host, body: Mapping[str, Json], *, version: int) -> None:
    """Move the client of `chain` to a newer header; freeze it where a quorum contradicts itself.
    A restart may stand among the set changes in the versions that follow them.
    """
    require_role(host, RELAYER)
    require_members(body, "", "chain header certificate set_changes")
    system, chain = system_host(host), text(body["chain"], "chain")
    header, certificate = read_certified(body, "")
    restarts, names = version >= RESTARTS_FROM, version >= NAMES_FROM
    set_changes = read_set_changes(body["set_changes"], restarts=restarts)
    record = _client(host, chain, registered=version >= REGISTERED_FROM)
    _refuse_frozen(chain, record)
    trusted = trusted_of(host, record, authorities_of(host, chain) if restarts else None)
    if header.chain_id == chain and _is_known(host, trusted, header):
        return
    known = host.get(state_key(chain, header.height))
    try:
        if isinstance(known, dict) and header.chain_id == chain:
            _judge_known_height(system, record, known, header, certificate)
            return
        after = advance(
            trusted,
            header,
            certificate,
            system.verify_signature,
            set_changes,
            block_time_ms_max=host.block_time_ms() + CLOCK_AHEAD_MS_MAX,
        )
    except MisbehaviourError as error:
        freeze_on_update(host, record, body, error, names=names)
        return
    except ProofError as error:
        raise unverified(error) from error
    require_followed(system, chain, changes_set=bool(set_changes))
    _store(host, record, after, header, set_changes)
    if names:
        put_certified(host, header, certificate)
    if set_changes:
        note_set(system, after.replica_set)


def submit_misbehaviour(host: Host, body: Mapping[str, Json]) -> None:
    """Of versions 1 and 2: freeze the client on two certified headers of one height, and name who
    signed both. A client that is frozen already takes further evidence: names are added, nothing is
    thawed.
    """
    record, first, second = _evidence(host, body, registered=False)
    chain = text(body["chain"], "chain")
    replica_set = set_that_signs(host, record, chain, first[0])
    try:
        shown = judge_misbehaviour(replica_set, first, second, system_host(host).verify_signature)
    except ProofError as error:
        raise unverified(error) from error
    freeze_on_evidence(host, record, body, shown)


def submit_conflict(host: Host, body: Mapping[str, Json], *, registered: bool) -> None:
    """`submit_misbehaviour` from version 3 on: the two headers may also be of a height and the next
    one, which names another parent.
    """
    record, *pieces = _evidence(host, body, registered=registered)
    chain = text(body["chain"], "chain")
    one, other = (
        CertifiedHeader(header, certificate, set_that_signs(host, record, chain, header))
        for header, certificate in pieces
    )
    try:
        shown = judge_conflict(one, other, system_host(host).verify_signature)
    except ProofError as error:
        raise unverified(error) from error
    freeze_on_conflict(host, record, shown)


def _evidence(
    host: Host, body: Mapping[str, Json], *, registered: bool
) -> tuple[
    dict[str, Json],
    tuple[BlockHeader, FinalityCertificate],
    tuple[BlockHeader, FinalityCertificate],
]:
    """The client's record, and the two headers that a relayer brings against its chain."""
    require_role(host, RELAYER)
    require_members(body, "", "chain first second")
    record = _client(host, text(body["chain"], "chain"), registered=registered)
    first, second = (read_evidence(body[half], half) for half in ("first", "second"))
    return record, first, second


def _client(host: Host, chain: str, *, registered: bool) -> dict[str, Json]:
    """The client's record; the first use takes it from genesis or registration (G39). `registered`:
    from the latter alone, where such are kept.
    """
    record = host.get(client_key(chain))
    if isinstance(record, dict):
        return record
    trust = find_trust(host, chain)
    if trust is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    if registered:
        require_registration(system_host(host), chain)
    return _initialise(host, chain, trust)


def _initialise(host: Host, chain: str, trust: Mapping[str, Json]) -> dict[str, Json]:
    replica_set = genesis_set(chain, trust)
    trusted = TrustedChain.from_genesis(to_bytes(trust["genesis_hash"]), replica_set)
    record = record_of(trusted, states=0)
    host.put(set_key(record, chain, replica_set.epoch), replica_set.encode().hex())
    return record


def _is_known(host: Host, trusted: TrustedChain, header: BlockHeader) -> bool:
    """Whether this very header was taken before: relayers race, with one effect (G37)."""
    if trusted.header_hash == header.hash():
        return True
    known = host.get(state_key(trusted.chain_id, header.height))
    return isinstance(known, dict) and known["header_hash"] == header.hash().hex()


def _judge_known_height(
    host: SystemHost,
    record: Mapping[str, Json],
    known: Mapping[str, Json],
    header: BlockHeader,
    certificate: FinalityCertificate,
) -> None:
    """Another header at a height taken before: a fork if a quorum of its epoch signed (G7)."""
    chain = header.chain_id
    trusted = TrustedChain.from_checkpoint(
        header.hash(),
        set_that_signs(host, record, chain, header),
        header.height,
        to_bytes(known["header_hash"]),
    )
    taken = certified_at(host, record, chain, header.height)
    advance(replace(trusted, certified=taken), header, certificate, host.verify_signature)


def _store(
    host: Host,
    record: Mapping[str, Json],
    after: TrustedChain,
    header: BlockHeader,
    set_changes: Sequence[SetChange],
) -> None:
    chain, states = after.chain_id, to_int(record["states"]) + 1
    for change in set_changes:
        new = change.replica_set
        host.put(set_key(record, chain, new.epoch), new.encode().hex())
        host.put(end_key(record, chain, new.epoch - 1), change.header.height)
        warn_of_shares(host, NAME, new, {"chain": chain, "epoch": new.epoch})
        if change.restart is not None:
            _announce_restart(host, change.restart)
    put_state(host, header)
    if states > CONSENSUS_STATES_MAX:
        oldest, _ = host.scan(f"state/{chain}/", 1)[0]
        host.delete(oldest)
        host.delete(f"certified/{oldest.removeprefix('state/')}")
        states -= 1
    host.put(client_key(chain), record_of(after, states=states, before=record))
    facts = facts_of(header)
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


def _refuse_frozen(chain: str, record: Mapping[str, Json]) -> None:
    if record["status"] == FROZEN:
        raise Refusal("CLIENT_FROZEN", chain=chain, height=record["height"])


def unverified(error: ProofError) -> Refusal:
    """The refusal of what does not hold."""
    if error.code.startswith("RESTART_"):
        return Refusal(error.code, piece=error.piece, detail=error.detail)
    return Refusal("HEADER_UNVERIFIED", piece=error.piece, detail=error.detail)
