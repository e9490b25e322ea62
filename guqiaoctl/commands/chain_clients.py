"""`guqiao chain draft-client`, `propose-client`, `consent-client`, `replace-client`: another trust
for a light client that misbehaviour froze (ADR 0041).

The draft holds a header that was verified from this network's own trust file, and says which freeze
it is for; all four persons sign for its digest.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.commands.chain_registry import act_on, json_file, registered, take
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CHAINS, CSRC
from guqiaoctl.output import Progress, choose, say
from guqiaoctl.result_files import whole_file
from services.consensus.domain.contracts.chain_registry.form import BYTES_MAX
from services.consensus.domain.contracts.chain_registry.replacing import proposal_digest
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.light_client_records import FROZEN
from services.consensus.domain.contracts.light_client_replacement import read_trust

READER: Final = "gateway"
"""The account of the regulator that may read a market's chain."""


def draft(data: Path, chain: str, out: Path, *, reason: str, height: int) -> None:
    """Write a proposal with the header of a height, 0 for the newest, to be looked through."""
    network = load_network(data)
    if chain not in CHAINS:
        raise failure("CHAIN_UNKNOWN", chain=chain)
    client = registered(network, chain)["client"]
    if client is None or client["status"] != FROZEN:
        raise failure("CLIENT_NOT_FROZEN", chain=chain)
    if not client.get("evidence"):
        raise failure("CLIENT_EVIDENCE_MISSING", chain=chain)
    with Progress(choose(f"asking {chain}", f"查询 {chain}")):
        trust = guarded(asyncio.run, _read_trust(network, chain, height))
    proposal: dict[str, Json] = {
        "chain_id": chain,
        "generation": client.get("generation", 0),
        "fork_height": client["fork_height"],
        "reason": reason,
        "trust": trust,
    }
    with whole_file(out) as write:
        write(canonical_json(proposal) + b"\n")
    say(
        choose(
            f"{out} written ({summary(proposal)}): look through it before you propose it",
            f"已写入 {out}（{summary(proposal)}），提交前请核对",
        )
    )


def propose(data: Path, path: Path) -> None:
    """Propose what a file says."""
    proposal = json_file(path, BYTES_MAX)
    if not isinstance(proposal, dict):
        raise failure("BODY_MALFORMED", field="proposal", fault="not an object")
    try:
        told = summary(proposal)
    except Refusal as refusal:
        raise failure(refusal.code, **refusal.fields) from None
    take(load_network(data), "propose_client", proposal)
    print(f"{proposal.get('chain_id')}  {proposal_digest(proposal)}  {told}")


def sign(data: Path, method: str, chain: str, *, digest: str | None) -> None:
    """Consent to a proposal or put it in force: that of `digest`, else the one that waits."""
    network = load_network(data)
    named = digest
    if named is None:
        waiting = registered(network, chain)["replacement"]
        if waiting is None:
            raise failure("CLIENT_PROPOSAL_OTHER", chain=chain, expected=None)
        say(summary(waiting["proposal"]))
        named = str(waiting["digest"])
    act_on(network, method, chain, {"digest": named})


def summary(proposal: dict[str, Any]) -> str:
    """What a proposal would put in force, in a line; raises `Refusal` for what is none."""
    trust = read_trust(proposal.get("trust"), "trust")
    header = trust.header
    return choose(
        f"height {header.height}, header {header.hash().hex()}, "
        f"epoch {header.epoch}, set {trust.replica_set.hash().hex()}",
        f"高度 {header.height}，区块头 {header.hash().hex()}，"
        f"纪元 {header.epoch}，副本集合 {trust.replica_set.hash().hex()}",
    )


async def _read_trust(network: Network, chain: str, height: int) -> dict[str, Json]:
    provider = open_provider()
    identity = open_identity(network, provider, CSRC, READER)
    async with open_chain(network, provider, chain, identity) as client:
        return await certified_trust(client, height)


async def certified_trust(client: ChainClient, height: int) -> dict[str, Json]:
    """A verified header with its certificate and the set that certified it, in hex."""
    header, certificate = await client.get_header(height)
    replica_set = await client.sets.set_of(header.encode())
    return {
        "header": header.encode().hex(),
        "certificate": certificate.encode().hex(),
        "replica_set": replica_set.encode().hex(),
    }
