"""`guqiao trust show` and `renew`: the TRUST file for people, and newer checkpoints in it.

A renewal is proven from the file that it renews, signed by the same issuer, and written whole or
not at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.trust import ChainTrust as ClientTrust
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.trust import (
    TRUST_BYTES_MAX,
    ChainTrust,
    Trust,
    encode_trust,
    parse_trust,
    require_issuer,
)
from guqiao_sdk.proof.trust_renewal import renewed
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.governance import READERS
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.layout import Layout, Network, load_network
from guqiaoctl.network.parties import CHAINS, CSRC
from guqiaoctl.network.trust_file import SHANGHAI
from guqiaoctl.output import Progress, choose, print_json, print_table, shown
from guqiaoctl.result_files import whole_file

Newest = tuple[BlockHeader, FinalityCertificate, tuple[SetChange, ...]]
"""A certified header, and all set changes to its epoch from the set that was trusted."""


def show(data: Path, file: Path | None, issuer: str | None, *, as_json: bool) -> None:
    """Show a file whose signature holds, and is of the key with this SM3; raises `CliError`."""
    content = read_input(file or Layout(data).trust, TRUST_BYTES_MAX)
    trust = guarded(parse_trust, content, open_provider().verify)
    if issuer is not None:
        guarded(require_issuer, trust, issuer)
    if as_json:
        print_json(_facts(trust))
        return
    print(f"{choose('issuer', '签发方')}: {shown(trust.issuer_did)}")
    print(f"{choose('issuer key SM3', '签发方公钥 SM3')}: {sm3(trust.issuer_key).hex()}")
    print(f"{choose('issued at', '签发时间')}: {trust.issued_at}")
    print()
    _print_checkpoints(trust)
    for each in trust.observed:
        until = choose("believed until", "有效期至")
        print(f"{shown(each.name)}: {until} {each.valid_until}")


def renew(data: Path, file: Path | None, out: Path | None, *, as_json: bool) -> None:
    """Write the file anew with the newest certified header of each chain of the network."""
    network, provider = load_network(data), open_provider()
    path = file or network.layout.trust
    key = load_private_key(network.layout.account(CSRC, "admin"), provider)
    content = read_input(path, TRUST_BYTES_MAX)
    trust = guarded(parse_trust, content, provider.verify, key.public_key)
    with whole_file(out or path) as write:
        with Progress(choose("asking the chains", "查询各链")):
            newest = guarded(asyncio.run, _newest(network, provider, trust))
        chains = tuple(
            guarded(renewed, each, *newest[each.chain_id], provider.verify)
            if each.chain_id in newest
            else each
            for each in trust.chains
        )
        issued_at = datetime.now(SHANGHAI).isoformat(timespec="seconds")
        after = replace(trust, issued_at=issued_at, chains=chains)
        write(guarded(encode_trust, after, lambda message: provider.sign(key, message)))
    if out is None or out != Path("-"):
        _show_renewal(trust, after, out or path, as_json=as_json)


async def _newest(network: Network, provider: GmProvider, trust: Trust) -> dict[str, Newest]:
    """Of every chain of the file that this network runs and that has a checkpoint."""
    found: dict[str, Newest] = {}
    for chain in trust.chains:
        if chain.chain_id in CHAINS and chain.checkpoints:
            async with _client(network, provider, chain) as client:
                found[chain.chain_id] = await newest_of(client)
    return found


def _client(network: Network, provider: GmProvider, chain: ChainTrust) -> ChainClient:
    """A client that believes what the file's last checkpoint says, and nothing else."""
    name = chain.chain_id
    start = ClientTrust(
        name, chain.genesis_hash, chain.checkpoints[-1].replica_set, chain.authorities
    )
    identity = open_identity(network, provider, name, READERS[name])
    return ChainClient(name, network.node_endpoints(name), identity, start, provider)


async def newest_of(client: ChainClient) -> Newest:
    """The newest certified header, and how its set follows from the client's trust."""
    header, certificate = await client.get_header(0)
    return header, certificate, client.sets.changes_to(header.epoch)


def _facts(trust: Trust) -> dict[str, Any]:
    return {
        "issuer": trust.issuer_did,
        "issuer_key": trust.issuer_key.hex(),
        "issuer_key_sm3": sm3(trust.issuer_key).hex(),
        "issued_at": trust.issued_at,
        "chains": [
            {
                "chain_id": chain.chain_id,
                "genesis_hash": chain.genesis_hash.hex(),
                "restart_authorities": chain.authorities is not None,
                "checkpoints": [
                    {
                        "epoch": point.epoch,
                        "height": point.height,
                        "header_hash": point.header_hash.hex(),
                        "set_hash": point.replica_set.hash().hex(),
                        "entities": [each.entity_name for each in point.replica_set.members],
                    }
                    for point in chain.checkpoints
                ],
            }
            for chain in trust.chains
        ],
        "observed": [
            {"name": each.name, "valid_until": each.valid_until} for each in trust.observed
        ],
    }


def _print_checkpoints(trust: Trust) -> None:
    header = (
        choose("CHAIN", "链"), choose("EPOCH", "纪元"), choose("HEIGHT", "高度"),
        choose("HEADER", "区块头"), choose("REPLICAS", "副本单位"),
    )  # fmt: skip
    print_table(
        header,
        [
            (
                shown(chain.chain_id), point.epoch, point.height, point.header_hash.hex()[:16],
                shown("、".join(each.entity_name for each in point.replica_set.members)),
            )
            for chain in trust.chains
            for point in chain.checkpoints
        ],
    )  # fmt: skip


def _show_renewal(before: Trust, after: Trust, path: Path, *, as_json: bool) -> None:
    rows = [
        {
            "chain_id": new.chain_id,
            "from_height": old.checkpoints[-1].height,
            "height": new.checkpoints[-1].height,
            "epoch": new.checkpoints[-1].epoch,
            "header_hash": new.checkpoints[-1].header_hash.hex(),
            "new_checkpoints": len(new.checkpoints) - len(old.checkpoints),
        }
        for old, new in zip(before.chains, after.chains, strict=True)
        if new.checkpoints
    ]
    if as_json:
        print_json({"trust_file": str(path), "issued_at": after.issued_at, "chains": rows})
        return
    print(choose(f"{path} written", f"已写入 {path}"))
    names = (choose("CHAIN", "链"), choose("FROM", "原高度"), choose("TO", "新高度"),
             choose("EPOCH", "纪元"), choose("NEW CHECKPOINTS", "新增检查点"))  # fmt: skip
    print_table(
        names,
        [
            (shown(row["chain_id"]), row["from_height"], row["height"], row["epoch"],
             row["new_checkpoints"])
            for row in rows
        ],
    )  # fmt: skip
