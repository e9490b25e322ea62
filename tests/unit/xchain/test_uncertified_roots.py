"""The root of a block that is proposed, voted for, or another one than was decided proves nothing:
only a finality certificate makes a state that packets are proven against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    Block,
    LedgerChain,
    events,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)

STATES = b"light_client/state/shandong/"


@pytest.fixture
def journey() -> tuple[LedgerChain, LedgerChain, list[Packet]]:
    """The regulatory chain knows height 1 of the market's chain; height 2 sent two packets."""
    shandong, csrc = make_pair(FakeKeys())
    shandong.execute()
    assert csrc.call("light_client", "update", update_body(shandong)).accepted
    sent = shandong.call("reports", "report", {"count": 2, "broken": False})
    return shandong, csrc, sent_packets(sent)


def voted(header: BlockHeader, replicas: Replicas, vote: VoteType) -> FinalityCertificate:
    """A quorum's votes of an earlier phase in the place of its checkpoint votes."""
    message = vote_sign_bytes(
        header.chain_id, header.epoch, vote, 0, header.height, header.batch_digest
    )
    signed = ((at, replicas.keys.sign(replicas.name(at), message)) for at in range(3))
    return FinalityCertificate(header.hash(), tuple(signed))


def other_root(block: Block, replicas: Replicas) -> tuple[BlockHeader, FinalityCertificate]:
    """A sibling that was never decided, under the signatures of the one that was."""
    sibling = replace(block.header, state_root=b"\x01" * 32)
    return sibling, FinalityCertificate(sibling.hash(), block.certificate.signatures)


Forge = Callable[[Block, Replicas], tuple[BlockHeader, FinalityCertificate]]
FORGED: dict[str, Forge] = {
    "proposed": lambda block, replicas: (block.header, replicas.certify(block.header, ())),
    "signed by f + 1": lambda block, replicas: (
        block.header,
        replicas.certify(block.header, (0, 1)),
    ),
    "prepared": lambda block, replicas: (
        block.header,
        voted(block.header, replicas, VoteType.PREPARE),
    ),
    "committed": lambda block, replicas: (
        block.header,
        voted(block.header, replicas, VoteType.COMMIT),
    ),
    "another root under its signatures": other_root,
    "another root under its certificate": lambda block, replicas: (
        replace(block.header, state_root=b"\x01" * 32),
        block.certificate,
    ),
}


@pytest.mark.req("G2-19-4", "N0-07")
@pytest.mark.parametrize("how", list(FORGED))
def test_g15_a_root_that_no_finality_certificate_covers_proves_no_packet(
    journey: tuple[LedgerChain, LedgerChain, list[Packet]], how: str
) -> None:
    """The proofs are right, and under the very root that will be certified: not before it is."""
    shandong, csrc, sent = journey
    header, certificate = FORGED[how](shandong.blocks[2], shandong.replicas)
    forged: dict[str, Json] = {
        **update_body(shandong),
        "header": header.encode().hex(),
        "certificate": certificate.encode().hex(),
    }
    known = dict(csrc.state.scan(STATES))
    refused = csrc.call("light_client", "update", forged)
    assert (refused.code, refused.events) == ("HEADER_UNVERIFIED", ())
    delivery = receive_body(shandong, sent)
    assert csrc.call("packets", "receive", delivery).code == "HEIGHT_UNKNOWN"
    assert csrc.call("packets", "receive", {**delivery, "height": 1}).code == "PROOF_INVALID"
    assert dict(csrc.state.scan(STATES)) == known
    assert csrc.value("packets/received/shandong/data_object") is None
    assert csrc.call("light_client", "update", update_body(shandong)).accepted
    taken = csrc.call("packets", "receive", delivery)
    assert [each["sequence"] for each in events(taken, "packet.received")] == [1, 2]
