"""What is kept of each observed chain, and how it is read back.

client/<chain>                                 status, generation, newest checkpoint
begun/<chain>/<generation>                     the checkpoint that people gave, and who signed
sealers/<chain>/<generation>/<height>          who signs headers after that height
acknowledgement/<chain>/<generation>/<height>  the header that was verified, and when
fork/<chain>/<generation>                      two certified headers that exclude each other
consent/<chain>                                the checkpoint that the province consents to
signing/<chain>                                who seals now, as `chain_registry/drift` keeps it,
                                               from version 2 of the contract on

A new checkpoint begins a new generation: what was acknowledged before it stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_of, checkpoint_value
from guqiao_sdk.proof.fisco.header import FiscoHeader
from guqiao_sdk.proof.fisco.sealers import Sealer, SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.observed_state import (
    ACTIVE,
    FROZEN,
    ObservedClient,
    acknowledgement_key,
    client_key,
    read_client,
)
from services.consensus.domain.contracts.host import Host, Refusal


def find_client(host: Host, chain: str) -> ObservedClient | None:
    """The client of a chain, or None where nobody began one."""
    record = host.get(client_key(chain))
    if record is None:
        return None
    return read_client(chain, record)


def require_active(host: Host, chain: str) -> ObservedClient:
    """The client of a chain that was begun and is not frozen."""
    client = find_client(host, chain)
    if client is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    if client.status == FROZEN:
        raise Refusal("CLIENT_FROZEN", chain=chain, height=client.trusted.number)
    return client


def keep_client(host: Host, client: ObservedClient) -> None:
    """Write how a client stands now."""
    host.put(
        client_key(client.chain),
        {
            "status": client.status,
            "generation": client.generation,
            "checkpoint": checkpoint_value(client.trusted),
            "sealers_height": client.sealers_height,
            "recorded_height": client.recorded_height,
        },
    )


def begin_generation(
    host: Host, chain: str, generation: int, trusted: TrustedFisco, signed: Mapping[str, Json]
) -> ObservedClient:
    """Believe a checkpoint from here on, and return the client that follows it."""
    height = trusted.number
    given: dict[str, Json] = {"checkpoint": checkpoint_value(trusted), "signed": dict(signed)}
    host.put(begun_key(chain, generation), given)
    client = ObservedClient(chain, ACTIVE, generation, trusted, height, host.height())
    _keep_sealers(host, client)
    keep_client(host, client)
    return client


def acknowledge(
    host: Host, client: ObservedClient, header: FiscoHeader, after: TrustedFisco
) -> ObservedClient:
    """Keep a header that was verified, and return the client after it."""
    facts: dict[str, Json] = {
        "header_hash": after.header_hash.hex(),
        "transactions_root": header.transactions_root.hex(),
        "receipts_root": header.receipts_root.hex(),
        "block_time_ms": header.time_ms,
        "sealers_height": client.sealers_height,
        "recorded_height": host.height(),
    }
    host.put(acknowledgement_key(client.chain, client.generation, header.number), facts)
    moved = replace(client, trusted=after, recorded_height=host.height())
    if after.sealers != client.trusted.sealers:
        moved = replace(moved, sealers_height=header.number)
        _keep_sealers(host, moved)
    return moved


def trusted_at(host: Host, client: ObservedClient, height: int) -> TrustedFisco | None:
    """What was believed when the header of a height was judged: it, and the sealers held before it.
    None below the checkpoint of this generation.
    """
    given = host.get(begun_key(client.chain, client.generation))
    assert isinstance(given, dict), "every generation begins with a checkpoint"
    first = checkpoint_of(given["checkpoint"])
    if height <= first.number:
        return first if height == first.number else None
    known = host.get(acknowledgement_key(client.chain, client.generation, height))
    assert isinstance(known, dict), "no height is passed over"
    key = _sealers_key(client.chain, client.generation, _int(known["sealers_height"]))
    return replace(
        client.trusted,
        number=height,
        header_hash=bytes.fromhex(_text(known["header_hash"])),
        sealers=_sealers_of(host.get(key)),
    )


def checkpoint_digest(trusted: TrustedFisco) -> str:
    """By which a consent names a checkpoint."""
    value = canonical_json(checkpoint_value(trusted))
    return digest("guqiao/observed-checkpoint/1", value).hex()


def begun_key(chain: str, generation: int) -> str:
    """Where the checkpoint is kept that a generation began with."""
    return f"begun/{chain}/{generation:010d}"


def fork_key(chain: str, generation: int) -> str:
    """Where the evidence is kept that froze a generation."""
    return f"fork/{chain}/{generation:010d}"


def consent_key(chain: str) -> str:
    """Where the consent of the province waits."""
    return f"consent/{chain}"


def _sealers_key(chain: str, generation: int, height: int) -> str:
    return f"sealers/{chain}/{generation:010d}/{height:020d}"


def _keep_sealers(host: Host, client: ObservedClient) -> None:
    key = _sealers_key(client.chain, client.generation, client.sealers_height)
    rows: list[Json] = [
        {"node_id": each.node_id.hex(), "weight": each.weight}
        for each in client.trusted.sealers.sealers
    ]
    host.put(key, rows)


def _sealers_of(rows: Any) -> SealerSet:
    return SealerSet(tuple(Sealer(bytes.fromhex(row["node_id"]), row["weight"]) for row in rows))


def _int(value: Json) -> int:
    assert type(value) is int, "the contract wrote it"
    return value


def _text(value: Json) -> str:
    assert isinstance(value, str), "the contract wrote it"
    return value
