"""Strategies outside the votes: what a lying primary puts into batches, and what a lying source
answers to one who catches up.
"""

from __future__ import annotations

from dataclasses import replace

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus import wire
from services.consensus.domain.ledger.state_parts import StatePart
from services.consensus.domain.messages import PeerMessage, PrePrepare, ReplicaId
from services.consensus.domain.replica import Replica
from tests.simulation.byzantine.liar import (
    IDLE,
    OUTGOING,
    PROPOSALS,
    SPOIL,
    SPOIL_STATE,
    Liar,
    Out,
    Raw,
)
from tests.simulation.workload import Request, did, read, transaction


def drop_client(liar: Liar, batch: Batch, core: Replica) -> Batch:
    """B8."""
    kept = [each for each in batch.transactions if _maker(each) != did(0)]
    return Batch(batch.block_time_ms, tuple(kept))


def _maker(encoded: bytes) -> str | None:
    """Whose transaction it is; None: another strategy of this liar made it unreadable."""
    try:
        return read(encoded).payload.maker[0]
    except MalformedError:
        return None


def reorder(liar: Liar, batch: Batch, core: Replica) -> Batch:
    """B9: the last comes first."""
    return Batch(batch.block_time_ms, tuple(reversed(batch.transactions)))


def invalid_transaction(liar: Liar, batch: Batch, core: Replica) -> Batch:
    """B10: forged, of another chain, expired, or no transaction at all."""
    if liar.random.random() < 0.5:
        return batch
    request = Request(liar.random.randrange(4), liar.random.randrange(1_000))
    height, time_ms = core.low_watermark, batch.block_time_ms
    bad = [
        transaction(request, height=height, time_ms=time_ms, signer=request.client + 1),
        transaction(request, height=height, time_ms=time_ms, chain="other-chain"),
        transaction(request, height=-900, time_ms=time_ms),
        transaction(request, height=height, time_ms=-399_000),
        b"no transaction",
        b"",
    ]
    chosen = liar.random.choice(bad)
    return Batch(batch.block_time_ms, (*batch.transactions, chosen))


def collude(liar: Liar, batch: Batch, core: Replica) -> Batch:
    """B25: a client gives this primary alone a transaction, in several guises at once: twice, with
    another body under the same request id, and one that its signature does not cover.
    """
    request = Request(1, 500_000 + core.view)
    height, time_ms = core.low_watermark, batch.block_time_ms
    first = transaction(request, height=height, time_ms=time_ms)
    second = transaction(request, height=height, time_ms=time_ms, body=7)
    extra = [first, second, first]
    if liar.random.random() < 0.3:
        extra.append(transaction(request, height=height, time_ms=time_ms, body=9, signer=3))
    return Batch(batch.block_time_ms, (*batch.transactions, *extra))


def keep_from_primary(liar: Liar, core: Replica) -> list[Out]:
    """B25: a client has this backup give all others but the primary a transaction."""
    time_ms = core._ordering.block_time_of(core._ordering.accepted_through)
    if core.primary == liar.signer.me or time_ms is None:
        return []  # It does not know what time the chain is at: another would be refused.
    liar.fired["B25.backups"] += 1
    request = Request(2, 600_000 + liar.random.randrange(100_000))
    passed = transaction(request, height=core.low_watermark, time_ms=time_ms)
    return [Raw(wire.gossip_frame([passed]), keep_from=core.primary)]


def wrong_time(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B27: block times before the predecessor's, beyond every clock, or just inside the bound."""
    if not isinstance(message, PrePrepare) or liar.random.random() < 0.5:
        return None
    shift_ms = liar.random.choice([-(10**6), -3, -1_900, 1_900, 10**6, 86_400_000])
    batch = Batch(max(0, message.batch.block_time_ms + shift_ms), message.batch.transactions)
    return [liar.signer.pre_prepare(message.view, message.sequence, batch)]


def spoil(liar: Liar, blocks: list[ledger_pb2.Block]) -> list[ledger_pb2.Block]:
    """B22: one piece of one block is false, or the blocks come in another order."""
    spoiled = []
    for block in blocks:
        copied = ledger_pb2.Block()
        copied.CopyFrom(block)
        spoiled.append(copied)
    target = liar.random.choice([spoiled[0], liar.random.choice(spoiled)])
    if liar.random.random() < 0.2:
        spoiled.reverse()
    elif liar.random.random() < 0.5:
        _spoil_certified(liar, target.certified_header)
    else:
        _spoil_content(liar, target)
    return spoiled


def spoil_state(liar: Liar, frame: bytes) -> bytes:
    """B22: one piece of a state's head or of a part is false, or a part is said to be too large or
    not here. Only who offered the right head is asked for parts.
    """
    spoiled = peer_pb2.PeerFrame.FromString(frame)
    response = spoiled.state_response
    if response.HasField("certified_header"):
        if liar.random.random() < 0.7:
            return frame
        liar.fired["B22"] += 1
        liar.fired["B22.head"] += 1
        if response.set_changes and liar.random.random() < 0.3:
            del response.set_changes[0]
        elif liar.random.random() < 0.3:
            response.height += 4
        else:
            _spoil_certified(liar, response.certified_header)
    elif response.part:
        liar.fired["B22"] += 1
        liar.fired["B22.part"] += 1
        response.part = _other_part(liar, response.part)
    return spoiled.SerializeToString()


def _other_part(liar: Liar, encoded: bytes) -> bytes:
    part = StatePart.decode(encoded)
    match liar.random.randrange(5):
        case 0:
            return _other_header(liar, encoded)
        case 1 if part.entries:
            return replace(part, entries=part.entries[1:]).encode()
        case 2 if part.entries:
            key, value = part.entries[0]
            return replace(part, entries=((key, value + b"0"), *part.entries[1:])).encode()
        case 3:
            return b""
        case _:
            return replace(part, entries=None, terminal=None).encode()


def _spoil_certified(liar: Liar, certified: ledger_pb2.CertifiedHeader) -> None:
    match liar.random.randrange(3):
        case 0:
            certified.header = _other_header(liar, certified.header)
        case 1:
            certified.certificate = _fewer(certified.certificate)
        case _:
            certified.certificate = _one_signer(certified.certificate)


def _spoil_content(liar: Liar, block: ledger_pb2.Block) -> None:
    batch = Batch.decode(block.batch)
    match liar.random.randrange(4):
        case 0:
            block.batch = Batch(batch.block_time_ms + 1, batch.transactions).encode()
        case 1:
            backwards = tuple(reversed(batch.transactions))
            block.batch = Batch(batch.block_time_ms, backwards).encode()
        case 2:
            del block.receipts[:]
        case _:
            block.batch = liar.random.randbytes(40)


def _other_header(liar: Liar, encoded: bytes) -> bytes:
    data = bytearray(encoded)
    data[liar.random.randrange(len(data))] ^= 1 << liar.random.randrange(8)
    return bytes(data)


def _fewer(encoded: bytes) -> bytes:
    certificate = FinalityCertificate.decode(encoded)
    return FinalityCertificate(certificate.header_hash, certificate.signatures[:1]).encode()


def _one_signer(encoded: bytes) -> bytes:
    certificate = FinalityCertificate.decode(encoded)
    count = len(certificate.signatures)
    return FinalityCertificate(certificate.header_hash, certificate.signatures[:1] * count).encode()


PROPOSALS.update(B8=drop_client, B9=reorder, B10=invalid_transaction, B25=collude)
OUTGOING["B27"] = wrong_time
IDLE["B25"] = keep_from_primary
SPOIL.append(spoil)
SPOIL_STATE.append(spoil_state)
