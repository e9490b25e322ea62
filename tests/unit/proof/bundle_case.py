"""A real bundle for tests: one operation's journey over two chains, with set changes on both."""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.proof.bundle import Anchor, Bundle, CertifiedHeader
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust
from tests.unit.proof.proof_keys import Keys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)

ISSUER = "did:rem:csrc:91100000MA0000000X"


@dataclass(frozen=True)
class Case:
    """Both chains after the journey, what the auditor trusts, and the bundle."""

    shandong: LedgerChain
    csrc: LedgerChain
    trust: Trust
    bundle: Bundle
    sent: Receipt


def chain_trust(chain: LedgerChain, first_set: ReplicaSet) -> ChainTrust:
    """Trust from the chain's first block."""
    block = chain.blocks[1]
    checkpoint = Checkpoint(0, 1, block.header.hash(), first_set)
    return ChainTrust(chain.header.chain_id, chain.genesis.hash(), (checkpoint,))


def make_case(keys: Keys, *, set_changes: bool, in_envelope: bool = False) -> Case:
    """Report one object on `shandong`, record it on `csrc`, and bundle the proof of it."""
    shandong, csrc = make_pair(keys)
    first_sets = {chain: chain.replicas.set for chain in (shandong, csrc)}
    for chain in (shandong, csrc):
        chain.execute(next_replicas=chain.replicas.next_epoch() if set_changes else None)
    operation = shandong.transaction("reports", "report", {"count": 1, "broken": False})
    beside = shandong.transaction("reports", "report", {"count": 2, "broken": False})
    if in_envelope:
        beside, operation = shandong.signed_together(beside, operation)
    sent_block = shandong.execute(beside, operation)
    sent = sent_block.receipts[1]
    changes = tuple(shandong.set_changes)
    updated = csrc.call("light_client", "update", update_body(shandong, set_changes=changes))
    assert updated.accepted, updated.detail
    packets = sent_packets(sent_block.receipts[0]) + sent_packets(sent)
    received = csrc.call("packets", "receive", receive_body(shandong, packets))
    assert received.accepted, received.detail
    anchor_block = csrc.blocks[csrc.header.height]
    anchor = Anchor(
        receipt=received,
        receipt_path=anchor_block.receipt_path(0),
        certified=CertifiedHeader.build(
            first_sets[csrc],
            anchor_block.header,
            csrc.replicas.certify(anchor_block.header, range(4)),
            csrc.set_changes,
        ),
    )
    bundle = Bundle(
        transaction=SignedTransaction.decode(operation),
        transaction_path=sent_block.transaction_path(1),
        receipt=sent,
        receipt_path=sent_block.receipt_path(1),
        certified=CertifiedHeader.build(
            first_sets[shandong], sent_block.header, sent_block.certificate, changes
        ),
        packets=(packets[-1],),
        anchors=(anchor,),
    )
    trust = Trust(
        issuer_did=ISSUER,
        issuer_key=keys.public_key(ISSUER),
        issued_at="2026-01-05T09:30:00+08:00",
        chains=tuple(chain_trust(chain, first_sets[chain]) for chain in (csrc, shandong)),
    )
    return Case(shandong, csrc, trust, bundle, sent)
