"""How a light client that misbehaviour froze begins with another trust (ADR 0041, G2-16-4).

The CSRC's technical side proposes a certified header above the fork with its set and the reason,
the province consents, and both sides of the CSRC put it in force: four persons, each of whom signs
for the digest of exactly that. What is kept:

    replacement/<chain>               what is proposed, by whom, and the province's consent
    replaced/<chain>/<generation>     the same of each that was put in force, for ever
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.misbehaviour import CertifiedHeader
from services.consensus.domain.contracts.chain_registry.changing import REASON_LENGTH_MAX
from services.consensus.domain.contracts.chain_registry.drift import (
    close_task,
    compare,
    keys_of_registration,
    keys_of_set,
)
from services.consensus.domain.contracts.chain_registry.form import check_clear
from services.consensus.domain.contracts.chain_registry.standing import Status, find, move
from services.consensus.domain.contracts.chain_registry.steps import (
    called,
    require_province,
    signed,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client_registration import LIGHT_CLIENT
from services.consensus.domain.contracts.light_client_replacement import (
    frozen_client,
    generation_of,
    read_trust,
    replace_trust,
    require_trustworthy,
)
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    require_role,
    system_host,
    text,
)
from services.consensus.domain.contracts.signers import require_csrc

PROPOSED: Final = ("chain_id", "fork_height", "generation", "reason", "trust")
"""The members of a proposal: all that a digest of it covers."""


def proposal_digest(proposal: Mapping[str, Json]) -> str:
    """What everybody signs for, in hex."""
    return digest("guqiao/client-replacement/1", canonical_json(dict(proposal))).hex()


def replacement_key(chain: str) -> str:
    """Where the proposal that waits is kept."""
    return f"replacement/{chain}"


def propose_client(host: Host, body: Mapping[str, Json]) -> None:
    """Propose a trust, as the technical side. It takes the place of one that waits, and has no
    consent yet.
    """
    check_clear({name: body[name] for name in body if name != "trust"}, search=Search.ANY_WRITING)
    require_role(host, roles.CSRC_TECH)
    chain, _, _ = called(host, body, "propose_client", " ".join(PROPOSED[1:]))
    text(body["reason"], "reason", REASON_LENGTH_MAX)
    _current(system_host(host), chain, body)
    named = proposal_digest(body)
    record: dict[str, Json] = {"proposal": dict(body), "digest": named, "proposed": signed(host)}
    host.put(replacement_key(chain), record)
    facts: dict[str, Json] = {"digest": named, "reason": body["reason"]}
    host.emit("chain.client_proposed", {"chain_id": chain, **facts})


def consent_client(host: Host, body: Mapping[str, Json]) -> None:
    """Consent as the regulator of the chain's province, to the proposal that the digest names."""
    check_clear(body, search=Search.ANY_WRITING)
    chain, _, record = called(host, body, "consent_client", "digest")
    require_province(host, chain, record["registration"])
    waiting = _waiting(host, chain, body)
    _require_others(host, waiting, "proposed")
    _current(system_host(host), chain, waiting["proposal"])
    host.put(replacement_key(chain), {**waiting, "consented": signed(host)})
    host.emit("chain.client_consented", {"chain_id": chain, "digest": waiting["digest"]})


def replace_client(host: Host, body: Mapping[str, Json]) -> None:
    """Put in force what was proposed and consented to, as both sides of the CSRC: the client is
    thawed with that trust. Keys that are not the registered ones are a drift at once.
    """
    check_clear(body, search=Search.ANY_WRITING)
    require_csrc(host)
    system = system_host(host)
    chain, standing, record = called(host, body, "replace_client", "digest")
    waiting = _waiting(host, chain, body)
    if "consented" not in waiting:
        raise Refusal("CLIENT_CONSENT_MISSING", chain=chain)
    _require_others(host, waiting, "proposed", "consented")
    client, trust = _current(system, chain, waiting["proposal"])
    facts: dict[str, Json] = {
        "digest": waiting["digest"],
        "reason": waiting["proposal"]["reason"],
    }
    system.within(LIGHT_CLIENT, lambda: replace_trust(system, client, trust, facts))
    host.delete(replacement_key(chain))
    kept = {**waiting, "approved": signed(host)}
    host.put(f"replaced/{chain}/{generation_of(client):020d}", kept)
    status = _status_after(standing, record, trust)
    move(host, chain, "replace_client", status, "chain.client_replaced", digest=waiting["digest"])
    if status is Status.ACTIVE:
        close_task(host, chain)
        compare(system, trust.replica_set)


def _status_after(
    standing: Mapping[str, Any], record: Mapping[str, Any], trust: CertifiedHeader
) -> Status:
    """A chain that was stale is so no longer where the keys that are registered sign again."""
    status = Status(standing["status"])
    registered = keys_of_registration(record["registration"])
    is_again = status is Status.STALE and registered == keys_of_set(trust.replica_set)
    return Status.ACTIVE if is_again else status


def _current(
    host: SystemHost, chain: str, proposal: Mapping[str, Json]
) -> tuple[Mapping[str, Json], CertifiedHeader]:
    """The frozen client and the trust for it, found good now: evidence may have come since."""
    client = frozen_client(host, chain)
    now = {"generation": generation_of(client), "fork_height": client["fork_height"]}
    if any(type(proposal[name]) is not int or proposal[name] != now[name] for name in now):
        raise Refusal("CLIENT_PROPOSAL_OUTDATED", chain=chain, **now)
    trust = read_trust(proposal["trust"], "trust")
    host.within(LIGHT_CLIENT, lambda: require_trustworthy(host, client, chain, trust))
    return client, trust


def _waiting(host: Host, chain: str, body: Mapping[str, Json]) -> dict[str, Any]:
    """The proposal that waits, where it is the one that the body names."""
    waiting = find(host, replacement_key(chain))
    expected = None if waiting is None else waiting["digest"]
    if waiting is None or body["digest"] != expected:
        raise Refusal("CLIENT_PROPOSAL_OTHER", chain=chain, expected=expected)
    return waiting


def _require_others(host: Host, waiting: Mapping[str, Any], *steps: str) -> None:
    """Whoever signs now took none of these steps: four persons, not one in several roles."""
    checker = host.checker()
    present = {host.sender().did} | (set() if checker is None else {checker.did})
    before = {str(waiting[step]["by"]) for step in steps}
    for did in sorted(present & before):
        raise Refusal("CLIENT_SIGNER_REPEATED", chain=waiting["proposal"]["chain_id"], did=did)
