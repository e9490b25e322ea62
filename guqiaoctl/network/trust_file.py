"""Makes the network's TRUST file:

what an auditor needs besides a proof bundle, signed by the regulator.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust, encode_trust, parse_trust
from guqiaoctl.failures import CliError
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, CSRC, account
from guqiaoctl.proof_problems import in_chinese
from services.consensus.domain.ledger.genesis import genesis_header
from services.consensus.domain.ledger.genesis_json import parse_genesis

SHANGHAI: Final = timezone(timedelta(hours=8))


def ensure_trust(layout: Layout, provider: GmProvider) -> None:
    """Write the file if there is none: both chains by their genesis. Raises `CliError` where there
    is one that auditors could not use.
    """
    if layout.trust.exists():
        check_trust(layout, provider)
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


def check_trust(layout: Layout, provider: GmProvider) -> Trust:
    """What the file says; raises `CliError` unless it holds and is of this folder's chains."""
    try:
        trust = parse_trust(layout.trust.read_bytes(), provider.verify)
        known = {chain: trust.chain(chain).genesis_hash for chain in CHAINS}
    except ProofError as error:
        zh = "：".join(in_chinese(error))
        raise _of_no_use(layout, error.code, f"{error.piece}: {error.detail}", zh) from error
    for chain in CHAINS:
        if known[chain] != parse_genesis(layout.genesis(chain).read_bytes()).hash():
            en = f"{layout.trust} is of another network: it knows another genesis of {chain}"
            zh = f"{layout.trust} 属于另一个网络：其中 {chain} 的创世与本目录不同"
            raise _of_no_use(layout, "DATA_FOLDER_OTHER_NETWORK", en, zh)
    return trust


def _of_no_use(layout: Layout, code: str, text_en: str, text_zh: str) -> CliError:
    return CliError(
        code,
        text_en,
        text_zh,
        f"move {layout.trust} away, then `guqiao dev up`: it makes the file anew",
        f"请移走 {layout.trust}，再执行 `guqiao dev up`，会重新生成",
    )


def _chain_trust(layout: Layout, chain: str) -> ChainTrust:
    genesis = parse_genesis(layout.genesis(chain).read_bytes())
    header = genesis_header(genesis)
    checkpoint = Checkpoint(genesis.epoch, 0, header.hash(), genesis.replica_set)
    return ChainTrust(chain, genesis.hash(), (checkpoint,), genesis.restart_authorities)
