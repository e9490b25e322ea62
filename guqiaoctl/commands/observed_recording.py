"""`guqiao observed begin|consent|replace|recorded`: what regulators decide about a chain that is
read from outside, and what the regulatory chain has recorded of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.observed_chains import acknowledgement, observed_client
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.fisco.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    checkpoint_value,
    parse_checkpoint,
)
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.observed_state import CONTRACT
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, failure, submit
from guqiaoctl.commands.governance import READERS
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, shown


@dataclass(frozen=True, slots=True)
class _Signers:
    """Whose accounts sign."""

    domain: str
    maker: str
    checker: str | None


_BOTH_SIDES: Final = _Signers(CSRC, "market", "tech")
_PROVINCE: Final = _Signers(MARKET, "province", None)
_SIGNERS: Final = {"begin": _BOTH_SIDES, "consent": _PROVINCE, "replace": _BOTH_SIDES}


def decide(data: Path, method: str, chain: str, checkpoint: Path) -> None:
    """Take a step on the regulatory chain in the name of those whose it is; raises `CliError`."""
    trusted = guarded(parse_checkpoint, read_input(checkpoint, CHECKPOINT_BYTES_MAX))
    body: dict[str, Json] = {"chain": chain, "checkpoint": checkpoint_value(trusted)}
    network, signers = load_network(data), _SIGNERS[method]
    sent = submit(
        network,
        CSRC,
        (CONTRACT, method, body),
        maker=signers.maker,
        checker=signers.checker,
        domain=signers.domain,
    )
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = accepted(guarded(asyncio.run, sent))
    print_table((choose("STEP", "步骤"), "HEIGHT"), [(method, str(result.height))])


def recorded(data: Path, chain: str, height: int, *, as_json: bool) -> None:
    """Print what is recorded of a chain, or of one of its heights; raises `CliError`."""
    with Progress(choose("asking the chain", "查询链")):
        told = guarded(asyncio.run, _recorded(data, chain, height))
    if as_json:
        print_json(told)
        return
    print_table(
        (choose("RECORDED", "已记录"), ""),
        [(name, shown(str(value))) for name, value in told.items()],
    )


async def _recorded(data: Path, chain: str, height: int) -> dict[str, Any]:
    network, provider = load_network(data), open_provider()
    identity = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, identity) as client:
        found = await observed_client(client, chain)
        if found is None:
            raise failure("CLIENT_UNKNOWN", chain=chain)
        told: dict[str, Any] = {
            "chain": chain,
            "status": found.status,
            "generation": found.generation,
            "height": height or found.trusted.number,
        }
        if not height:
            hashed = {"header_hash": found.trusted.header_hash.hex()}
            return {**told, **hashed, "recorded_height": found.recorded_height}
        kept = await acknowledgement(client, chain, found.generation, height)
        if kept is None:
            latest = found.trusted.number
            raise failure("HEIGHT_UNKNOWN", chain=chain, height=height, latest=latest)
        return {**told, **kept}
