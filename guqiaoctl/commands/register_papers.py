"""What the papers of the register have in common: the institution that signs them, the state that
proves them, read from the chain and verified.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.extract import Extract
from guqiao_sdk.register_papers.export import divided
from guqiao_sdk.register_papers.history import History
from guqiao_sdk.register_papers.institution import Seal, Signer
from guqiao_sdk.register_papers.proven import identity_key
from guqiaoctl.commands.extracts import READER, fetch_extract
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.network.trust_file import SHANGHAI
from guqiaoctl.options import HEIGHT_MAX

INSTITUTION: Final = "institution"
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HEIGHT: Final = re.compile(r"[0-9]{1,19}")
OnCount = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class At:
    """Of which block a paper is: the one of a height, else the last before a time (Unix
    milliseconds), else the latest.
    """

    height: int | None = None
    before_ms: int | None = None


def parse_at(text: str) -> At:
    """Read `--at`: empty, a height, or a day (YYYY-MM-DD), at the end of which it is in Shanghai.
    Raises `CliError`.
    """
    if not text:
        return At()
    if _HEIGHT.fullmatch(text) and 0 < int(text) <= HEIGHT_MAX:
        return At(height=int(text))
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
        if day is not None:
            end = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI) + timedelta(days=1)
            return At(before_ms=int(end.timestamp()) * 1000)
    except (ValueError, OverflowError):
        pass  # A day that no calendar has: refused below.
    raise CliError(
        "REQUEST_MALFORMED",
        f"--at {text} is neither a height nor a day",
        f"--at {text} 既不是高度也不是日期",
        "give a height from 1 on, or a day as YYYY-MM-DD",
        "请给出不小于 1 的高度，或 YYYY-MM-DD 形式的日期",
        exit_code=EXIT_USAGE,
    )


def open_seal(network: Network, provider: GmProvider) -> Seal:
    """The registration institution of the market, which signs papers of the register."""
    identity = open_identity(network, provider, MARKET, INSTITUTION)
    key = identity.private_key
    signer = Signer(identity.did, identity.key_id, key.public_key)
    return Seal(signer, lambda message: provider.sign(key, message))


@asynccontextmanager
async def open_reader(network: Network, provider: GmProvider) -> AsyncIterator[ChainClient]:
    """Who reads the register for a paper: each of its calls is audited under this account."""
    identity = open_identity(network, provider, MARKET, READER)
    async with open_chain(network, provider, MARKET, identity) as client:
        yield client


async def read_history(
    client: ChainClient, product: str, at: At, on_block: OnCount = lambda height: None
) -> tuple[History, int]:
    """The history of a product from the chain's first block to the one asked for, and its height.
    Raises `CliError` where the chain has no such block, or the product is not registered there.
    """
    history, height = History(product), 0
    latest = (await client.latest()).height
    last = latest if at.height is None else at.height
    if not 0 < last <= latest:
        raise _no_block(latest)
    blocks = client.watch_blocks(1)
    try:
        async for block in blocks:
            if at.before_ms is not None and block.header.block_time_ms >= at.before_ms:
                break
            history.apply(block)
            height = block.height
            on_block(height)
            if height == last:
                break
    finally:
        await blocks.aclose()
    if not height:
        raise _no_block(latest)
    return history, height


async def fetch_proofs(
    client: ChainClient,
    keys: Sequence[str],
    signer: Signer,
    height: int,
    on_proof: OnCount = lambda done: None,
) -> list[Extract]:
    """What the chain proves under the keys at a height, and that the signer is whom it says."""
    extracts: list[Extract] = []
    done = 0
    for part in divided([*keys, identity_key(signer.did)]):
        told = partial(_told_from, on_proof, done)
        extracts.append(await fetch_extract(client, part, height, told))
        done += len(part)
    return extracts


def _told_from(on_proof: OnCount, before: int, count: int) -> None:
    """Of the extract under way `count` are proven, of all those before it `before`."""
    on_proof(before + count)


def _no_block(latest: int) -> CliError:
    return CliError(
        "HEIGHT_UNKNOWN",
        f"the chain has no such block; its latest is {latest}",
        f"链上没有这样的区块；最新高度为 {latest}",
        "name a height or a day that the chain has reached",
        "请指定链已到达的高度或日期",
        exit_code=EXIT_NOT_FOUND,
    )
