"""`guqiao document show`, `open` and `trace`: what the chain proves of a document, and reading it.

Whoever opens something that is not public is written down on chain first, with the answer; only
what the chain allowed is decrypted or fetched after that (requirements section 9).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiao_sdk.sealed_form import SealContext, parse_sealed
from guqiao_sdk.sealing import open_sealed
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import VALUE_BYTES_MAX, accepted, failure
from guqiaoctl.commands.document_state import (
    CONTRACT,
    Reader,
    client_of,
    known_account,
    latest,
    version_key,
    version_of,
)
from guqiaoctl.network.bodies import open_bodies
from guqiaoctl.network.clients import open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
from guqiaoctl.result_files import whole_file

READ_TOPIC: Final = "documents.read"
EVENT_DEPTH_MAX: Final = 8
TRACED: Final = (
    *("number", "time_ms", "height", "actor", "version", "purpose", "grant", "result", "code"),
)
SHOWN: Final = (
    *("document", "version", "area", "tier", "type", "title", "digest", "size", "owner"),
    *("reference", "readers", "erased", "maker", "checker", "height", "transaction_id"),
)


def show(data: Path, document: str, version: int, *, as_json: bool) -> None:
    """Show a version, the latest where 0 is asked for, as the chain's state proves it."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        record = guarded(asyncio.run, _version(network, document, version))
    if as_json:
        print_json(record)
        return
    for name in SHOWN:
        if name in record:
            print(f"{name}: {shown(record[name])}")


def open_document(
    data: Path, document: str, version: int, *, account: str, purpose: str, to: Path
) -> None:
    """Read a version in the name of an account, and write it to a file or standard output."""
    network = load_network(data)
    known_account(account)
    with whole_file(to) as write:
        with Progress(choose("waiting for the chain", "等待链的结果")):
            number, content = guarded(
                asyncio.run, _open(network, document, version, account, purpose)
            )
        write(content)
    say(choose(f"access {number} is on chain", f"访问记录 {number} 已上链"))


def trace(data: Path, document: str, *, as_json: bool) -> None:
    """Show every attempt to read a document, proven: who, when, why, by which grant, what came."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        records = guarded(asyncio.run, _trace(network, document))
    if as_json:
        print_json(records)
        return
    print_table(
        [name.upper() for name in TRACED],
        [[shown(record[name]) for name in TRACED] for record in records],
    )


async def _trace(network: Network, document: str) -> list[dict[str, Any]]:
    async with client_of(network, open_provider()) as client:
        reader = await latest(client)
        count = await reader.value(f"traced/{document}")
        found = []
        for place in range(1, (count if type(count) is int else 0) + 1):
            number = await reader.value(f"trace/{document}/{place:020d}")
            assert type(number) is int, "the contract wrote it"
            record = await reader.record(f"audit/{number:020d}")
            assert record is not None, "records are kept for ever"
            found.append(record)
    return found


async def _version(network: Network, document: str, version: int) -> Mapping[str, Any]:
    async with client_of(network, open_provider()) as client:
        return await version_of(await latest(client), document, version)


async def _open(
    network: Network, document: str, version: int, account: str, purpose: str
) -> tuple[int, bytes]:
    """The number of the audit record, and the content that it allows to release."""
    provider = open_provider()
    async with client_of(network, provider, account) as client:
        record, height = await _allowed(client, document, version, purpose)
    async with client_of(network, provider) as client:
        found = await Reader(client, height).record(version_key(document, version))
    assert found is not None, "the chain allowed to read it"
    return int(str(record["number"])), await _content(network, provider, found, account)


async def _allowed(
    client: ChainClient, document: str, version: int, purpose: str
) -> tuple[Mapping[str, Json], int]:
    """The proven audit record of this attempt and its height, or the failure that it tells."""
    body: dict[str, Json] = {"document": document, "version": version, "purpose": purpose}
    result = accepted(await client.call(CONTRACT, "read", body))
    proven = await client.get_transaction(result.transaction_id)
    event = next(each for each in proven.receipt.events if each.topic == READ_TOPIC)
    record = parse_json_strict(event.body, depth_max=EVENT_DEPTH_MAX, size_max=VALUE_BYTES_MAX)
    assert isinstance(record, dict), "the contract wrote it"
    if record["result"] != "allow":
        raise failure(str(record["code"]), document=document)
    return record, result.height


async def _content(
    network: Network, provider: GmProvider, found: Mapping[str, Any], account: str
) -> bytes:
    match found["tier"]:
        case "PUBLIC":
            content = found["content"]
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            return text.encode()
        case "RESTRICTED":
            identity = open_identity(network, provider, MARKET, account)
            context = SealContext(MARKET, CONTRACT, found["document"], found["version"])
            sealed = parse_sealed(found["sealed"])
            return open_sealed(provider, identity.did, identity.private_key, sealed, context)
        case _:
            bodies = open_bodies(network, provider, MARKET)
            return await bodies.get(found["reference"], bytes.fromhex(found["digest"]))
