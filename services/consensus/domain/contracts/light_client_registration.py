"""How a chain comes to know another one after its own genesis: registration by its administrator.

It learns the other one's id, its genesis hash, and the replica set with the entity behind each key,
held to the same rules as a genesis (G2-07-2, G2-16-3). The trust stays as registered; the set moves
on by set changes alone. The regulatory chain, which has the contract `chains`, learns of a market's
chain by the procedure of that contract and in no other way (SM-1, G2-10-1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import REPLICAS_MAX, Member, ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.restart import RestartAuthorities
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    IN_FORCE,
    standing_key,
    status_of,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    hex_bytes,
    require_members,
    require_role,
    rows,
    system_host,
    text,
    this_chain,
)
from services.consensus.domain.contracts.set_events import warn_of_shares

LIGHT_CLIENT: Final = "light_client"
"""The namespace of what is kept here."""
CHAIN_ADMIN: Final = "chain_admin"
ENTITY_LENGTH_MAX: Final = 128
HASH_BYTES: Final = 32
_CHAIN = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def register_chain(host: Host, body: Mapping[str, Json], *, restarts: bool = False) -> None:
    """Keep the trust in another chain. The same again changes nothing; another one is refused.
    With `restarts` it may name who approves a restart of the chain.
    """
    require_role(host, CHAIN_ADMIN)
    keep_trust(host, body, restarts=restarts)


def register_chain_unless_kept(host: Host, body: Mapping[str, Json]) -> None:
    """`register_chain` from version 4 of the light client on: not where the contract `chains` keeps
    registrations. There a trust is kept by an approval alone, whoever asks (SM-1, G2-10-1).
    """
    require_role(host, CHAIN_ADMIN)
    system, chain = system_host(host), text(body.get("chain_id"), "chain_id")
    if _keeps_registrations(system):
        status = _status(system, chain)
        raise Refusal("CHAIN_REGISTRATION_REQUIRED", chain=chain, status=status)
    keep_trust(host, body, restarts=True)


def require_registration(host: SystemHost, chain: str) -> None:
    """Refuse to begin with a chain whose registration is not in force, where the contract `chains`
    keeps registrations: whatever genesis or an earlier version trusts.
    """
    status = _status(host, chain)
    if _keeps_registrations(host) and status not in IN_FORCE:
        raise Refusal("CHAIN_REGISTRATION_REQUIRED", chain=chain, status=status)


def _keeps_registrations(host: SystemHost) -> bool:
    """Genesis writes the parameters of every contract that the chain has."""
    return host.read(CHAINS, "parameters") is not None


def _status(host: SystemHost, chain: str) -> str:
    standing = host.read(CHAINS, standing_key(chain))
    assert standing is None or isinstance(standing, dict), "the contract wrote it"
    return status_of(standing)


def keep_trust(host: Host, body: Mapping[str, Json], *, restarts: bool) -> None:
    """The same for another contract, which asked who may, within the light client's keys."""
    names_authorities = restarts and "restart_authorities" in body
    further = " restart_authorities" if names_authorities else ""
    require_members(body, "", f"chain_id genesis_hash epoch replicas{further}")
    if names_authorities:
        _check_authorities(body["restart_authorities"])
    chain = text(body["chain_id"], "chain_id")
    if _CHAIN.fullmatch(chain) is None or chain == this_chain(host):
        raise Refusal("BODY_MALFORMED", field="chain_id", fault="not the id of another chain")
    _check_hash(body["genesis_hash"])
    _check_set(chain, body)
    known = find_trust(host, chain)
    if known == dict(body):
        return
    if known is not None:
        raise Refusal("REFERENCE_CONFLICT", reference=chain)
    host.put(_key(chain), dict(body))
    host.emit("chain.registered", {"chain_id": chain, "genesis_hash": body["genesis_hash"]})
    trusted = genesis_set(chain, body)
    warn_of_shares(host, LIGHT_CLIENT, trusted, {"chain": chain, "epoch": trusted.epoch})


def find_trust(host: Host, chain: str) -> dict[str, Json] | None:
    """What is trusted of a chain: as registered, else as genesis says, else None."""
    registered = host.get(_key(chain))
    if isinstance(registered, dict):
        return registered
    parameters = host.get("parameters")
    remote_chains = parameters["remote_chains"] if isinstance(parameters, dict) else []
    assert isinstance(remote_chains, list)
    for trust in remote_chains:
        assert isinstance(trust, dict)
        if trust["chain_id"] == chain:
            return trust
    return None


def known_trust(host: SystemHost, chain: str) -> dict[str, Json] | None:
    """What `find_trust` finds, for another contract."""
    found: list[dict[str, Json] | None] = []
    host.within(LIGHT_CLIENT, lambda: found.append(find_trust(host, chain)))
    return found[0]


def followed_set(host: SystemHost, chain: str) -> ReplicaSet | None:
    """The set that the client of `chain` follows now, for another contract; None where no trust in
    that chain is kept.
    """
    record = host.read(LIGHT_CLIENT, client_key(chain))
    if isinstance(record, dict):
        return ReplicaSet.decode(bytes.fromhex(str(record["replica_set"])))
    trust = known_trust(host, chain)
    return None if trust is None else genesis_set(chain, trust)


def genesis_set(chain: str, trust: Mapping[str, Json]) -> ReplicaSet:
    """The replica set that a trust begins with."""
    replicas, epoch = trust["replicas"], trust["epoch"]
    assert isinstance(replicas, list)
    assert type(epoch) is int
    members: list[Member] = []
    for replica, member in enumerate(replicas):
        assert isinstance(member, dict)
        entity_id, entity_name, key = (
            member[name] for name in ("entity_id", "entity_name", "vote_key")
        )
        assert isinstance(entity_id, str)
        assert isinstance(entity_name, str)
        assert isinstance(key, str)
        members.append(Member(replica, bytes.fromhex(key), entity_id, entity_name))
    return ReplicaSet(chain, epoch, tuple(members))


def _check_authorities(value: Json) -> None:
    try:
        RestartAuthorities.from_json(value)
    except ProofError as error:
        raise Refusal("BODY_MALFORMED", field="restart_authorities", fault=error.detail) from error


def _check_hash(value: Json) -> None:
    if len(hex_bytes(value, "genesis_hash", HASH_BYTES)) != HASH_BYTES or not any(
        hex_bytes(value, "genesis_hash", HASH_BYTES)
    ):
        raise Refusal("BODY_MALFORMED", field="genesis_hash", fault="not a digest of 32 bytes")


def _check_set(chain: str, body: Mapping[str, Json]) -> None:
    epoch = body["epoch"]
    if type(epoch) is not int or not 0 <= epoch < 1 << 53:
        raise Refusal("BODY_MALFORMED", field="epoch", fault="not an integer from 0")
    members = [
        Member(
            number,
            hex_bytes(row["vote_key"], f"replicas[{number}].vote_key", 65),
            text(row["entity_id"], f"replicas[{number}].entity_id"),
            text(row["entity_name"], f"replicas[{number}].entity_name", ENTITY_LENGTH_MAX),
        )
        for number, row in enumerate(
            rows(body["replicas"], "replicas", "entity_id entity_name vote_key", REPLICAS_MAX)
        )
    ]
    try:
        ReplicaSet(chain, epoch, tuple(members)).check()
    except ReplicaSetError as error:
        raise Refusal(error.code, chain=chain, detail=error.detail) from error


def client_key(chain: str) -> str:
    """Where the client of a chain is kept, once something was asked of it."""
    return f"client/{chain}"


def _key(chain: str) -> str:
    return f"trust/{chain}"
