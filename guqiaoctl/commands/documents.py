"""`guqiao document area`, `grant`, `revoke`, `publish`, `erase` and `reclassify`.

A document is published as its area's tier asks: in the clear, sealed to the readers that the chain
has in force, or as a description of a body that stays in the network's own encrypted store.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.errors import DeniedError, InvalidRequestError, RefusedError
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.object_store.encrypted import BODY_BYTES_MAX
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.transaction import BODY_BYTES_MAX as ON_CHAIN_BYTES_MAX
from guqiao_sdk.proof.transaction import PAYLOAD_DEPTH_MAX
from guqiao_sdk.sealed_form import BODY_BYTES_MAX as SEALED_BYTES_MAX
from guqiao_sdk.sealed_form import SealContext
from guqiao_sdk.sealing import seal
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, failure, refused
from guqiaoctl.commands.document_state import (
    ADMINISTRATOR,
    CONTRACT,
    OPERATOR,
    Reader,
    client_of,
    did_of,
    latest,
    take,
    version_of,
    wrong,
)
from guqiaoctl.commands.governance import submit_as_governor
from guqiaoctl.input_files import read_input
from guqiaoctl.network.bodies import open_bodies
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.network.parties import OPERATOR as OWNER
from guqiaoctl.output import Progress, choose, say

SEAL_ATTEMPTS_MAX: Final = 8
"""Each after a refusal that names readers whose condition does not hold."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be published, and as what."""

    file: Path
    document: str
    area: str
    type: str
    title: str


def define_area(data: Path, area: str, tier: str, title: str) -> None:
    """Begin an area as the market's administrator."""
    _administer(data, "define_area", {"area": area, "tier": tier.upper(), "title": title})


def grant(data: Path, area: str, reader: str, purpose: str, condition: str) -> None:
    """Let a reader read in an area."""
    parsed: Json = None
    if condition:
        try:
            parsed = parse_json_strict(condition.encode(), depth_max=4, size_max=4_096)
        except JsonError as error:
            raise wrong(
                f"--condition is no JSON: {error}", f"--condition 不是 JSON：{error}"
            ) from None
    did = did_of(reader)
    body: dict[str, Json] = {"area": area, "reader": did, "purpose": purpose, "condition": parsed}
    _administer(data, "grant", body)


def revoke(data: Path, area: str, reader: str, reason: str) -> None:
    """End a reader's grant."""
    _administer(data, "revoke", {"area": area, "reader": did_of(reader), "reason": reason})


def publish(data: Path, order: Order) -> None:
    """Publish the next version of a document; prints its id and version."""
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        version = guarded(asyncio.run, _publish(network, order))
    print(f"{order.document}@{version}")


def erase(data: Path, document: str, version: int, reason: str) -> None:
    """Destroy the key of a NONPUBLIC body, remove the body, and note it on chain. Interrupted, it
    is finished by running it again.
    """
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(asyncio.run, _erase(network, document, version, reason))
    say(f"{document}@{version}: {choose('erased', '已删除')} ({result.height})")


def reclassify(data: Path, document: str, area: str, reason: str) -> None:
    """Move a document to another area, or propose to; prints the transaction's id, which is the
    proposal's.
    """
    network = load_network(data)
    body: dict[str, Json] = {"document": document, "area": area, "reason": reason}
    with Progress(choose("waiting for the chain", "等待链的结果")):
        taking = take(network, OPERATOR, ("reclassify", body))
        result = accepted(guarded(asyncio.run, taking))
    print(result.transaction_id.hex())


def approve(data: Path, document: str, proposal: str, governor: int) -> None:
    """Approve a proposed reclassification for an entity."""
    network = load_network(data)
    body: dict[str, Json] = {"document": document, "proposal": proposal.strip().lower()}
    call = (CONTRACT, "approve_reclassification", body)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(asyncio.run, submit_as_governor(network, MARKET, governor, call))
    say(f"{document}: +1 ({result.height})")


def _administer(data: Path, method: str, body: dict[str, Json]) -> None:
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        taking = take(network, ADMINISTRATOR, (method, body))
        result = accepted(guarded(asyncio.run, taking))
    say(f"{body['area']}: {method} ({result.height})")


# --- Publishing -------------------------------------------------------------------------------


async def _publish(network: Network, order: Order) -> int:
    provider = open_provider()
    async with client_of(network, provider) as client:
        reader = await latest(client)
        area = await reader.record(f"area/{order.area}")
        if area is None:
            raise failure("DOCUMENT_AREA_UNKNOWN", area=order.area)
        head = await reader.record(f"document/{order.document}")
        version = 1 if head is None else int(head["latest"]) + 1
        body: dict[str, Json] = {
            "document": order.document,
            "version": version,
            "area": order.area,
            "type": order.type,
            "title": order.title,
        }
        match area["tier"]:
            case "PUBLIC":
                body["content"] = _content(order.file)
                accepted(await take(network, OPERATOR, ("publish", body)))
            case "RESTRICTED":
                await _publish_sealed(network, provider, reader, order, body)
            case _:
                await _publish_description(network, provider, order, body)
    return version


def _content(file: Path) -> Json:
    """A text, or the object in a file that ends with .json."""
    content = read_input(file, ON_CHAIN_BYTES_MAX)
    if file.suffix == ".json":
        try:
            return parse_json_strict(
                content, depth_max=PAYLOAD_DEPTH_MAX - 2, size_max=ON_CHAIN_BYTES_MAX
            )
        except JsonError as error:
            raise wrong(f"{file}: {error}", f"{file}：{error}") from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise wrong(
            f"{file} is no text in UTF-8, and a public document stands on chain in the clear",
            f"{file} 不是 UTF-8 文本，而公开文档须以明文上链",
        ) from None


async def _publish_sealed(
    network: Network, provider: GmProvider, reader: Reader, order: Order, body: dict[str, Json]
) -> None:
    """Seal to everybody with a grant. Whose condition does not hold, the chain knows and names."""
    plaintext = read_input(order.file, SEALED_BYTES_MAX)
    version = body["version"]
    assert isinstance(version, int)
    context = SealContext(MARKET, CONTRACT, order.document, version)
    keys = await _reader_keys(reader, order.area)
    for _ in range(SEAL_ATTEMPTS_MAX):
        if not keys:
            raise wrong(
                f"nobody may read in the area {order.area} now; grant somebody first",
                f"区域 {order.area} 当前没有读者；请先授权",
            )
        body["sealed"] = seal(provider, plaintext, keys, context).to_json()
        result = await take(network, OPERATOR, ("publish", body))
        surplus = result.detail.get("surplus")
        if result.code != "DOCUMENT_READERS_OTHER" or result.detail["missing"] or not surplus:
            break
        assert isinstance(surplus, list), "the contract wrote it"
        keys = {did: key for did, key in keys.items() if did not in surplus}
    accepted(result)


async def _reader_keys(reader: Reader, area: str) -> dict[str, bytes]:
    """Who has a grant that was not revoked, with the newest key that is in force."""
    record = await reader.record(f"area/{area}")
    assert record is not None, "it was there at this height"
    found: dict[str, bytes] = {}
    for number in range(1, int(record["grants"]) + 1):
        granted = await reader.record(f"grant/{area}/{number:020d}")
        assert granted is not None, "grants are kept for ever"
        if granted["revoked"] is None:
            did = str(granted["reader"])
            identity = await reader.record(f"did/{did}", "identity")
            if identity is not None and identity["active"]:
                found[did] = _key_in_force(did, identity["keys"], reader.block_time_ms)
    return found


def _key_in_force(did: str, keys: dict[str, Any], now_ms: int) -> bytes:
    usable = [
        key
        for key in keys.values()
        if not key["revoked"] and key["not_before_ms"] <= now_ms <= key["not_after_ms"]
    ]
    if not usable:
        raise failure("DOCUMENT_KEY_NOT_OF_READER", reader=did)
    newest = max(usable, key=lambda key: (key["not_before_ms"], key["public_key"]))
    return bytes.fromhex(newest["public_key"])


async def _publish_description(
    network: Network, provider: GmProvider, order: Order, body: dict[str, Json]
) -> None:
    """Keep the body first, then describe it on chain. What is refused is erased again; where the
    answer is not known the body stays, for the transaction may be final.
    """
    bodies = open_bodies(network, provider, MARKET)
    described = await bodies.put(read_input(order.file, BODY_BYTES_MAX))
    body["digest"], body["size"] = described.digest.hex(), described.size
    body["owner"], body["reference"] = OWNER.did, described.reference
    try:
        result = await take(network, OPERATOR, ("publish", body))
    except (RefusedError, DeniedError, InvalidRequestError):  # Before it was ordered.
        await bodies.erase(described.reference)
        raise
    if not result.accepted:
        await bodies.erase(described.reference)
        raise refused(result)


# --- Erasing ----------------------------------------------------------------------------------


async def _erase(network: Network, document: str, version: int, reason: str) -> TransactionResult:
    """What the chain would refuse is found out before anything is destroyed; then the key goes
    first: the chain never says that something is erased which still opens.
    """
    provider = open_provider()
    async with client_of(network, provider) as client:
        found = await version_of(await latest(client), document, version)
    if found["tier"] != "NONPUBLIC":
        raise failure("DOCUMENT_NOT_ERASABLE", document=document)
    await open_bodies(network, provider, MARKET).erase(found["reference"])
    body: dict[str, Json] = {"document": document, "version": version, "reason": reason}
    return accepted(await take(network, OPERATOR, ("note_erasure", body)))
