"""Forms that no correct replica sends, and parameters under which no chain runs: all are refused,
and change nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.codec import (
    Kind,
    decode_message,
    decode_record,
    encode_message,
    read_proposal_ends,
)
from services.consensus.domain.hearsay import Hearsay
from services.consensus.domain.messages import (
    NUMBER_MAX,
    Hello,
    PeerMessage,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.statements import decode_statement, encode_statement, statement_of
from services.consensus.domain.view_change import ViewChanges
from tests.simulation.keys import replica_set, verify
from tests.unit.consensus.protocol import (
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    signer,
    view_change,
)

SET = replica_set(4)
HELLO = Hello(View(2), True, False, SequenceNumber(3), 0)
PROPOSAL = signer(0).pre_prepare(View(0), SequenceNumber(1), a_batch("pay"))


def test_what_is_no_proposal_or_ends_before_its_signature_has_no_ends() -> None:
    """D1: whose proposal it is, is read before the rest of it."""
    encoded = encode_message(PROPOSAL)
    ends = read_proposal_ends(encoded)
    assert (ends.view, ends.sequence, ends.signature) == (0, 1, PROPOSAL.signature)
    with pytest.raises(MalformedError, match="no pre-prepare"):
        read_proposal_ends(encode_message(HELLO))
    with pytest.raises(MalformedError, match="without a signature"):
        read_proposal_ends(encoded[:60])


def test_a_hello_is_no_record_and_no_unknown_kind_is_a_message() -> None:
    """D1: what is decoded is of a kind that its place has."""
    encoded = encode_message(HELLO)
    assert decode_message(encoded) == HELLO
    with pytest.raises(MalformedError, match="a hello is no record"):
        decode_record(encoded)
    for number in (0, Kind.EPOCH_STARTED, max(Kind) + 1):
        with pytest.raises(MalformedError, match=f"{int(number)} is no kind of message"):
            decode_message(bytes([number]) + encoded[1:])


def test_a_block_time_beyond_the_numbers_of_the_protocol_is_malformed() -> None:
    """D1: no clock shows it."""
    latest = signer(0).pre_prepare(View(0), SequenceNumber(1), a_batch("pay", NUMBER_MAX))
    assert decode_message(encode_message(latest)) == latest
    beyond = replace(latest, batch=replace(latest.batch, block_time_ms=NUMBER_MAX + 1))
    with pytest.raises(MalformedError, match="a block time of"):
        decode_message(encode_message(beyond))


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    ("message", "sender", "reason"),
    [
        (view_change(2, 0), 2, "a view-change to view 0"),
        (signer(0).new_view(View(0), (), ()), 0, "a new-view of view 0"),
    ],
)
def test_nobody_asks_for_the_first_view_or_opens_it(
    message: PeerMessage, sender: int, reason: str
) -> None:
    """V3 and V5: view 0 needs neither."""
    refused = authenticate(message, ReplicaId(sender), SET, verify, PARAMETERS.window)
    assert refused is not None
    assert refused.reason == reason


@pytest.mark.parametrize("window", [0, 10**9])
def test_a_window_that_no_chain_has_is_refused(window: int) -> None:
    """N10: the high watermark lies a window above the low one."""
    with pytest.raises(ValueError, match="a window of"):
        replace(PARAMETERS, window=window)


@pytest.mark.parametrize(
    "times",
    [
        {"timeout_ms": 0},
        {"heartbeat_ms": 0},
        {"resend_ms": 0},
        {"block_time_bound_ms": 0},
        {"timeout_max_ms": PARAMETERS.timeout_ms - 1},
        {"timeout_max_ms": NUMBER_MAX + 1},
    ],
)
def test_times_under_which_nothing_would_end_are_refused(times: dict[str, int]) -> None:
    """V8: time-outs double up to the longest."""
    with pytest.raises(ValueError, match="a time of zero, or a longest time-out"):
        replace(PARAMETERS, **times)


def test_a_view_change_to_an_earlier_view_replaces_none_and_is_no_equivocation() -> None:
    """V5: the latest of each counts, and exactly for its view."""
    changes = ViewChanges(ReplicaId(0), SET)
    assert changes.quorum_for(View(1), SequenceNumber(0)) is None, "nobody asked"
    for view in (3, 2):
        assert changes.add(view_change(1, view)) == []
    assert changes.support(View(3)) == 1
    changes.add(view_change(0, 3))
    changes.add(view_change(2, 3))
    assert changes.quorum_for(View(2), SequenceNumber(0)) is None, "it asked for another"
    quorum = changes.quorum_for(View(3), SequenceNumber(0))
    assert quorum is not None
    assert [each.replica for each in quorum] == [0, 1, 2]


def test_a_replica_holds_a_proposal_by_its_signature_alone_with_its_batch() -> None:
    """D1: what is held needs no second look."""
    bench = Bench(me=1)
    place = View(0), SequenceNumber(1)
    assert not bench.core.holds(*place, PROPOSAL.signature)
    bench.receive_pre_prepare(1, a_batch("pay"))
    assert bench.core.holds(*place, PROPOSAL.signature)
    assert not bench.core.holds(*place, bytes(64))
    assert not bench.core.holds(View(1), SequenceNumber(1), PROPOSAL.signature)
    assert not bench.core.holds(View(0), SequenceNumber(2), PROPOSAL.signature)


def test_a_statement_of_no_known_type_is_malformed() -> None:
    """E2: evidence is two statements, read strictly."""
    statement = statement_of(PROPOSAL, SET)
    encoded = encode_statement(statement)
    assert decode_statement(encoded, ReplicaId(0)) == statement
    with pytest.raises(MalformedError, match="99 is no type of statement"):
        decode_statement(bytes([99]) + encoded[1:], ReplicaId(0))


def test_a_peer_that_was_just_helped_is_helped_again_after_a_while_only() -> None:
    """V9: each peer once in a resend interval."""
    hearsay, peer = Hearsay(0, PARAMETERS.resend_ms), ReplicaId(2)
    opened = signer(1).new_view(View(1), (), ())
    assert hearsay.help(peer, opened, START_MS) == [], "it said nothing"
    hearsay.hear(peer, Hello(View(0), True, False, SequenceNumber(0), 0))
    assert len(hearsay.help(peer, opened, START_MS)) == 1
    assert hearsay.help(peer, opened, START_MS + PARAMETERS.resend_ms - 1) == []
    assert len(hearsay.help(peer, opened, START_MS + PARAMETERS.resend_ms)) == 1
    hearsay.hear(peer, Hello(View(1), True, False, SequenceNumber(0), 0))
    assert hearsay.help(peer, opened, START_MS + 10_000) == []
