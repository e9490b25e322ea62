"""Mistakes of other people's code that no interleaving shows, each by its row: a P of the
reliability plan, or a row of the field lessons. The others are caught in simulation.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX
from services.consensus import app
from services.consensus.domain.codec import decode_message, encode_message
from services.consensus.domain.effects import Broadcast
from services.consensus.domain.ledger.admission import (
    TRANSACTION_BYTES_MAX,
    AdmittedTransaction,
    Refused,
)
from services.consensus.domain.ledger.genesis import PARAMETER_BOUNDS
from services.consensus.domain.messages import Digest, PeerMessage, SequenceNumber, View, ViewChange
from services.consensus.settings import Settings
from services.consensus.signing import Admission
from tests.simulation.keys import CHAIN, replica_set
from tests.simulation.workload import (
    EXPIRES_HEIGHTS,
    START_MS,
    Request,
    genesis_of,
    transaction,
    verify_many,
)
from tests.unit.consensus.protocol import (
    PAY,
    Bench,
    finality_certificate,
    prepared_certificate,
    signer,
    view_change,
)

ROOT: Final = Path(__file__).parents[3]

EXECUTE: Final = """
from guqiao_sdk.proof.batch import Batch
from tests.simulation.keys import replica_set
from tests.simulation.workload import START_MS, Execution, Request, genesis_of, transaction
execution = Execution(genesis_of(replica_set(4)))
header = execution.root
for height in range(3):
    requests = [Request(number % 4, 10 * height + number) for number in range(8)]
    batch = [transaction(each, height=height, time_ms=START_MS) for each in requests]
    header = execution.execute(header, Batch(START_MS + height, tuple(batch))).header
print(header.hash().hex())
"""


def test_p06_a_replica_joins_f_plus_one_view_changes_without_waiting_for_its_own_timer() -> None:
    bench = Bench(3)
    bench.step(view_change(1, 1), 1)
    assert bench.core.active
    effects = bench.step(view_change(2, 1), 2)
    left = [each.message for each in effects if isinstance(each, Broadcast)]
    assert [each.view for each in left if isinstance(each, ViewChange)] == [1]
    assert not bench.core.active


class KeyedProvider:
    """Only what admission asks of a provider."""

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        return verify_many(items)


@pytest.mark.parametrize("bad", range(5))
def test_p15_a_bad_signature_is_refused_at_submission_and_costs_nobody_else(bad: int) -> None:
    """A client whose request only the primary would believe gets it into no batch: it is refused
    before anybody passes it on, so no backup ever has a reason to suspect the primary.
    """
    admission = Admission(CHAIN, KeyedProvider())  # type: ignore[arg-type]
    requests = [
        transaction(
            Request(number % 4, number),
            height=0,
            time_ms=START_MS,
            signer=3 - number % 4 if number == bad else None,
        )
        for number in range(5)
    ]
    for _ in range(2):  # What held once is remembered; what did not, is not.
        verdicts = admission.judge(requests, now_height=0, block_time_ms=START_MS)
        refused = [n for n, each in enumerate(verdicts) if isinstance(each, Refused)]
        assert refused == [bad]
        assert sum(isinstance(each, AdmittedTransaction) for each in verdicts) == 4


def spoiled() -> dict[str, bytes]:
    """Transactions that admission refuses, each for another reason, and one good one."""
    request = Request(0, 1)
    good = transaction(request, height=0, time_ms=START_MS)
    return {
        "good": good,
        "cut": good[:-1],
        "longer": good + b"\x00",
        "too large": good + bytes(TRANSACTION_BYTES_MAX),
        "chain": transaction(request, height=0, time_ms=START_MS, chain="other-chain"),
        "expired": transaction(request, height=-EXPIRES_HEIGHTS, time_ms=START_MS),
        "too far": transaction(request, height=EXPIRY_HEIGHTS_MAX, time_ms=START_MS),
        "signer": transaction(request, height=0, time_ms=START_MS, signer=1),
    }


@pytest.mark.parametrize("name", spoiled())
def test_row31_a_primary_admits_nothing_that_backups_refuse_and_they_nothing_else(
    name: str,
) -> None:
    """One function at submission and for a proposed batch: the verdict and its code are the same,
    whatever stands beside it in the batch and whether or not it was judged before.
    """
    encoded, admission = spoiled()[name], Admission(CHAIN, KeyedProvider())  # type: ignore[arg-type]
    place = {"now_height": 0, "block_time_ms": START_MS}
    (submitted,) = admission.judge([encoded], **place)
    assert isinstance(submitted, AdmittedTransaction) == (name == "good")
    beside = spoiled()["good"]
    backup = Admission(CHAIN, KeyedProvider())  # type: ignore[arg-type]
    proposed = backup.judge_batch([beside, encoded], [None, None], **place)
    assert proposed[1] == submitted


def test_p20_execution_is_the_same_under_other_hash_seeds_and_time_zones() -> None:
    settings = [("0", "UTC"), ("1", "Asia/Shanghai"), ("4242", "America/St_Johns")]
    headers = {
        subprocess.run(
            [sys.executable, "-c", EXECUTE],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in settings
    }
    assert len(headers) == 1


def test_row10_lengths_and_counts_that_disagree_with_what_follows_are_refused() -> None:
    digest = Digest(PAY.digest())
    votes: list[PeerMessage] = [
        signer(1).prepare(View(0), SequenceNumber(1), digest),
        signer(1).checkpoint(SequenceNumber(1), digest),
        view_change(1, 1, certified=3, prepared=(prepared_certificate(0, 4, PAY.digest()),)),
        signer(0).pre_prepare(View(0), SequenceNumber(1), PAY),
    ]
    for message in votes:
        data = encode_message(message)
        assert decode_message(data) == message
        for wrong in (data + b"\x00", data[:-1]):
            with pytest.raises(MalformedError):
                decode_message(wrong)
    for encoded, decode in (
        (PAY.encode(), Batch.decode),
        (finality_certificate(1, b"h" * 32).encode(), FinalityCertificate.decode),
    ):
        with pytest.raises(MalformedError):
            decode(encoded + b"\x00")


def test_row10_more_certificates_than_a_view_change_counts_are_refused() -> None:
    message = view_change(1, 1, prepared=(prepared_certificate(0, 1, PAY.digest()),))
    bare = replace(message, prepared=())
    assert isinstance(message, ViewChange)
    head = len(encode_message(bare)) - 64 - 4
    data = bytearray(encode_message(message))
    data[head : head + 4] = (2).to_bytes(4, "big")
    with pytest.raises(MalformedError):
        decode_message(bytes(data))


def test_row11_every_number_of_the_protocol_comes_from_genesis_alone() -> None:
    genesis = genesis_of(replica_set(4))
    taken = {
        "window": "window",
        "view_timeout_ms": "timeout_ms",
        "view_timeout_max_ms": "timeout_max_ms",
        "heartbeat_ms": "heartbeat_ms",
        "clock_bound_ms": "block_time_bound_ms",
    }
    for name, told in taken.items():
        value = getattr(genesis.parameters, name) + 7
        parameters = replace(genesis.parameters, **{name: value})
        assert getattr(app._parameters(replace(genesis, parameters=parameters)), told) == value
    assert not set(PARAMETER_BOUNDS) & set(Settings.model_fields)


def test_the_provider_that_production_opens_refuses_what_the_keyed_one_refuses() -> None:
    """D1: the signatures of these tests are as strict as those of production."""
    provider = open_provider()
    bad = transaction(Request(0, 1), height=0, time_ms=START_MS)
    verdict = Admission(CHAIN, provider).judge([bad], now_height=0, block_time_ms=START_MS)[0]
    assert isinstance(verdict, Refused)
    assert verdict.code == "ALG_NOT_GM"
