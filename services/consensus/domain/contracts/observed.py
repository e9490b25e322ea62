"""The chains of another kind that the regulator reads from outside (T2-13, T2-14).

Both sides of the CSRC give the checkpoint to begin with. Headers follow one by one, whoever brings
them, judged by the verifier of that chain; each is kept as an acknowledgement with the height here.
Two certified headers that exclude each other freeze the client, which keeps both; a new checkpoint
of both sides, to which the province consents, begins a new generation. What is kept where: see
`observed_client/records`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value
from guqiao_sdk.proof.fisco.header import CertifiedHeader, header_value
from guqiao_sdk.proof.fisco.trusted import ForkError, TrustedFisco
from guqiao_sdk.proof.fisco.trusted import advance as advanced
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.observed_state import CONTRACT, FROZEN, ObservedClient
from services.consensus.domain.contracts.chain_registry.drift import (
    note_sealers,
    observed_keys,
    require_followed,
)
from services.consensus.domain.contracts.chain_registry.steps import signed
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client import CLOCK_AHEAD_MS_MAX
from services.consensus.domain.contracts.observed_client.form import (
    OTHER,
    read_chain,
    read_checkpoint,
    read_headers,
    refusal_of,
)
from services.consensus.domain.contracts.observed_client.records import (
    acknowledge,
    begin_generation,
    begun_key,
    checkpoint_digest,
    consent_key,
    find_client,
    fork_key,
    keep_client,
    require_active,
    trusted_at,
)
from services.consensus.domain.contracts.observed_client.registered import (
    is_registered_set,
    keys_of,
    require_chains_province,
    require_later_header,
    require_registered_header,
)
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    SystemHost,
    require_members,
    require_role,
    system_host,
    this_chain,
)
from services.consensus.domain.contracts.signers import require_csrc

NAME: Final = CONTRACT
HOLDS_FROM: Final = 2
"""The version that opens a task where other keys seal than those that are registered."""


@dataclass(frozen=True, slots=True)
class ObservedContract:
    """`observed`; of FISCO BCOS 3 with national cryptography. Version 2 holds who seals from now on
    against the registration (`chain_registry/drift`).
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """`advance` for relayers, who are trusted with nothing; the rest for regulators."""
        holds = self.version >= HOLDS_FROM
        return {
            "begin": partial(begin, holds=holds),
            "advance": partial(advance, holds=holds),
            "consent": consent,
            "replace": partial(replace_checkpoint, holds=holds),
        }


def begin(host: Host, body: Mapping[str, Json], *, holds: bool) -> None:
    """Observe a chain from a checkpoint on, as both sides of the CSRC. The same again changes
    nothing.
    """
    require_csrc(host)
    chain, trusted = read_checkpoint(body, this_chain(host))
    if find_client(host, chain) is not None:
        given = host.get(begun_key(chain, 0))
        assert isinstance(given, dict), "every client begins with a checkpoint"
        if given["checkpoint"] == checkpoint_value(trusted):
            return
        raise Refusal("REFERENCE_CONFLICT", reference=chain)
    require_registered_header(system_host(host), chain, trusted)
    client = begin_generation(host, chain, 0, trusted, signed(host))
    host.emit("observed.begun", _facts(chain, 0, trusted))
    if holds:
        _note_sealers(system_host(host), client)


def advance(host: Host, body: Mapping[str, Json], *, holds: bool) -> None:
    """Take headers in the order of their heights. Those that are known already change nothing; one
    that excludes what is known freezes the client.
    """
    require_role(host, RELAYER)
    require_members(body, "", "chain headers")
    system, chain = system_host(host), read_chain(body, this_chain(host))
    headers = read_headers(body["headers"])
    client = require_active(host, chain)
    require_followed(system, chain, changes_set=True)  # A stale chain is watched all the same.
    before = client
    for certified in headers:
        try:
            client = _judged(system, client, certified)
        except ForkError as error:
            client = _frozen(system, client, error)
            break
        except ProofError as error:
            raise refusal_of(error, "headers") from error
    if client == before:
        return
    keep_client(host, client)
    if client.trusted != before.trusted:
        host.emit("observed.advanced", _facts(chain, client.generation, client.trusted))
    is_noted = observed_keys(system, chain) is not None
    if holds and (not is_noted or client.sealers_height != before.sealers_height):
        _note_sealers(system, client)


def consent(host: Host, body: Mapping[str, Json]) -> None:
    """Consent to a new checkpoint, as the regulator of the chain's province."""
    chain, trusted = read_checkpoint(body, this_chain(host))
    require_chains_province(system_host(host), chain)
    client = _of_the_same_chain(host, chain, trusted)
    consented: dict[str, Json] = {
        "digest": checkpoint_digest(trusted),
        "generation": client.generation,
    }
    host.put(consent_key(chain), {**consented, "signed": signed(host)})
    host.emit("observed.consented", {"chain": chain, **consented})


def replace_checkpoint(host: Host, body: Mapping[str, Json], *, holds: bool) -> None:
    """Go on from a new checkpoint, as both sides of the CSRC and to what the province consented:
    after a fork, or a change of sealers that those before did not sign.
    """
    require_csrc(host)
    chain, trusted = read_checkpoint(body, this_chain(host))
    client = _of_the_same_chain(host, chain, trusted)
    _require_consent(host, client, trusted)
    require_later_header(system_host(host), chain, trusted, stated=holds)
    generation = client.generation + 1
    begun = begin_generation(host, chain, generation, trusted, signed(host))
    host.delete(consent_key(chain))
    host.emit("observed.replaced", _facts(chain, generation, trusted))
    if holds:
        _note_sealers(system_host(host), begun)


def _note_sealers(host: SystemHost, client: ObservedClient) -> None:
    note_sealers(
        host,
        client.chain,
        keys_of(client.trusted.sealers),
        generation=client.generation,
        sealers_height=client.sealers_height,
    )


def _judged(host: SystemHost, client: ObservedClient, certified: CertifiedHeader) -> ObservedClient:
    """The client after one header, or `ProofError`: known, the next one, or neither."""
    header, trusted = certified.header, client.trusted
    piece = f"header of {client.chain} height {header.number}"
    if header.number <= trusted.number:
        known = trusted_at(host, client, header.number)
        if known is None:
            raise ProofError(piece, "it is below the checkpoint", "HEADER_UNVERIFIED")
        if known.header_hash != header.hash():
            advanced(known, certified, host.verify_signature)
        return client
    if header.number != trusted.number + 1:
        raise ProofError(piece, f"height {trusted.number + 1} comes next", "HEADER_UNVERIFIED")
    if header.time_ms > host.block_time_ms() + CLOCK_AHEAD_MS_MAX:
        raise ProofError(piece, "its block time is too far ahead", "HEADER_UNVERIFIED")
    after = advanced(trusted, certified, host.verify_signature)
    if after.sealers != trusted.sealers:
        changed: dict[str, Json] = {
            "chain": client.chain,
            "height": header.number,
            "registered": is_registered_set(host, client.chain, after.sealers),
        }
        host.emit("observed.sealers_changed", changed)
    return acknowledge(host, client, header, after)


def _frozen(host: SystemHost, client: ObservedClient, error: ForkError) -> ObservedClient:
    """Keep what excludes the header that is known, and believe nothing of the chain any more."""
    other = error.other
    facts: dict[str, Json] = {
        "chain": client.chain,
        "generation": client.generation,
        "height": other.header.number,
        "known_hash": error.known.hex(),
        "other_hash": other.header.hash().hex(),
    }
    evidence = header_value(other)
    host.put(
        fork_key(client.chain, client.generation),
        {**facts, "evidence": evidence, "recorded_height": host.height()},
    )
    host.emit("observed.frozen", facts)
    return replace(client, status=FROZEN)


def _of_the_same_chain(host: Host, chain: str, trusted: TrustedFisco) -> ObservedClient:
    """The client that a new checkpoint is for. One that is not frozen never goes back."""
    client = find_client(host, chain)
    if client is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
    held = client.trusted
    if (held.name, held.genesis_hash) != (trusted.name, trusted.genesis_hash):
        raise Refusal(OTHER, chain=chain, fault="of another chain, group or genesis")
    if client.status != FROZEN and trusted.number <= held.number:
        raise Refusal(OTHER, chain=chain, fault=f"not above height {held.number}, which is known")
    return client


def _require_consent(host: Host, client: ObservedClient, trusted: TrustedFisco) -> None:
    consented = host.get(consent_key(client.chain))
    wanted: dict[str, Json] = {
        "digest": checkpoint_digest(trusted),
        "generation": client.generation,
    }
    if not isinstance(consented, dict) or any(consented[x] != wanted[x] for x in wanted):
        raise Refusal("OBSERVED_CONSENT_MISSING", chain=client.chain, digest=wanted["digest"])


def _facts(chain: str, generation: int, trusted: TrustedFisco) -> dict[str, Json]:
    return {
        "chain": chain,
        "generation": generation,
        "height": trusted.number,
        "header_hash": trusted.header_hash.hex(),
    }
