"""`guqiao register certificate`: a holding certified by the institution, proven by the chain.

The read model says which pledges and freezes to ask for; that it forgot none is proven with the
rest. Each call is signed and audited, at the registry and at the replica that answers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.register_papers.certificate import Certificate, build_certificate
from guqiao_sdk.register_papers.proven import Listing, holding_key, holdings_of
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.certificate_page import page_of
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.commands.register import fetch_encumbrances
from guqiaoctl.commands.register_papers import fetch_proofs, open_reader, open_seal
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.output import Progress, choose, say
from guqiaoctl.result_files import whole_file


def certificate(
    data: Path, product: str, account: str, height: int, *, to: Path, page: Path | None
) -> None:
    """Write the certificate of what an account holds of a product at a height, 0 the latest that
    is projected, and a page for a person where `page` names one.
    """
    network = load_network(data)
    with whole_file(to) as write, whole_file(page) as write_page:
        made = guarded(_make, network, product, account, height)
        write(made.encode())
        write_page(page_of(made).encode())
    say(f"{to}: {made.number} {made.code}")


def _make(network: Network, product: str, account: str, height: int) -> Certificate:
    provider = open_provider()
    seal = open_seal(network, provider)

    async def fetch() -> Certificate:
        listed = await fetch_encumbrances(network, product, height)
        outstanding = [
            row for row in listed.rows if row.account == account and row.effective + row.waiting
        ]
        async with open_reader(network, provider) as client:
            held = await client.get_state_proof(holding_key(product, account), listed.height)
            holdings = holdings_of({held.key: held.value}, product, account)
            if not holdings:
                raise failure("HOLDING_UNKNOWN")
            full = {(account, row.nature) for row in holdings if row.frozen == row.total}
            waiting = {(account, row.nature) for row in outstanding if row.waiting}
            numbers = frozenset((row.kind, row.number) for row in outstanding)
            listing = Listing(product, frozenset([account]), numbers, frozenset(full | waiting))
            keys = listing.keys()
            with Progress(choose("proofs", "状态证明"), len(keys) + 1) as progress:
                proofs = await fetch_proofs(client, keys, seal.signer, listed.height, progress.show)
        return build_certificate(account, listing, proofs, seal)

    return asyncio.run(fetch())
