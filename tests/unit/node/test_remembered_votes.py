"""Signatures of peers that held are not verified again; nothing else is remembered of them."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from guqiao_sdk.gm.provider import GmProvider
from services.consensus import signing
from services.consensus.domain.messages import Digest, PeerMessage, SequenceNumber, View
from services.consensus.domain.view_change import chosen_batches
from services.consensus.signing import Authenticator
from tests.simulation.keys import replica_set, verify
from tests.unit.consensus.protocol import Bench, prepared_certificate, signer, view_change

WINDOW = 4
PLACE = (View(0), SequenceNumber(3), Digest(b"d" * 32))
PREPARED = prepared_certificate(*PLACE)
CHANGES = (
    view_change(0, 1, certified=2),
    view_change(2, 1, certified=2, prepared=(PREPARED,)),
    view_change(3, 1, certified=2, prepared=(PREPARED,)),
)


class Counting:
    """Verifies as the simulator does, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return verify(public_key, message, signature)


class Replica:
    """An authenticator, and how many signatures it verified for each message."""

    def __init__(self) -> None:
        self._provider = Counting()
        self._authenticator = Authenticator(WINDOW, cast(GmProvider, self._provider))
        self._core = Bench(0).core

    def judge(self, sender: int, message: PeerMessage) -> tuple[bool, int]:
        """Whether the message is authentic, and how many verifications that took."""
        before = self._provider.count
        verdict = self._authenticator.judge(self._core, [(sender, message)])[0]
        return verdict is None, self._provider.count - before


def a_new_view() -> Any:
    return signer(1).new_view(View(1), CHANGES, chosen_batches(CHANGES))


def test_a_vote_that_is_sent_again_is_not_verified_again() -> None:
    replica, vote = Replica(), signer(2).commit(*PLACE)
    assert replica.judge(2, vote) == (True, 1)
    assert replica.judge(2, vote) == (True, 0)


def test_a_view_change_costs_nothing_beyond_the_votes_that_it_shows() -> None:
    replica = Replica()
    for sender in (2, 3):
        replica.judge(sender, signer(sender).prepare(*PLACE))
    for sender in (0, 1, 2):
        replica.judge(sender, signer(sender).checkpoint(SequenceNumber(2), Digest(b"h" * 32)))
    authentic, count = replica.judge(2, CHANGES[1])
    assert authentic
    assert count < replica_set(4).quorum * 2, "its own signature, and votes not yet seen"
    assert replica.judge(2, CHANGES[1]) == (True, 0)


def test_a_new_view_of_view_changes_that_were_seen_costs_its_own_signatures_only() -> None:
    replica, message = Replica(), a_new_view()
    for change in CHANGES:
        assert replica.judge(change.replica, change)[0]
    assert replica.judge(1, message) == (True, 1 + len(message.reproposals))


def test_a_signature_that_held_for_one_message_holds_for_no_other() -> None:
    replica, vote = Replica(), signer(2).commit(*PLACE)
    replica.judge(2, vote)
    other = dataclasses.replace(vote, digest=Digest(b"e" * 32))
    assert replica.judge(2, other) == (False, 1)


def test_a_signature_that_did_not_hold_is_judged_anew_each_time() -> None:
    replica = Replica()
    spoiled = dataclasses.replace(signer(2).commit(*PLACE), signature=bytes(64))
    assert replica.judge(2, spoiled) == (False, 1)
    assert replica.judge(2, spoiled) == (False, 1)


def test_only_the_latest_signatures_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "VERIFIED_VOTES_MAX", 1)
    replica = Replica()
    first, second = signer(2).commit(*PLACE), signer(3).commit(*PLACE)
    assert [replica.judge(2, first)[1], replica.judge(3, second)[1]] == [1, 1]
    assert replica.judge(2, first) == (True, 1)
