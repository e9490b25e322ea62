"""The node RPC of a running chain: what a client can prove, who may read what, which starts are
refused.

One chain of processes serves all tests here; none of them harms it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1.node_service_pb2_grpc import NodeServiceStub
from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.keys import ChainKeyDirectory
from guqiao_sdk.errors import DeniedError, NotFoundError, error_from_rpc
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.rules import messages
from guqiao_sdk.signing import RequestSigner
from services.chassis.grpc_server.ports import KeyRecord
from tests.integration.node.test_chain_processes import registration
from tests.plugins.chain_network import ADMIN, OBSERVER, ROOT, ChainNetwork

OUTSIDER = "outsider"
SERVICE = "/guqiao.consensus.v1.NodeService/"

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainNetwork]:
    roles = {ADMIN: ("identity_admin",), OBSERVER: ("observer",), OUTSIDER: ("visitor",)}
    network = ChainNetwork.create(tmp_path_factory.mktemp("chain"), roles=roles)
    network.start()
    try:
        asyncio.run(network.wait_ready())
        yield network
    finally:
        asyncio.run(network.close())


@pytest.fixture
async def network(processes: ChainNetwork) -> AsyncIterator[ChainNetwork]:
    """The chain at work, whose clients end with the loop of the test that opened them."""
    yield processes
    while processes.clients:
        await processes.clients.pop().close()


@pytest.mark.req("G2-09-3", "G2-09-4", "G2-07-3")
async def test_a_client_proves_what_it_is_told_and_reads_only_what_it_may(
    network: ChainNetwork,
) -> None:
    """One chain, one transaction, every way of reading it."""
    admin, observer = network.client(ADMIN), network.client(OBSERVER)
    outsider = network.client(OUTSIDER)
    result = await admin.submit(await registration(admin, network, "reader"))
    assert result.outcome is Outcome.APPLIED
    await every_replica_holds(network, result.height)

    await the_result_is_proven(observer, result.transaction_id, result.height)
    await state_is_proven_present_and_absent(observer, admin.signer.organisation)
    await who_may_not_read_is_refused(network, outsider, result.height, result.transaction_id)
    await a_false_trust_is_not_satisfied(network, result.height)
    await unsigned_and_misdirected_calls_are_refused(network)
    await the_key_directory_knows_the_new_key(network, observer)


async def every_replica_holds(network: ChainNetwork, height: int) -> None:
    """One that lags would not find what it is asked about below."""
    for number in range(len(network.replicas)):
        replica = network.client(OBSERVER, endpoints=[network.endpoint(number)])
        async with asyncio.timeout(60):
            while (await replica.latest()).height < height:  # noqa: ASYNC110 - remote state
                await asyncio.sleep(0.05)


async def the_result_is_proven(client: ChainClient, transaction_id: bytes, height: int) -> None:
    proven = await client.get_transaction(transaction_id)
    assert proven.header.height == height
    assert proven.transaction.id() == transaction_id
    block = await client.get_block(height)
    assert transaction_id in {entry.id() for entry in block.transactions}
    assert (await client.latest()).height >= height
    with pytest.raises(NotFoundError) as unknown:
        await client.get_transaction(bytes(32))
    assert unknown.value.code == "TRANSACTION_UNKNOWN"
    with pytest.raises(NotFoundError) as beyond:
        await client.get_header(10**6)
    assert beyond.value.code == "HEIGHT_UNKNOWN"
    async with asyncio.timeout(20):
        async for watched in client.watch_blocks(1):
            if watched.height == height:
                break


async def state_is_proven_present_and_absent(client: ChainClient, organisation: str) -> None:
    present = await client.get_state_proof(f"identity/did/{organisation}.reader")
    assert present.value is not None
    absent = await client.get_state_proof(f"identity/did/{organisation}.nobody")
    assert absent.value is None


async def who_may_not_read_is_refused(
    network: ChainNetwork, outsider: ChainClient, height: int, transaction_id: bytes
) -> None:
    for reading in (
        outsider.get_block(height),
        outsider.get_transaction(transaction_id),
        outsider.get_state_proof("identity/parameters"),
        outsider.get_identity(outsider.signer.did),
        network.client(ADMIN).get_block(height),
    ):
        with pytest.raises(DeniedError) as refused:
            await reading
        assert refused.value.code == "ROLE_MISSING"


async def a_false_trust_is_not_satisfied(network: ChainNetwork, height: int) -> None:
    """The same chain, but a client that trusts other vote keys: nothing is accepted."""
    members = tuple(
        replace(member, public_key=network.provider.keygen().public_key)
        for member in network.trust.replica_set.members
    )
    other = ReplicaSet(network.chain_id, 0, members)
    client = network.client(OBSERVER, trust=replace(network.trust, replica_set=other))
    with pytest.raises(ProofError):
        await client.get_block(height)
    with pytest.raises(ProofError):
        await client.latest()


async def unsigned_and_misdirected_calls_are_refused(network: ChainNetwork) -> None:
    identity = network.identities[OBSERVER]
    target = f"127.0.0.1:{network.replicas[0].grpc_port}"
    signer = RequestSigner(
        identity.did,
        identity.key_id,
        identity.private_key,
        network.provider,
        network.chain_id,
        "consensus/1",  # Replica 0 is asked with a signature for replica 1.
    )
    for used, code in ((None, "REQUEST_UNSIGNED"), (signer, "REQUEST_SIGNATURE_INVALID")):
        async with open_channel(target, used) as channel:
            stub = NodeServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetNetworkStatus(node.GetNetworkStatusRequest(), timeout=10)
            assert error_from_rpc(refused.value).code == code


async def the_key_directory_knows_the_new_key(network: ChainNetwork, client: ChainClient) -> None:
    directory = ChainKeyDirectory(client, KeyRecord)
    admin = network.identities[ADMIN]
    record = await directory.find(f"{admin.organisation}.reader", "k1")
    assert record is not None
    assert record.public_key == network.identities[OBSERVER].private_key.public_key
    assert record.roles == frozenset({"observer"})
    assert await directory.find(f"{admin.organisation}.reader", "k2") is None
    assert await directory.find(f"{admin.organisation}.nobody", "k1") is None


@pytest.mark.req("G2-13-2")
async def test_a_start_that_must_be_refused_says_why_and_harms_nothing(
    network: ChainNetwork, tmp_path: Path
) -> None:
    """A second process on one folder, a folder of another network, a key of another replica."""
    running = network.replicas[0].config
    assert started(running) == (5, "DATA_FOLDER_IN_USE")
    other = ChainNetwork.create(tmp_path / "other")
    network.stop(0)
    moved = running.read_text().replace(
        f'genesis_file = "{network.folder}/genesis.json"',
        f'genesis_file = "{other.folder}/genesis.json"',
    )
    moved = moved.replace(
        f"{network.folder}/replica0.vote.key", f"{other.folder}/replica0.vote.key"
    )
    strange = tmp_path / "strange.toml"
    strange.write_text(moved)
    assert started(strange) == (5, "DATA_FOLDER_OTHER_NETWORK")
    strange.write_text(running.read_text().replace("replica0.vote.key", "replica1.vote.key"))
    assert started(strange) == (2, "SETTINGS_INVALID")
    strange.write_text(running.read_text() + "\n[surplus]\nsetting = 1\n")
    assert started(strange) == (2, "SETTINGS_INVALID")
    network.start(0)
    await network.wait_ready(0)


@pytest.mark.req("G2-16-3")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("gm.key", "vote_key_file"),
        ("gm.key", "next_vote_key_file"),
        ("vote_key_file", "next_vote_key_file"),
        ("gm.key", "identity.key_file"),
        ("vote_key_file", "identity.key_file"),
    ],
)
def test_a_replica_whose_keys_are_not_all_different_does_not_start(
    tmp_path: Path, first: str, second: str
) -> None:
    """The keys of TLS, votes and identity, whatever their files are called."""
    network = ChainNetwork.create(tmp_path / "chain")
    keys = {"gm.key": "replica0.tls.key", "vote_key_file": "replica0.vote.key"}
    copy = tmp_path / "copy.key"
    shutil.copy(network.folder / keys[first], copy)
    text = network.replicas[0].config.read_text()
    if second == "identity.key_file":
        text += f"""
[identity]
did = "did:rem:shandong:replica0"
key_id = "k1"
organisation = "did:rem:shandong:operator"
key_file = "{copy}"
"""
    elif second == "next_vote_key_file":
        text = f'next_vote_key_file = "{copy}"\n{text}'
    else:
        text = text.replace(str(network.folder / keys["vote_key_file"]), str(copy))
    config = tmp_path / "replica.toml"
    config.write_text(text)
    exit_code, line = refused(config)
    remedy = messages("KEY_SHARED").remedy_en
    assert exit_code == 2
    assert line == f"KEY_SHARED: {first} and {second} hold the same key. {remedy}"


def started(config: Path) -> tuple[int, str]:
    """Exit code and error code of a start with this configuration, which must end."""
    exit_code, line = refused(config)
    return exit_code, line.partition(":")[0]


def refused(config: Path) -> tuple[int, str]:
    """Exit code and last line of such a start."""
    ended = subprocess.run(
        [sys.executable, "-m", "services.consensus", "serve", "--config", str(config)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ended.returncode, ended.stderr.strip().splitlines()[-1]
