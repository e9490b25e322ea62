"""What came of the market's data objects, proven on both chains.

Each is on the regulatory chain as the market sent it, once, and no other is; and the local chain
holds the acknowledgement of each. Read models say what to look for; state proofs under certified
headers and verified blocks say whether it is there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from guqiao.reporting.v1 import reporting_service_pb2
from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceStub
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.packet import acknowledgement_key, commitment_key
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.demo.registration import filed_certificates
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET

if TYPE_CHECKING:
    from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceAsyncStub

PAGE_SIZE: Final = 1_000
PORT: Final = "data_object"


@dataclass(frozen=True, slots=True)
class Sent:
    """A data object that the market sent: the digest of its content and the transaction that made
    it, 32 bytes each.
    """

    version: int
    digest: bytes
    transaction_id: bytes


async def count_anchored(network: Network, provider: GmProvider) -> int:
    """Data objects that both chains prove: recorded on the regulatory chain under seals of filed
    certificates, acknowledged on the local one. Raises `DemoError` for any that is missing,
    changed, doubled, foreign or not so sealed on either.
    """
    sent = await market_objects(network, provider)
    filed = await filed_certificates(network, provider)
    supervisor = open_identity(network, provider, CSRC, "supervisor")
    async with open_chain(network, provider, CSRC, supervisor) as regulatory:
        await check_recorded(regulatory, sent, filed.keys)
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as local:
        await check_acknowledged(local, sent)
    return len(sent)


async def check_recorded(client: ChainClient, sent: Mapping[str, Sent], sealers: Set[str]) -> None:
    """The regulatory chain holds exactly these objects, each recorded once and sealed by keys among
    `sealers` (hex) alone.

    The record of each is read from the state under a certified header with a state proof, and must
    hold the same object, digest and source transaction; all of the chain's own blocks are looked
    through for what was recorded twice, or by nobody here.
    """
    height = (await client.latest()).height
    for object_id, each in sent.items():
        proven = await client.get_state_proof(f"objects/{object_id}/{each.version}", height)
        if proven.value is None:
            raise DemoError(f"{object_id} is not on the regulatory chain")
        record = json.loads(proven.value)
        if (
            data_object_digest(record["object"]) != each.digest
            or record["transaction_id"] != each.transaction_id.hex()
            or record["source"] != MARKET
        ):
            raise DemoError(f"{object_id} is on the regulatory chain with another content")
        sealed_by = {seal["pub_key"]["value"] for seal in record["object"]["header"]["seal"]}
        if not sealed_by or not sealed_by <= sealers:
            raise DemoError(f"{object_id} is not sealed by keys with a filed certificate")
    recorded = await _recorded_objects(client, height)
    if twice := [object_id for (object_id, _), times in recorded.items() if times > 1]:
        raise DemoError(f"the regulatory chain recorded {twice[0]} more than once")
    if others := recorded.keys() - {(key, each.version) for key, each in sent.items()}:
        raise DemoError(f"the regulatory chain recorded {min(others)[0]}, which nobody sent")


async def check_acknowledged(client: ChainClient, sent: Mapping[str, Sent]) -> None:
    """The local chain's state proves, for every packet that it sent, that the regulatory chain
    acknowledged it, and the acknowledgements are of exactly these objects.
    """
    height = (await client.latest()).height
    acknowledged: dict[str, Sent] = {}
    for sequence in itertools.count(1):
        packet = (CSRC, PORT, sequence)
        if (await client.get_state_proof(commitment_key(*packet), height)).value is None:
            break
        proven = await client.get_state_proof(acknowledgement_key(*packet), height)
        if proven.value is None:
            raise DemoError(f"packet {sequence} has no acknowledgement on the local chain")
        answer = json.loads(proven.value)["acknowledgement"]
        if answer["code"]:
            raise DemoError(f"packet {sequence} was acknowledged with {answer['code']}")
        acknowledged[answer["object_id"]] = Sent(
            answer["version"],
            bytes.fromhex(answer["digest"]),
            bytes.fromhex(answer["transaction_id"]),
        )
    for object_id in sent.keys() | acknowledged.keys():
        if sent.get(object_id) != acknowledged.get(object_id):
            raise DemoError(f"the local chain has no such acknowledgement of {object_id}")


async def _recorded_objects(client: ChainClient, height: int) -> Counter[tuple[str, int]]:
    """How often each version of an object was recorded, by the events of all verified blocks."""
    found: Counter[tuple[str, int]] = Counter()
    async with contextlib.aclosing(client.watch_blocks(1)) as blocks:
        async for block in blocks:
            for receipt in block.receipts:
                for event in receipt.events:
                    if event.topic == "object.recorded":
                        body = json.loads(event.body)
                        found[body["object_id"], body["version"]] += 1
            if block.height >= height:
                break
    return found


async def market_objects(network: Network, provider: GmProvider) -> dict[str, Sent]:
    """Every object that the market sent, by id."""
    maker = open_identity(network, provider, MARKET, "maker")
    found: dict[str, Sent] = {}
    async with open_service(network, provider, maker, MARKET, "reporting") as channel:
        stub: ReportingServiceAsyncStub = ReportingServiceStub(channel)
        request = reporting_service_pb2.ListDataObjectsRequest(page_size=PAGE_SIZE)
        while True:
            page = await stub.ListDataObjects(request)
            for item in page.objects:
                if not item.provenance.anchored:
                    raise DemoError(f"{item.object_id} has no acknowledgement on the local chain")
                source = item.provenance
                found[item.object_id] = Sent(
                    item.version, source.digest, source.source_transaction_id
                )
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


async def some_transfer(network: Network, provider: GmProvider, client: ChainClient) -> bytes:
    """The transaction of the first transfer that the market anchored."""
    objects = await market_objects(network, provider)
    for object_id, each in objects.items():
        if ":registration:" in object_id and await _is_transfer(client, each.transaction_id):
            return each.transaction_id
    raise DemoError("the market anchored no transfer")


async def _is_transfer(client: ChainClient, transaction_id: bytes) -> bool:
    found = await client.get_transaction(transaction_id)
    return any(event.topic == "register.transfer_recorded" for event in found.receipt.events)
