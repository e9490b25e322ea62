"""Good samples to change: what replicas of a simulated cluster send, and values made for tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import Final

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.archive.manifest import Blocks, Manifest, SegmentEntry
from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.extract import Extract, Fact
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import RestartAuthorities
from guqiao_sdk.proof.trust import encode_trust
from services.consensus import wire
from services.consensus.domain.ledger.state_parts import Prefix, StatePart
from services.consensus.domain.messages import ReplicaId
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.segment import Position, encode_record
from services.consensus.store.state_intake import Snapshot
from tests.simulation.cluster import Cluster
from tests.simulation.machine import Machine
from tests.simulation.scenario import Scenario, of_seed
from tests.unit.ledger.chain_builder import ADMIN, genesis_json, genesis_of, payload_of, signed
from tests.unit.proof.bundle_case import ISSUER, Case, make_case
from tests.unit.proof.proof_keys import FakeKeys, Replicas

SAMPLES_A_KIND: Final = 6
SEEDS_MAX: Final = 40
KINDS: Final = frozenset(
    {"Hello", "PrePrepare", "Prepare", "Commit", "Checkpoint", "ViewChange", "NewView"}
    | {"BlockRequest", "BlockResponse", "BatchRequest", "BatchFetched"}
)


class _Tapped(Cluster):
    """A cluster that keeps what its replicas send."""

    def __init__(self, scenario: Scenario) -> None:
        self.sent: set[bytes] = set()
        super().__init__(scenario)

    def send(self, sender: Machine, receiver: ReplicaId, data: bytes, number: int = -1) -> None:
        self.sent.add(data)
        super().send(sender, receiver, data, number)


@cache
def frames() -> tuple[bytes, ...]:
    """Frames of every kind that a replica sends, a few of each, of runs with view changes."""
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for scenario in (of_seed(seed, size=4, governed=False) for seed in range(SEEDS_MAX)):
        if scenario.traitors:
            continue
        cluster = _Tapped(scenario)
        try:
            cluster.storm()
        finally:
            cluster.close()
        for data in sorted(cluster.sent, key=lambda each: (len(each), each)):
            try:
                kind = type(wire.read_frame(data)).__name__
            except MalformedError:
                continue  # A liar's.
            if len(found[kind]) < SAMPLES_A_KIND and len(data) not in map(len, found[kind]):
                found[kind].append(data)
        if found.keys() >= KINDS:
            sent = [data for kind in sorted(found) for data in found[kind]]
            return (*sent, wire.gossip_frame(transactions()), *_state_frames())
    raise AssertionError(f"no run sent {KINDS - found.keys()}")


def _state_frames() -> tuple[bytes, ...]:
    """A simulated cluster keeps no state to give."""
    header = ledger_pb2.CertifiedHeader(header=b"header", certificate=b"certificate")
    head = peer_pb2.StateResponse(height=256, certified_header=header, set_changes=[b"change"])
    part = peer_pb2.StateResponse(height=256, prefix=b"\x0a", part=state_parts()[0])
    return (
        wire.state_request_frame(0, from_epoch=1),
        wire.state_request_frame(256, prefix=b"\x0a\x01"),
        wire.state_response_frame(head),
        wire.state_response_frame(part),
    )


def messages() -> tuple[bytes, ...]:
    """The consensus messages inside the frames, in their canonical bytes."""
    read = [peer_pb2.PeerFrame.FromString(data) for data in frames()]
    return tuple(frame.message for frame in read if frame.WhichOneof("content") == "message")


def blocks() -> tuple[bytes, ...]:
    """Blocks as they are fetched."""
    read = [peer_pb2.PeerFrame.FromString(data) for data in frames()]
    found: list[ledger_pb2.Block] = [
        block for frame in read for block in frame.block_response.blocks
    ]
    return tuple(block.SerializeToString() for block in found[:SAMPLES_A_KIND])


@cache
def journey() -> Case:
    """An operation's way over two chains, with set changes on both."""
    return make_case(FakeKeys(), set_changes=True)


def extract() -> Extract:
    """What stands under a key at that block, and what does not under another."""
    chain, certified = journey().shandong, journey().bundle.certified
    keys = (f"identity/did/{chain.did}".encode(), b"register/holding/P1/nobody")
    proofs = [chain.prove_at(key, certified.header.height) for key in keys]
    values = [chain.state.get(key) for key in keys]
    return Extract(certified, tuple(map(Fact, keys, values, proofs)))


def trusts() -> list[bytes]:
    """A TRUST file of that journey; another names who may restart a chain, too."""
    keys, plain = FakeKeys(), journey().trust
    first, *others = plain.chains
    authorities = RestartAuthorities(keys.public_key("csrc"), keys.public_key("province"))
    extended = replace(plain, chains=(replace(first, authorities=authorities), *others))
    return [
        encode_trust(each, lambda message: keys.sign(ISSUER, message)) for each in (plain, extended)
    ]


def manifests() -> list[bytes]:
    """Of an archive's first and second step."""
    replicas = Replicas(FakeKeys())
    header = replicas.header(7)
    first = Manifest(
        number=1,
        previous=None,
        chain_id="shandong",
        genesis_hash=b"g" * 32,
        replica=0,
        segments=(
            SegmentEntry(1, 5_000, b"d" * 32, Blocks(0, 7, header.hash())),
            SegmentEntry(2, 4_000, b"e" * 32, None),
        ),
        replica_sets=(replicas.next_epoch().set,),
        certificates=((7, replicas.certify(header)),),
    )
    second = replace(first, number=2, previous=first.digest(), replica=None, replica_sets=())
    return [first.encode(), second.encode()]


def segment() -> bytes:
    """A segment file with a barrier, votes, a block and its certificate."""
    header = Replicas(FakeKeys()).header(7)
    block = StoredBlock(header, Batch(5, (b"one",)), (b"receipt",), {b"k": b"v"})
    certificate = Replicas(FakeKeys()).certify(header)
    return b"".join(
        encode_record(kind, height, payload, 0)
        for kind, height, payload in (
            (RecordType.BARRIER, 0, b""),
            (RecordType.CORE, 0, b"vote"),
            (RecordType.BLOCK, 7, block.encode()),
            (RecordType.CERTIFICATE, 7, certificate.encode()),
        )
    )


def state_parts() -> list[bytes]:
    """With entries, beside another leaf, and too large."""
    prefix, siblings = Prefix(b"\x0a\x01"), (b"s" * 32, b"t" * 32)
    parts = (
        StatePart(prefix, siblings, ((b"k", b"v"), (b"key", b""))),
        StatePart(prefix, siblings, (), (b"p" * 32, b"v" * 32)),
        StatePart(prefix, (), None),
    )
    return [part.encode() for part in parts]


def snapshot() -> bytes:
    """A record of a state that was taken, over a set change."""
    replicas = Replicas(FakeKeys())
    header = replicas.header(7)
    change = SetChange(header, replicas.certify(header), replicas.next_epoch().set)
    positions = (Position(1, 40), Position(2, 0))
    return Snapshot(header, replicas.certify(header), (change,), positions).encode()


def transactions() -> tuple[bytes, ...]:
    """Of one signer, of maker and checker, and of an envelope."""
    single = signed(payload_of(body={"put": {"a": [1, "二", None, True]}}))
    together = replace(single, envelope=MerklePath(5, 7, (bytes(32),) * 3))
    return (
        single.encode(),
        signed(payload_of(checker=(ADMIN, "k1"))).encode(),
        together.encode(),
    )


def genesis() -> tuple[bytes, ...]:
    """A genesis file, in canonical JSON."""
    return (canonical_json(genesis_of(genesis_json()).to_json()),)


@cache
def replica_set() -> ReplicaSet:
    """The set that certified the blocks."""
    return _Tapped(of_seed(0, size=4)).replica_set
