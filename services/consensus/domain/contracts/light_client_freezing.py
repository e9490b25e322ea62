"""How a light client freezes: the evidence that it keeps, and who is named (reliability G7, G22).

From version 3 on evidence is two certified headers that exclude each other, however they came; it
stays for ever, in the state and in an event:

    misbehaviour/<chain>/<height>/<digest>   headers, certificates and sets; who signed both
    named/<chain>/<key>                      a key that did, the entity behind it, and the evidence

Versions 1 and 2 kept what `update` found under fork/<chain>/<height>, and named nobody for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.light_client import Misbehaviour, MisbehaviourError
from guqiao_sdk.proof.misbehaviour import CertifiedHeader, Conflict, conflict_of
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.light_client_records import (
    FROZEN,
    certified_json,
    to_int,
)
from services.consensus.domain.contracts.light_client_registration import client_key

FORKS_MAX: Final = 64
"""Pieces of evidence up to which one that names nobody new is kept for an earlier fork."""


def freeze_on_update(
    host: Host,
    record: Mapping[str, Json],
    body: Mapping[str, Json],
    error: MisbehaviourError,
    *,
    names: bool,
) -> None:
    """Freeze on a header that an update brought; with `names` as version 3 does."""
    if not names:
        _freeze_nameless(host, record, body, error)
    elif error.first is None:
        _freeze_half(host, record, error)
    else:
        freeze_on_conflict(host, record, conflict_of(error.first, error.second))


def freeze_on_conflict(host: Host, record: Mapping[str, Json], shown: Conflict) -> None:
    """Freeze, or add to what is known of a frozen client: nobody is thawed. Of further evidence
    only what names somebody new or shows an earlier fork is kept, so that it has an end.
    """
    chain, height = shown.first.header.chain_id, shown.height
    fresh = [each for each in shown.signers if host.get(named_key(chain, each.public_key)) is None]
    frozen = record if record["status"] == FROZEN else _frozen(host, record, height)
    kept, fork = to_int(frozen.get("evidence", 0)), to_int(frozen.get("fork_height", height))
    is_earlier = height < fork and kept < FORKS_MAX
    if kept and not fresh and not is_earlier:
        return
    evidence = _evidence_json(shown)
    place = f"{height:020d}/{digest('guqiao/misbehaviour/1', canonical_json(evidence)).hex()}"
    host.put(f"misbehaviour/{chain}/{place}", evidence)
    for each in fresh:
        named: dict[str, Json] = {
            "entity_id": each.entity_id,
            "entity_name": each.entity_name,
            "evidence": place,
        }
        host.put(named_key(chain, each.public_key), named)
    after = {**frozen, "fork_height": min(height, fork), "evidence": kept + 1}
    host.put(client_key(chain), after)
    host.emit("light_client.frozen", evidence)


def freeze_on_evidence(
    host: Host, record: Mapping[str, Json], body: Mapping[str, Json], shown: Misbehaviour
) -> None:
    """Of versions 1 and 2: freeze on two headers of one height that were brought as evidence."""
    key = f"misbehaviour/{shown.chain_id}/{shown.height:020d}"
    if host.get(key) is not None:
        return
    evidence: dict[str, Json] = {
        "chain": shown.chain_id,
        "height": shown.height,
        "known_hash": shown.first_hash.hex(),
        "other_hash": shown.second_hash.hex(),
        "replicas": [
            {"replica": replica, "entity_id": entity_id, "entity_name": entity_name}
            for replica, entity_id, entity_name in shown.replicas
        ],
    }
    host.put(key, {**evidence, "first": body["first"], "second": body["second"]})
    host.put(client_key(shown.chain_id), {**record, "status": FROZEN})
    host.emit("light_client.frozen", evidence)


def named_key(chain: str, public_key: bytes) -> str:
    """Where it is kept that a key signed two histories of the chain."""
    return f"named/{chain}/{public_key.hex()}"


def _freeze_nameless(
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


def _freeze_half(host: Host, record: Mapping[str, Json], error: MisbehaviourError) -> None:
    """Version 2 took what was known and kept no certificate: nobody can be named, until somebody
    brings both headers as evidence. The client freezes all the same.
    """
    facts: dict[str, Json] = {
        "chain": error.chain_id,
        "height": error.height,
        "known_hash": error.known.hex(),
        "other_hash": error.other.hex(),
        "replicas": [],
        "first": None,
        "second": _half_json(error.second),
    }
    host.put(client_key(error.chain_id), _frozen(host, record, error.known_height))
    host.put(f"fork/{error.chain_id}/{error.height:020d}", facts)
    host.emit("light_client.frozen", facts)


def _frozen(host: Host, record: Mapping[str, Json], fork_height: int) -> dict[str, Json]:
    return {
        **record,
        "status": FROZEN,
        "fork_height": fork_height,
        "frozen_height": host.height(),
        "evidence": 0,
    }


def _evidence_json(shown: Conflict) -> dict[str, Json]:
    return {
        "chain": shown.first.header.chain_id,
        "height": shown.height,
        "known_hash": shown.first.header.hash().hex(),
        "other_hash": shown.other_hash.hex(),
        "replicas": [
            {
                "replica": each.replica,
                "vote_key": each.public_key.hex(),
                "entity_id": each.entity_id,
                "entity_name": each.entity_name,
            }
            for each in shown.signers
        ],
        "first": _half_json(shown.first),
        "second": _half_json(shown.second),
    }


def _half_json(certified: CertifiedHeader) -> dict[str, Json]:
    signed = certified_json(certified.header, certified.certificate)
    return {**signed, "replica_set": certified.replica_set.encode().hex()}
