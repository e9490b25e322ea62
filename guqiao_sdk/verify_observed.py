"""Offline verification of what an observed chain did: its bundle, a TRUST file and nothing else.

Pure apart from the signature function, as `verify`. The trust in such a chain ends, so the caller's
now decides whether it may still be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.proof.fisco.execution import FiscoExecution, verify_execution
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.framing import FRAMING, check_checksum
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.observed_bundle import ObservedBundle
from guqiao_sdk.proof.observed_trust import ObservedTrust
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.verify import OnCheck


@dataclass(frozen=True, slots=True)
class ObservedVerdict:
    """What a bundle of an observed chain proves: a transaction and its receipt at one place of a
    block that sealers of `checkpoint` certified; `signers` are their ids, 64 bytes each.

    How the receipt's output and events are divided is not proven: that chain's hash does not say.
    """

    trust: ObservedTrust
    checkpoint: TrustedFisco
    height: int
    header_hash: bytes
    block_time_ms: int
    signers: tuple[bytes, ...]
    execution: FiscoExecution


def verify_observed(
    data: bytes,
    trust: Trust,
    verify: Verify,
    *,
    now_ms: int,
    on_check: OnCheck = lambda piece: None,
) -> ObservedVerdict:
    """Return what the bundle proves. Raises `NotABundleError` for another kind of file and
    `ProofError` for a bundle that does not hold, or a trust that ended, naming the piece.
    """
    bundle = ObservedBundle.decode(data)
    name = f"{bundle.chain_id}/{bundle.group_id}"
    believed = trust.observed_chain(bundle.genesis_hash, name)
    believed.check_current(now_ms)
    on_check(f"trust in {name}")
    certified = parse_header(bundle.header)
    header = certified.header
    checkpoint = believed.check_header(certified, verify)
    on_check(f"header of {name} height {header.number}")
    execution = verify_execution(checkpoint, header, bundle.transaction, bundle.receipt, verify)
    on_check(f"transaction {execution.transaction.hash().hex()}")
    on_check(f"receipt of transaction {execution.transaction.hash().hex()}")
    check_checksum(data)
    on_check(FRAMING)
    sealers = header.sealers.sealers
    return ObservedVerdict(
        trust=believed,
        checkpoint=checkpoint,
        height=header.number,
        header_hash=header.hash(),
        block_time_ms=header.time_ms,
        signers=tuple(sealers[index].node_id for index, _ in certified.signatures),
        execution=execution,
    )
