"""What is passed on to whom, and how much of what peers pass on is taken (pbft.md D5).

A replica passes its clients' transactions on to all, and of others' those that it times to the
primary, which a liar may have left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.authorisation import Identities, check_signers
from services.consensus.domain.messages import ReplicaId
from services.consensus.gossip import gossip
from services.consensus.ledger import Ledger
from services.consensus.mempool import BYTES_MAX, COUNT_MAX, Mempool, Share
from services.consensus.peers import Links


def peer_share(admission_limit: int, size: int) -> Share:
    """What one of `size` replicas may have passed on: twice what may wait of all clients here,
    since each replica measures rates for itself, and never more than an equal part of the room.
    """
    return Share(min(2 * admission_limit, COUNT_MAX // size), BYTES_MAX // size)


def knows_signers(ledger: Ledger, transaction: AdmittedTransaction) -> bool:
    """Whether the last state has a transaction's signers, with the keys that signed it: where it
    has not, no replica takes up what is passed on.
    """
    block_time_ms = ledger.header(ledger.store.last_height).block_time_ms
    with ledger.store.state_reader() as state:
        return check_signers(Identities(state), transaction, block_time_ms) is None


def pass_on(
    links: Links,
    mempool: Mempool,
    transactions: Sequence[AdmittedTransaction],
    *,
    primary: ReplicaId | None,
) -> None:
    """What clients brought here goes to everybody, the rest to the primary unless it sent it; None:
    that is for others to do.
    """
    sources = [(each.encoded, mempool.source(each.id)) for each in transactions]
    gossip(links, [encoded for encoded, source in sources if source is None])
    if primary is not None:
        others = [encoded for encoded, source in sources if source not in (None, primary)]
        gossip(links, others, to=primary)
