"""The planted bugs as data: where, what is replaced by what, and who must notice.

Rows are those of the reliability plan (P1-P24), of the field lessons (row 1-12) and of
docs/protocol/pbft.md. `rules` are those whose violation counts: checkers of the simulator by what
stands before the colon. Where the campaign's own seeds take long, a bug names scenarios that show
it, which are tried first, or describes the runs to try by turns with the campaign's. A bug that is
no interleaving names its row's directed test instead.
"""

from __future__ import annotations

from typing import Final

from tests.planted.bug import CONSENSUS_TESTS, CORE, Bug
from tests.planted.driver_bugs import DRIVER
from tests.planted.evidence_bugs import CATCH_UP, EVIDENCE
from tests.planted.finality_bugs import FINALITY
from tests.planted.restart_bugs import FLOOR, RESTARTS
from tests.planted.state_bugs import STATES

_SIGNED: Final = "tests/simulation/statements.py"
"""The checkers' own idea of what is signed; changed too, a mistake shows by a replay alone."""

QUORUMS: Final = (
    Bug(
        "P1",
        "quorum 2f + 1",
        "guqiao_sdk/proof/quorum.py",
        "    return -(-2 * size // 3)",
        "    return 2 * faulty_max(size) + 1",
        size=6,
        rules=("S1", "S2", "S3"),
    ),
    Bug(
        "P2",
        "one huge view drags everybody along",
        f"{CORE}/view_change.py",
        "        needed = self._set.faulty_max + 1\n",
        "        needed = 1\n",
        ("B14",),
        rules=("S8",),
    ),
    Bug(
        "P3",
        "a view-change's signature is not verified",
        f"{CORE}/authentication.py",
        "        fault = self._signature(message, message.replica) or self._certified(message)\n",
        "        fault = self._certified(message)\n",
        ("B26", "B18"),
        rules=("S9",),
    ),
    Bug(
        "P4",
        "a new set's view-changes must prove the height of the old one",
        f"{CORE}/authentication.py",
        "            at_base = message.certified == self._base\n",
        "            at_base = message.certified == 0\n",
        rules=("S10", "L1"),
        governed=True,
        scenarios=("storm/28+governed",),
    ),
    Bug(
        "P5",
        "after a restart a decided sequence number is proposed again",
        f"{CORE}/ordering.py",
        "        if isinstance(record, PrePrepare) and entry.proposal is None:\n"
        "            self._adopt(record)",
        "        if isinstance(record, PrePrepare):\n            entry.sent_ms = self.now_ms",
        rules=("S4", "S6"),
    ),
    Bug(
        "P6",
        "nobody joins f + 1 view-changes",
        f"{CORE}/view_change.py",
        "        return ahead[-needed] if len(ahead) >= needed else None",
        "        return None",
        rules=("P6",),
    ),
    Bug(
        "P7",
        "everybody waits for ever for a new view that does not come",
        f"{CORE}/suspicion.py",
        "        return since is not None and self.now_ms - since > self.timeout_ms",
        "        return since is not None and self.now_ms < 0",
        ("B1",),
        size=4,
        rules=("L1", "L4", "L5"),
    ),
    Bug(
        "P8",
        "backups believe the new-view",
        f"{CORE}/view_change.py",
        "    if stated != chosen_batches(message.view_changes):",
        "    if len(stated) > 10_000:",
        rules=("S9",),
    ),
    Bug(
        "P9",
        "gaps are left out of a new view",
        f"{CORE}/view_change.py",
        "    return tuple((n, latest[n].digest if n in latest else NULL_DIGEST) for n in numbers)",
        "    return tuple((n, latest[n].digest) for n in numbers if n in latest)",
        rules=("S9",),
    ),
    Bug(
        "P9",
        "a null batch executes with a time of its own",
        f"{CORE}/ordering.py",
        "        null = Batch(self._executing_time_ms, ())",
        "        null = Batch(self.clock_ms or 0, ())",
        ("B6", "B24"),
        rules=("S1", "S2", "S5"),
    ),
    Bug(
        "P10",
        "a checkpoint is stable on f + 1",
        f"{CORE}/checkpoint.py",
        "        quorum = self._signer.replica_set.quorum\n",
        "        quorum = self._signer.replica_set.faulty_max + 1\n",
        ("B12",),
        rules=("S3",),
    ),
    Bug(
        "P10",
        "votes count beyond the high watermark",
        f"{CORE}/ordering.py",
        "        return self.low < sequence <= self.high",
        "        return self.low < sequence",
        ("B23", "B13"),
        rules=("S8",),
    ),
    Bug(
        "P11",
        "the primary may jump ahead",
        f"{CORE}/ordering.py",
        "            message = self._waiting.get(SequenceNumber(self.accepted_through + 1))",
        "            message = self._waiting[min(self._waiting)]",
        ("B13",),
        rules=("P11",),
    ),
    Bug(
        "P12",
        "signatures do not say in which epoch",
        "guqiao_sdk/proof/votes.py",
        ".text(chain_id).u64(epoch).u8(vote_type)",
        ".text(chain_id).u64(0).u8(vote_type)",
        rules=("P12",),
        also=((_SIGNED, 'struct.pack(">QBQQ", replica_set.epoch, ', 'struct.pack(">QBQQ", 0, '),),
    ),
    Bug(
        "P12",
        "signatures do not say on which chain",
        "guqiao_sdk/proof/votes.py",
        ".text(chain_id).u64(epoch).u8(vote_type)",
        ".u64(epoch).u8(vote_type)",
        ("B17",),
        rules=("P12",),
        also=((_SIGNED, " + _blob(replica_set.chain_id.encode())\n", "\n"),),
    ),
    Bug(
        "P12",
        "signatures do not say in which view",
        "guqiao_sdk/proof/votes.py",
        "writer.u64(view).u64(sequence)",
        "writer.u64(0).u64(sequence)",
        ("B17",),
        rules=("P12",),
        also=((_SIGNED, "kind, view, sequence)\n", "kind, 0, sequence)\n"),),
        scenarios=("storm/8",),
    ),
    Bug(
        "P13",
        "equivocation leaves no evidence",
        f"{CORE}/ordering.py",
        "        if earlier.digest == later.digest:\n            return []",
        "        if earlier.digest != NULL_DIGEST:\n            return []",
        ("B4",),
        rules=("S10",),
    ),
    Bug(
        "P14",
        "a vote is sent before it is durable",
        f"{CORE}/ordering.py",
        "            effects += [Persist(vote), Broadcast(vote)]",
        "            effects += [Broadcast(vote), Persist(vote)]",
        rules=("P14",),
    ),
    Bug(
        "P14",
        "a restart forgets what was proposed and voted",
        f"{CORE}/replica.py",
        "                self._ordering.restore(record)",
        "                pass",
        rules=("S6",),
    ),
)

SERVICE: Final = (
    Bug(
        "P15",
        "a client's bad signature passes, and costs the primary its view",
        "services/consensus/signing.py",
        "            held[index] = holds\n",
        "            held[index] = True\n",
        test=f"{CONSENSUS_TESTS}/test_known_mistakes.py::test_p15",
    ),
    Bug(
        "P16",
        "no timer runs for a request",
        f"{CORE}/suspicion.py",
        "            self._pending.setdefault(message.request, self.now_ms)\n",
        "            pass\n",
        ("B8",),
        rules=("P16", "L1", "L4"),
    ),
    Bug(
        "P17",
        "a request id may be used again",
        f"{CORE}/ledger/execution.py",
        "        bound = self.state.get(key)\n",
        "        bound = None\n",
        ("B25",),
        rules=("S4",),
    ),
    Bug(
        "P17",
        "within one block a request id may be used again",
        f"{CORE}/ledger/execution.py",
        "        bound = self.state.get(key)\n",
        "        bound = self._committed.get(key)\n",
        ("B25",),
        rules=("S4", "S6"),
    ),
    Bug(
        "P18",
        "r and s are not held below the order",
        "guqiao_sdk/gm/sm2.py",
        "    if not (0 < r < N and 0 < s < N) or r + s == N:\n        return None\n    return r, s",
        "    if not (r and s):\n        return None\n    return r % N, s % N",
        test="tests/unit/proof/test_known_mistakes_of_signatures.py::test_p18",
    ),
    Bug(
        "P19",
        "one bad signature hides among good ones",
        "guqiao_sdk/gm/libcrypto.py",
        "        return [self.verify(*item) for item in items]",
        "        return [self.verify(*items[0])] * len(items)",
        test="tests/unit/proof/test_known_mistakes_of_signatures.py::test_p19",
    ),
    Bug(
        "P20",
        "the state depends on the order of a set",
        f"{CORE}/ledger/execution.py",
        'b"".join(self._executed)',
        'b"".join(set(self._executed))',
        test=f"{CONSENSUS_TESTS}/test_known_mistakes.py::test_p20",
    ),
    Bug(
        "P21",
        "timers follow the wall clock",
        f"{CORE}/suspicion.py",
        "            self.now_ms += min(max(clock_ms - self._clock_ms, 0), TICK_GAP_MAX_MS)",
        "            self.now_ms += clock_ms - self._clock_ms",
        rules=("P21", "L1"),
    ),
    Bug(
        "P22",
        "a block is taken on one peer's word",
        "guqiao_sdk/proof/header.py",
        "    if len(replicas) < replica_set.quorum:",
        "    if len(replicas) < 1:",
        rules=("S1", "S2", "S3", "S5"),
    ),
    Bug(
        "T4",
        "a part of a state is taken on its source's word",
        f"{CORE}/ledger/state_parts.py",
        "    if node != root or root == EMPTY:",
        "    if root == EMPTY:",
        test="tests/unit/ledger/test_state_parts.py::test_t4",
    ),
    Bug(
        "P23",
        "messages of later views are kept without bound",
        f"{CORE}/later.py",
        "deque(maxlen=self._votes_max)",
        "deque()",
        rules=("S8",),
    ),
    Bug(
        "P24",
        "one signer stands several times in a certificate",
        f"{CORE}/authentication.py",
        "        if not _ascending(replicas) or replicas[-1] >= self._set.size:",
        "        if replicas[-1] >= self._set.size:",
        ("B4", "B15"),
        rules=("S3", "S9"),
    ),
)

ROWS: Final = (
    Bug(
        "row 1",
        "votes count whatever their digest",
        f"{CORE}/log.py",
        "        return self._counts.get(digest, 0)\n",
        "        return len(self.votes)\n",
        ("B11",),
        rules=("S1", "S2", "S3"),
    ),
    Bug(
        "row 2",
        "one replica's votes count several times",
        f"{CORE}/log.py",
        "        if earlier is None:\n            self.votes[vote.replica] = vote\n"
        "            self._counts[digest] = self._counts.get(digest, 0) + 1",
        "        self.votes[vote.replica] = vote\n"
        "        self._counts[digest] = self._counts.get(digest, 0) + 1",
        rules=("S1", "S2", "S3"),
    ),
    Bug(
        "row 3",
        "prepare and commit sign the same bytes",
        "guqiao_sdk/proof/votes.py",
        ".u64(epoch).u8(vote_type)",
        ".u64(epoch).u8(2 if vote_type == 3 else vote_type)",
        rules=("P12",),
        also=((_SIGNED, "epoch, kind, view,", "epoch, 2 if kind == 3 else kind, view,"),),
    ),
    Bug(
        "row 4",
        "commits are counted by place, not by digest",
        f"{CORE}/ordering.py",
        "        if entry.committed is not None or entry.commits.count(digest) < self._set.quorum:",
        "        if entry.committed is not None or len(entry.commits.votes) < self._set.quorum:",
        ("B3",),
        rules=("S1", "S2", "S3"),
        scenarios=("storm/9+many+stored",),
    ),
    Bug(
        "row 5",
        "what was committed is forgotten by the view change",
        f"{CORE}/ordering.py",
        "        return tuple(certificate for certificate in held if certificate is not None)",
        "        return ()",
        ("B6",),
        rules=("S1", "S2", "S5"),
    ),
    Bug(
        "row 6",
        "a second new-view of one view is entered too",
        f"{CORE}/replica.py",
        "        if message.view == self._view and self._active:\n"
        "            return second_new_view(self._new_view, message, self.replica_set)\n",
        "",
        ("B15", "B3"),
        size=7,
        rules=("S1", "S2", "S5", "S6", "S9"),
    ),
    Bug(
        "row 7",
        "the content of a proposal is not verified before the vote",
        f"{CORE}/ledger/admission.py",
        "        if not holds:\n",
        "        if not holds and is_sm2_point(public_key):\n",
        ("B10", "B25"),
        rules=("S3",),
    ),
    Bug(
        "row 8",
        "a view-change's digest does not cover what was prepared",
        f"{CORE}/codec.py",
        "    for prepared in message.prepared:\n        _write_prepared(writer, prepared)\n"
        "    return bytes(writer)",
        "    return bytes(writer)",
        rules=("S9",),
    ),
    Bug(
        "row 9",
        "the batch of a fetched block is not held against its header",
        "guqiao_sdk/client/blocks.py",
        "    if batch.digest() != header.batch_digest or"
        " batch.block_time_ms != header.block_time_ms:\n"
        '        raise ProofError(piece, "its batch is not the one that the header names")\n'
        "    if batch.transactions_root() != header.transactions_root:\n"
        "        raise ProofError(piece,"
        ' "its transactions are not those under the header\'s root")\n',
        "",
        ("B22",),
        size=4,
        rules=("S1", "S2", "S3", "S5"),
    ),
    Bug(
        "row 10",
        "a path may be longer than its index and count allow",
        "guqiao_sdk/proof/canonical.py",
        "        if self._position != len(self._data):\n",
        "        if self._position > len(self._data):\n",
        test=f"{CONSENSUS_TESTS}/test_known_mistakes.py::test_row10",
    ),
    Bug(
        "row 11",
        "a number of the protocol comes from elsewhere than genesis",
        "services/consensus/app.py",
        "            timeout_ms=shared.view_timeout_ms,\n",
        "            timeout_ms=1_000,\n",
        test=f"{CONSENSUS_TESTS}/test_known_mistakes.py::test_row11",
    ),
    Bug(
        "row 12",
        "a verifier believes the replica set that came with the header",
        "guqiao_sdk/proof/light_client.py",
        "    if change.header.next_set_hash != new.hash():",
        "    if change.header.next_set_hash == new.chain_id.encode():",
        test="tests/unit/proof/test_known_mistakes_of_signatures.py::test_row12",
    ),
)

PATIENCE: Final = (
    Bug(
        "P7",
        "time-outs never fall back",
        f"{CORE}/timeout.py",
        "            self.attempts -= 1\n",
        "            pass\n",
        rules=("P7",),
        scenarios=("storm/24",),
    ),
    Bug(
        "P16",
        "a slow primary is never replaced",
        f"{CORE}/suspicion.py",
        "        return self._fairness.is_slow(self.timeout_ms)",
        "        return False",
        ("B7",),
        size=4,
        rules=("P16",),
    ),
    Bug(
        "V12",
        "a primary that fills the chain with empty batches is never replaced",
        f"{CORE}/empty_batches.py",
        "        return self._paid_ms - now_ms > self._borne_ms",
        "        return False",
        test=f"{CONSENSUS_TESTS}/test_empty_batches.py::test_p16_v12",
    ),
    Bug(
        "P21",
        "backups vote for any block time",
        f"{CORE}/ordering.py",
        "        return self.clock_ms - bound_ms <= batch.block_time_ms <= latest_ms",
        "        return latest_ms > 0",
        rules=("S3",),
    ),
)

BUGS: Final = (
    *QUORUMS,
    *SERVICE,
    *ROWS,
    *PATIENCE,
    *EVIDENCE,
    *CATCH_UP,
    *RESTARTS,
    *FLOOR,
    *DRIVER,
    *STATES,
    *FINALITY,
)
