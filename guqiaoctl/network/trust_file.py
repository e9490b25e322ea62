"""Makes the network's TRUST file:

what an auditor needs besides a proof bundle, signed by the regulator.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust, encode_trust
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, CSRC, account
from services.consensus.domain.ledger.genesis import genesis_header
from services.consensus.domain.ledger.genesis_json import parse_genesis

SHANGHAI: Final = timezone(timedelta(hours=8))


def ensure_trust(layout: Layout, provider: GmProvider) -> None:
    """Write the file if there is none: both chains by their genesis."""
    if layout.trust.exists():
        return
    issuer = account(CSRC, "admin")
    key = load_private_key(layout.account(CSRC, "admin"), provider)
    trust = Trust(
        issuer_did=issuer.did,
        issuer_key=key.public_key,
        issued_at=datetime.now(SHANGHAI).isoformat(timespec="seconds"),
        chains=tuple(_chain_trust(layout, chain) for chain in CHAINS),
    )
    write_file(layout.trust, encode_trust(trust, lambda data: provider.sign(key, data)))


def _chain_trust(layout: Layout, chain: str) -> ChainTrust:
    genesis = parse_genesis(layout.genesis(chain).read_bytes())
    header = genesis_header(genesis)
    checkpoint = Checkpoint(genesis.epoch, 0, header.hash(), genesis.replica_set)
    return ChainTrust(chain, genesis.hash(), (checkpoint,), genesis.restart_authorities)
