"""A TRUST file's chain is renewed: a later certified header, proven from its last checkpoint.

Nothing is believed of whoever brings it: header and set changes are judged as a light client does.
Checkpoints of past epochs stay, and each epoch that is passed gets one at its end, so that bundles
which start there can be judged (design section 7). Of one epoch the newest takes the place of the
one before it, but for the first: the file grows with epochs, not with renewals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.light_client import (
    SetChange,
    TrustedChain,
    advance,
    follow_set_changes,
)
from guqiao_sdk.proof.trust import CHECKPOINTS_MAX, ChainTrust, Checkpoint

_CODE: Final = "TRUST_INVALID"


def renewed(
    chain: ChainTrust,
    header: BlockHeader,
    certificate: FinalityCertificate,
    set_changes: Sequence[SetChange],
    verify: Verify,
) -> ChainTrust:
    """The trust with a checkpoint at `header`; `set_changes` are all from the last checkpoint's
    epoch to the header's, however many. The last checkpoint again changes nothing.

    Raises `ProofError`: `HEADER_UNVERIFIED`, `CLIENT_FROZEN` where the header or a set change
    excludes what the file vouches for, `TRUST_INVALID` where the file has no room or no checkpoint.
    """
    piece = f"trust in {chain.chain_id}"
    if not chain.checkpoints:
        raise ProofError(piece, "it has no checkpoint to go on from", _CODE)
    last = chain.checkpoints[-1]
    trusted = TrustedChain.from_checkpoint(
        chain.genesis_hash, last.replica_set, last.height, last.header_hash, chain.authorities
    )
    points = list(chain.checkpoints)
    for change in set_changes:
        signing = trusted.replica_set
        trusted = follow_set_changes(trusted, [change], verify)
        end = change.header
        if end.epoch > last.epoch and end.height > points[-1].height:
            points.append(Checkpoint(end.epoch, end.height, end.hash(), signing))
    trusted = advance(trusted, header, certificate, verify)
    if header.height > points[-1].height:
        if [point.epoch for point in points[-2:]] == [header.epoch, header.epoch]:
            points.pop()
        points.append(Checkpoint(header.epoch, header.height, header.hash(), trusted.replica_set))
    if len(points) > CHECKPOINTS_MAX:
        detail = f"{len(points)} checkpoints, at most {CHECKPOINTS_MAX} in a trust file"
        raise ProofError(piece, detail, _CODE)
    return replace(chain, checkpoints=tuple(points))
