"""The replica's metrics, by the names that dashboards and alarms use."""

from __future__ import annotations

from services.chassis.telemetry import Metrics
from services.consensus.domain.epochs import Core
from services.consensus.domain.replica import Replica
from services.consensus.mempool import Mempool
from services.consensus.peers import Links
from services.consensus.refusals import Refusals


class ReplicaMetrics:
    """Gauges and counters of one replica."""

    def __init__(self, metrics: Metrics) -> None:
        self.height = metrics.gauge(
            "guqiao_consensus_certified_height", "Height of the last certified block"
        )
        self._executed = metrics.gauge(
            "guqiao_consensus_executed_height", "Height of the last executed block"
        )
        self._view = metrics.gauge("guqiao_consensus_view", "Current view")
        self._pending = metrics.gauge(
            "guqiao_consensus_pending_transactions", "Transactions waiting to be ordered"
        )
        self._peers = metrics.gauge("guqiao_consensus_connected_peers", "Links that are up")
        self._paused = metrics.gauge(
            "guqiao_consensus_paused", "1 while the replica does not vote", ("why",)
        )
        self._epoch = metrics.gauge("guqiao_consensus_epoch", "Epoch of the replica set in force")
        self._votes = metrics.gauge(
            "guqiao_consensus_votes", "1 where this node votes, 0 for a learner or jailed replica"
        )
        self._jailed = metrics.gauge(
            "guqiao_consensus_jailed_replicas",
            "Replicas whose votes do not count: above 0 the chain is degraded",
        )
        self._above = metrics.gauge(
            "guqiao_consensus_entities_above_faulty_max",
            "Entities that hold more than f keys of the set in force: ENTITY_ABOVE_FAULTY_MAX",
        )
        self.index_bytes = metrics.gauge(
            "guqiao_consensus_index_bytes", "Length of the index beside the segment files"
        )
        self.view_changes = metrics.counter(
            "guqiao_consensus_view_changes_total", "View changes since the start"
        )
        self.refusals = Refusals(
            metrics.counter(
                "guqiao_consensus_rejected_messages_total",
                "What a replica sent and no honest one sends",
                ("replica", "reason"),
            ),
            metrics.counter(
                "guqiao_consensus_ignored_messages_total",
                "What a replica sent and was of no use, as happens to honest ones",
                ("replica", "reason"),
            ),
        )
        self.surplus_votes = metrics.counter(
            "guqiao_consensus_surplus_votes_total",
            "Votes that were not verified when they came: a quorum was there without them",
        )
        self.evidence = metrics.counter(
            "guqiao_consensus_evidence_total",
            "Proofs that a replica broke the protocol",
            ("replica",),
        )
        self.damaged_blocks = metrics.gauge(
            "guqiao_consensus_damaged_blocks", "Stored blocks that read back wrong"
        )
        self.missing_blocks = metrics.gauge(
            "guqiao_consensus_missing_blocks", "Certified blocks to be restored before it votes"
        )
        self.repaired_blocks = metrics.counter(
            "guqiao_consensus_repaired_blocks_total", "Damaged blocks that were fetched from peers"
        )
        self.damaged_files = metrics.counter(
            "guqiao_consensus_damaged_files_total",
            "Files beside the ledger that read back wrong and were set aside",
            ("file",),
        )

    def observe(self, replica: Core, mempool: Mempool, links: Links, why_paused: str) -> None:
        """Take the present values."""
        self._executed.set(replica.executed)
        self._view.set(replica.view)
        self._epoch.set(replica.epoch)
        self._votes.set(int(isinstance(replica, Replica)))
        self._jailed.set(len(replica.replica_set.jailed))
        self._above.set(len(replica.replica_set.entities_above_faulty_max()))
        self._pending.set(len(mempool))
        self._peers.set(len(links.connected()))
        for why in ("DISK_FULL", "HALTED", "RESTORING"):
            self._paused.labels(why=why).set(int(why_paused == why))
