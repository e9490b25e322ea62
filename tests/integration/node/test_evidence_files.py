"""Evidence files that are not as they were written: set aside, counted, and the replica goes on.

Goal: no bytes below the folder evidence stop a replica, are submitted, or keep a proof from being
written (T-13). Method: a replica keeps a proof, its file is spoilt while it is down or while it
runs, and it sees the fault again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.chassis.telemetry import Metrics
from services.consensus import wire
from services.consensus.domain.contracts.evidence import Offence
from services.consensus.evidence import EvidenceFolder, EvidenceReporter
from services.consensus.metrics import ReplicaMetrics
from services.consensus.store import FatalStorageError, FileOperations
from tests.integration.node.memory_chain import MemoryChain, memory_chain, now_ms
from tests.integration.node.test_faults_of_primaries import bad_proposal, recorded
from tests.integration.node.test_set_changes_in_memory import ROLES, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

NAME = "0-0-invalid_batch.json"
ELSEWHERE = "0-2-invalid_batch.json"
COUNTED = b'guqiao_consensus_damaged_files_total{file="evidence"} 1.0'


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return made(tmp_path / "network")


def made(folder: Path) -> ChainNetwork:
    """Two of them are two chains: other keys, another genesis."""
    return ChainNetwork.create(
        folder,
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("evidence", 2)),
        parameters={**PARAMETERS, "heartbeat_ms": 60_000},
    )


def evidence_of(chain: MemoryChain, number: int) -> Path:
    return chain.folder_of(number) / "evidence"


async def see_the_fault(chain: MemoryChain, network: ChainNetwork, number: int) -> None:
    """A replica meets the bad proposal; until its proof is on disk and whole."""
    chain.deliver(0, number, wire.message_frame(bad_proposal(chain, network)))
    await chain.wait_for(lambda: (evidence_of(chain, number) / NAME).exists())


def flip_in(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILT: dict[str, Callable[[Path], object]] = {
    "a bit of a name": lambda path: flip_in(path, 0.01),
    "a bit of the proof": lambda path: flip_in(path, 0.5),
    "the last byte": lambda path: flip_in(path, 0.9999),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "no text": lambda path: path.write_bytes(b"\xff" * 300),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a list": lambda path: path.write_bytes(b"[]"),
    "a folder": make_a_folder_of,
}


@pytest.mark.req("G2-13-2", "G2-16-4")
@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_damaged_file_is_set_aside_and_the_replica_goes_on(
    chain: MemoryChain, network: ChainNetwork, spoilt: str
) -> None:
    for number in (1, 2, 3):
        await chain.start(number)
    await see_the_fault(chain, network, 1)
    await chain.stop(1)
    path = evidence_of(chain, 1) / NAME
    SPOILT[spoilt](path)
    chain.reporters = {1: network.identities["1/replica"]}
    again = await chain.start(1)
    await chain.wait_for(lambda: COUNTED in again.metrics.render())
    assert not path.exists()
    assert path.with_name(f"{NAME}.damaged").exists(), "it is kept for whoever looks"
    await register(again, network, "meanwhile")
    assert not any(task.done() for task in again.tasks), "nothing of the replica ended"
    assert recorded(chain, again, 0, Offence.INVALID_BATCH) is None, "nothing false was submitted"


@pytest.mark.req("G2-13-2", "G2-16-4")
async def test_a_file_of_another_name_or_chain_is_set_aside(
    chain: MemoryChain, network: ChainNetwork, tmp_path: Path
) -> None:
    """Submitted, either would accuse somebody else, or be refused and hide the true one."""
    for number in (1, 2, 3):
        await chain.start(number)
    await see_the_fault(chain, network, 1)
    await chain.stop(1)
    mine = evidence_of(chain, 1)
    os.rename(mine / NAME, mine / ELSEWHERE)
    other = made(tmp_path / "other")
    async with memory_chain(tmp_path / "elsewhere", other.genesis, other.vote_keys) as foreign:
        await foreign.start(1)
        await see_the_fault(foreign, other, 1)
        shutil.copy(evidence_of(foreign, 1) / NAME, mine / NAME)
    chain.reporters = {1: network.identities["1/replica"]}
    again = await chain.start(1)
    await chain.wait_for(lambda: COUNTED.replace(b"1.0", b"2.0") in again.metrics.render())
    assert not list(mine.glob("*.json"))
    await register(again, network, "meanwhile")


@pytest.mark.req("G2-13-2", "G2-16-4")
async def test_a_proof_is_written_again_over_a_file_of_wrong_content_and_submitted(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    await see_the_fault(chain, network, 1)
    path = evidence_of(chain, 1) / NAME
    whole = path.read_bytes()
    await chain.stop(1)
    flip_in(path, 0.5)
    await chain.start(1)
    chain.deliver(0, 1, wire.message_frame(bad_proposal(chain, network)))
    await chain.wait_for(lambda: path.with_name(f"{NAME}.damaged").exists() and path.exists())
    assert len(path.read_bytes()) == len(whole)
    await chain.stop(1)
    chain.reporters = {1: network.identities["1/replica"]}
    live = [await chain.start(1), *members[1:]]
    await chain.wait_for(lambda: all(recorded(chain, m, 0, Offence.INVALID_BATCH) for m in live))


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(("error", "ends"), [(5, True), (28, False)], ids=["EIO", "ENOSPC"])
async def test_a_failed_fsync_of_a_proof_ends_the_replica_and_a_full_disk_does_not(
    chain: MemoryChain, network: ChainNetwork, error: int, ends: bool
) -> None:
    opened: set[int] = set()

    def open_noting(path: Path, flags: int, mode: int) -> int:
        descriptor = os.open(path, flags, mode)
        if path.name == f"{NAME}.new":
            opened.add(descriptor)
        return descriptor

    def fsync(descriptor: int) -> None:
        if descriptor in opened:
            opened.clear()
            failed.append(descriptor)
            raise OSError(error, os.strerror(error))
        os.fsync(descriptor)

    failed: list[int] = []
    chain.files = FileOperations(open=open_noting, fsync=fsync)
    members = [await chain.start(number) for number in (1, 2, 3)]
    chain.deliver(0, 1, wire.message_frame(bad_proposal(chain, network)))
    await chain.wait_for(lambda: bool(failed))
    if ends:
        await chain.wait_for(lambda: members[0].tasks[0].done())
        raised = members[0].tasks[0].exception()
        assert isinstance(raised, ExceptionGroup)
        assert raised.subgroup(FatalStorageError) is not None
    else:
        await register(members[0], network, "meanwhile")
        assert not (evidence_of(chain, 1) / NAME).exists()


@pytest.mark.req("G2-16-4")
async def test_who_breaks_a_rule_again_and_again_is_written_down_and_told_of_once(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    for number in (1, 2, 3):
        await chain.start(number)
    frame = wire.message_frame(bad_proposal(chain, network))
    with capture_logs() as logs:
        for _ in range(21):
            chain.deliver(0, 1, frame)
        counted = b'guqiao_consensus_evidence_total{replica="0"} 21.0'
        await chain.wait_for(lambda: counted in chain.members[1].metrics.render())
    assert [each["replica"] for each in logs if each["event"] == "evidence.found"] == [0]
    assert [path.name for path in evidence_of(chain, 1).iterdir()] == [NAME]


@pytest.mark.req("G2-16-4")
async def test_a_proof_whose_submission_is_refused_stays_and_is_submitted_as_another_request(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    member = members[0]
    requests: list[str] = []

    async def submit(
        transaction: SignedTransaction, *, wait_final: bool
    ) -> ledger_pb2.TransactionResult | None:
        """Refuses the first, whatever it asks; the chain judges the others."""
        requests.append(parse_payload(transaction.payload).request_id)
        if requests == requests[:1]:
            return ledger_pb2.TransactionResult(
                outcome=ledger_pb2.OUTCOME_REFUSED, code="LIMIT_EXCEEDED"
            )
        return await member.submissions.submit(transaction, wait_final=wait_final)

    await see_the_fault(chain, network, 1)
    folder = EvidenceFolder(
        evidence_of(chain, 1), member.ledger, FileOperations(), ReplicaMetrics(Metrics())
    )
    identity = network.identities["1/replica"]
    reporter = EvidenceReporter(folder, member.ledger, submit, chain.provider, identity, now_ms)
    running = asyncio.ensure_future(reporter.run())
    try:
        await chain.wait_for(lambda: len(requests) == 1)
        assert (evidence_of(chain, 1) / NAME).exists()
        await chain.wait_for(
            lambda: all(recorded(chain, each, 0, Offence.INVALID_BATCH) for each in members)
        )
        await chain.wait_for(lambda: not (evidence_of(chain, 1) / NAME).exists())
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(set(requests)) == 2
