"""`guqiao register extract`: what an account holds of products, or that it holds nothing, proven.

The file needs no trust in who wrote it: `guqiao verify` holds it against a trust file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.bundle import CertifiedHeader
from guqiao_sdk.proof.extract import FACTS_MAX, Extract, Fact
from guqiao_sdk.proof.state_proof import StateProof
from guqiao_sdk.register_papers.proven import holding_key
from guqiaoctl.commands.calls import guarded
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, say
from guqiaoctl.result_files import whole_file

READER: Final = "maker"


def extract(data: Path, account: str, products: Sequence[str], height: int, to: Path) -> None:
    """Write the extract of an account's holdings at a height, 0 the latest."""
    keys = sorted({holding_key(product, account) for product in products})
    if not 0 < len(keys) <= FACTS_MAX:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{len(keys)} products; an extract is of 1 to {FACTS_MAX}",
            f"共 {len(keys)} 个产品；一份摘录含 1 至 {FACTS_MAX} 个",
            "name the products with --product; repeat it for several",
            "请用 --product 指定产品，可多次使用",
            exit_code=EXIT_USAGE,
        )
    network = load_network(data)

    async def fetch() -> Extract:
        provider = open_provider()
        identity = open_identity(network, provider, MARKET, READER)
        async with open_chain(network, provider, MARKET, identity) as client:
            return await fetch_extract(client, keys, height, progress.show)

    proofs = choose("proofs", "状态证明")
    with whole_file(to) as write, Progress(proofs, len(keys)) as progress:
        found = guarded(asyncio.run, fetch())
        write(found.encode())
    say(f"{to}: {found.certified.header.chain_id} {found.certified.header.height}")


async def fetch_extract(
    client: ChainClient,
    keys: Sequence[str],
    height: int,
    on_fact: Callable[[int], object] = lambda done: None,
) -> Extract:
    """What the chain proves under keys that ascend, all at one height, verified."""
    facts: list[Fact] = []
    first = await client.get_state_proof(keys[0], height)
    for name in keys:
        at = first.header.height
        proven = first if name == keys[0] else await client.get_state_proof(name, at)
        facts.append(Fact(proven.key, proven.value, StateProof.decode(proven.message.proof)))
        on_fact(len(facts))
    changes = client.sets.changes_to(first.header.epoch)
    start = client.trust.replica_set
    certified = CertifiedHeader.build(start, first.header, first.certificate, changes)
    return Extract(certified, tuple(facts))
