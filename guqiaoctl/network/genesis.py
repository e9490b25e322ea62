"""Builds the two genesis files of the network: who votes, who may act, which contracts are active.

The local chain's genesis names the regulatory chain by its genesis hash. The regulatory chain
learns of a local chain by its registration, as of every market's chain (SM-1, G2-10-1): two hashes
cannot name each other.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.working_days import published
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Layout, replica_names
from guqiaoctl.network.parties import ACCOUNTS, CHAINS, CSRC, ENTITIES, MARKET, REPLICAS, Account
from guqiaoctl.network.pki import ensure_key
from guqiaoctl.output import choose
from services.consensus.domain.contracts.calendar import NAME as CALENDAR
from services.consensus.domain.contracts.calendar import YEARS_PARAMETER
from services.consensus.domain.contracts.deployed import CONTRACTS as DEPLOYMENTS
from services.consensus.domain.contracts.deployed import GAS_PARAMETER, PRESENT_GAS
from services.consensus.domain.ledger.genesis import RemoteChain
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.store.errors import IdentityDamagedError, OtherNetworkError
from services.consensus.store.folder import read_identity

KEY_ID: Final = "k1"
KEY_LIFE_MS: Final = 10 * 365 * 86_400_000
PARAMETERS: Final = {
    "window": 8,
    "batch_transactions_max": 500,
    "batch_bytes_max": 2 * 1024 * 1024,
    "heartbeat_ms": 5_000,
    "view_timeout_ms": 1_000,
    "view_timeout_max_ms": 8_000,
    "clock_bound_ms": 10_000,
    "snapshot_interval": 1_000,
}
COMMON_CONTRACTS: Final = (
    "identity",
    "governance",
    "evidence",
    "light_client",
    "packets",
    "contracts",
)
VERSIONS: Final = {
    "calendar": 2,
    "chains": 4,
    "contracts": 5,
    "documents": 2,
    "evidence": 2,
    "light_client": 4,
    "notices": 3,
    "objects": 2,
    "observed": 2,
    "packets": 5,
    "register": 5,
    "templates": 2,
}
"""What a new chain begins with, where that is not version 1."""
RESTART_AUTHORITIES: Final = ("csrc", "province")
CONTRACTS: Final = {
    CSRC: (
        *COMMON_CONTRACTS,
        *("calendar", "chains", "notices", "objects", "observed", "services", "templates"),
    ),
    MARKET: (*COMMON_CONTRACTS, "calendar", "register", "documents"),
}


def ensure_genesis(
    layout: Layout,
    provider: GmProvider,
    report: Callable[[str], None],
    heartbeat: int | None = None,
) -> None:
    """Make both genesis files if there are none; they are never changed. What light clients start
    from follows from them. Raises `CliError` as `is_founded` does, and where chains that are
    founded have another `heartbeat` (seconds).
    """
    if is_founded(layout):
        _require_heartbeat(layout, heartbeat)
    else:
        _make_genesis(layout, provider, heartbeat)
        report(choose("two genesis files made", "已生成两条链的创世文件"))
    for chain in CHAINS:
        if not layout.chain_trust(chain).exists():
            _write_json(layout.chain_trust(chain), remote_chain(layout, chain))


def _require_heartbeat(layout: Layout, heartbeat: int | None) -> None:
    if heartbeat is None:
        return
    for chain in CHAINS:
        found = parse_genesis(layout.genesis(chain).read_bytes()).parameters.heartbeat_ms
        if found != heartbeat * 1_000:
            raise CliError(
                "REQUEST_MALFORMED",
                f"the chain {chain} was founded with a heartbeat of {found / 1_000:g} s",
                f"链 {chain} 创建时的空闲出块间隔为 {found / 1_000:g} 秒",
                "leave --heartbeat out, or found another network in another folder (--data)",
                "请去掉 --heartbeat，或用 --data 在另一目录创建新网络",
                exit_code=EXIT_USAGE,
            )


def is_founded(layout: Layout) -> bool:
    """Whether both genesis files are there. Raises `CliError` where one is gone and a replica has
    data: new ones would be another network's, and would replace the one that is left.
    """
    gone = [path for path in map(layout.genesis, CHAINS) if not path.exists()]
    if gone and any((layout.process(name) / "data").exists() for name in replica_names()):
        raise CliError(
            "GENESIS_INVALID",
            f"{gone[0]} is missing, and the replicas hold chains that began with it",
            f"缺少 {gone[0]}，而副本中已有由其创建的链",
            "put it back from a backup; nothing can replace it",
            "请从备份恢复该文件；它无法重新生成",
            exit_code=EXIT_USAGE,
        )
    return not gone


def check_genesis(layout: Layout) -> None:
    """Raise `CliError`, `GenesisError` or `OtherNetworkError` unless both genesis files belong
    together, to what light clients start from, and to the data of every replica that has some.
    """
    genesis = {chain: parse_genesis(layout.genesis(chain).read_bytes()) for chain in CHAINS}
    for chain in CHAINS:
        try:
            found = json.loads(layout.chain_trust(chain).read_bytes())
        except ValueError:
            found = None
        if found != remote_chain(layout, chain):
            raise _not_together(layout.chain_trust(chain), layout.genesis(chain))
        for number in range(REPLICAS):
            folder = layout.process(f"{chain}-{number}") / "data"
            with contextlib.suppress(FileNotFoundError, IdentityDamagedError):
                # A damaged one is the replica's to repair.
                owner = read_identity(folder, genesis[chain]).owner
                if owner.replica != number:
                    expected = str(replace(owner, replica=number))
                    raise OtherNetworkError(folder, found=str(owner), expected=expected)
    known = {remote.chain_id: remote.genesis_hash for remote in genesis[MARKET].remote_chains}
    if known != {CSRC: genesis[CSRC].hash()}:
        raise _not_together(layout.genesis(MARKET), layout.genesis(CSRC))


def key_problems(layout: Layout, provider: GmProvider) -> Iterator[CliError]:
    """Yield what is wrong with the key file of each account and restart authority: it has to hold
    the key that the genesis files name.
    """
    known: dict[Path, bytes] = {}
    for chain in CHAINS:
        genesis = parse_genesis(layout.genesis(chain).read_bytes())
        of = {each.did: each.keys[KEY_ID].public_key for each in genesis.identities}
        for account in ACCOUNTS:
            if account.did in of:
                path = layout.account(account.organisation.domain, account.name)
                known[path] = of[account.did]
        for name in RESTART_AUTHORITIES if genesis.restart_authorities else ():
            known[layout.restart_authority(name)] = getattr(genesis.restart_authorities, name)
    for path, key in known.items():
        try:
            if load_private_key(path, provider).public_key == key:
                continue
            texts = "it is not the key that the chain knows", "与链上登记的密钥不符"
        except KeyFileError as error:
            texts = error.en, error.zh
        yield CliError(
            KeyFileError.code,
            f"{path}: {texts[0]}",
            f"{path}：{texts[1]}",
            "put it back from a backup: nobody can act for its owner without it",
            "请从备份恢复：没有该密钥，任何人都无法代其所有者操作",
            exit_code=EXIT_USAGE,
        )


def _not_together(path: Path, other: Path) -> CliError:
    return CliError(
        "DATA_FOLDER_OTHER_NETWORK",
        f"{path} does not belong to {other}",
        f"{path} 与 {other} 不属于同一个网络",
        f"put back the folder {path.parent} that was made with this network",
        f"请恢复本网络创建时的目录 {path.parent}",
    )


def _make_genesis(layout: Layout, provider: GmProvider, heartbeat: int | None) -> None:
    for account in ACCOUNTS:
        ensure_key(layout.account(account.organisation.domain, account.name), provider)
    replicas = {chain: _replicas(layout, chain, provider) for chain in CHAINS}
    now_ms = time.time_ns() // 1_000_000
    remote: list[dict[str, Any]] = []
    for chain in CHAINS:  # the regulatory chain first
        layout.chain_trust(chain).unlink(missing_ok=True)  # Of an attempt that was cut off.
        genesis = _genesis(layout, chain, replicas, now_ms, provider) | {"remote_chains": remote}
        if heartbeat is not None:
            genesis["parameters"] = {**PARAMETERS, "heartbeat_ms": heartbeat * 1_000}
        _write_json(layout.genesis(chain), genesis)
        remote = [remote_chain(layout, chain)]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def remote_chain(layout: Layout, chain: str) -> dict[str, Any]:
    """What another chain's light client starts from: genesis hash, epoch and replica set."""
    genesis = parse_genesis(layout.genesis(chain).read_bytes())
    trust: dict[str, Any] = RemoteChain(
        chain, genesis.hash(), genesis.replica_set, genesis.restart_authorities
    ).to_json()
    return trust


def _genesis(
    layout: Layout,
    chain: str,
    replicas: dict[str, list[dict[str, Any]]],
    now_ms: int,
    provider: GmProvider,
) -> dict[str, Any]:
    return {
        "format": "guqiao-genesis/1",
        "chain_id": chain,
        "epoch": 0,
        "genesis_time_ms": now_ms,
        "historic_import": chain == MARKET,
        "destination": CSRC if chain == MARKET else None,
        "replicas": replicas[chain],
        "restart_authorities": {
            name: ensure_key(layout.restart_authority(name), provider).public_key.hex()
            for name in RESTART_AUTHORITIES
        },
        "parameters": PARAMETERS,
        "contracts": [_activation(name) for name in CONTRACTS[chain]],
        "identities": [
            _identity(layout, account, chain, now_ms, provider)
            for account in ACCOUNTS
            if chain in account.roles
        ],
    }


def _activation(name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "version": VERSIONS.get(name, 1), "from_height": 0}
    if name == CALENDAR:
        years = published().years
        entry["parameters"] = {
            YEARS_PARAMETER: {str(year): each.to_json() for year, each in years.items()}
        }
    if name == DEPLOYMENTS:
        entry["parameters"] = {GAS_PARAMETER: PRESENT_GAS.to_json()}
    return entry


def _replicas(layout: Layout, chain: str, provider: GmProvider) -> list[dict[str, Any]]:
    found = []
    for number in range(REPLICAS):
        key = ensure_key(layout.process(f"{chain}-{number}") / "vote.key", provider)
        entity = ENTITIES[chain][number]
        found.append(
            {
                "entity_id": entity.uscc,
                "entity_name": entity.name,
                "vote_key": key.public_key.hex(),
            }
        )
    return found


def _identity(
    layout: Layout, account: Account, chain: str, now_ms: int, provider: GmProvider
) -> dict[str, Any]:
    key = ensure_key(layout.account(account.organisation.domain, account.name), provider)
    return {
        "did": account.did,
        "organisation": account.organisation.did,
        "roles": sorted(account.roles[chain]),
        "keys": [
            {
                "id": KEY_ID,
                "public_key": key.public_key.hex(),
                "not_before_ms": now_ms - 600_000,
                "not_after_ms": now_ms + KEY_LIFE_MS,
            }
        ],
    }
