"""Restarts right behind a set change, and behind another restart: pbft.md, Q2 and Q9."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from guqiao_sdk.archive.records import RESTARTS, read_restarts
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance, follow_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import Restart, Role, restarted_set
from services.consensus.restart import Survivor, judge
from tests.unit.proof.proof_keys import Replicas
from tests.unit.proof.restart_case import GENESIS_HASH, HEIGHT, RestartCase

CASE = RestartCase()
RESTART = CASE.restart()
TRUSTED = TrustedChain.from_genesis(GENESIS_HASH, CASE.old.set, CASE.authorities)


def set_of(epoch: int, **seats: str) -> ReplicaSet:
    """The first set's members, but for some seats, which the keys of these epochs take."""
    members = list(CASE.old.set.members)
    for seat, key in seats.items():
        at = int(seat[1:])
        name = f"shandong/{key}/{at}"
        members[at] = replace(
            members[at], public_key=CASE.keys.public_key(name), entity_id=f"{key}-{at}"
        )
    return ReplicaSet("shandong", epoch, tuple(members))


def signed(header: BlockHeader, *names: str, lineage: bytes = b"") -> FinalityCertificate:
    message = checkpoint_sign_bytes(header, lineage)
    signatures = tuple(
        (int(name[-1]), CASE.keys.sign(name, message))
        for name in sorted(names, key=lambda n: n[-1])
    )
    return FinalityCertificate(header.hash(), signatures)


def header_of(epoch: int, height: int, following: ReplicaSet) -> BlockHeader:
    header = Replicas(CASE.keys, epoch=epoch).header(height)
    return replace(header, next_set_hash=following.hash())


def restart_behind(header: BlockHeader, old: ReplicaSet, new: ReplicaSet) -> Restart:
    statement = CASE.statement()
    certificate = CASE.old.certify(header)
    new_set = restarted_set(header, old, new.members)
    statement = replace(
        statement, header=header, certificate=certificate, old_set=old, new_set=new_set
    )
    remaining = tuple(CASE.remaining(each, header) for each in statement.entities_staying())
    return CASE.approve(replace(statement, remaining=remaining))


@pytest.mark.req("G2-10-3", "G2-13-2")
def test_a_set_that_is_lost_before_its_first_block_is_followed_by_a_restart() -> None:
    """The last header of epoch 0 names the set of epoch 1, which certifies nothing."""
    second = set_of(1, s3="later")
    end = replace(CASE.header(), next_set_hash=second.hash())
    change = SetChange(end, CASE.old.certify(end), second)
    restart = restart_behind(end, second, set_of(2, s2="new", s3="new"))
    again, third = SetChange.of_restart(restart), restart.statement.new_set
    after = header_of(2, HEIGHT + 5, third)
    names = ("shandong/0/0", "shandong/0/1", "shandong/new/2")
    certificate = signed(after, *names, lineage=third.lineage)
    moved = advance(TRUSTED, after, certificate, CASE.verify, [change, again])
    assert (moved.height, moved.replica_set) == (HEIGHT + 5, third)
    with pytest.raises(ProofError, match="set in force is that of epoch 0"):
        follow_set_changes(TRUSTED, [again], CASE.verify)
    history = SetHistory(
        ChainTrust("shandong", GENESIS_HASH, CASE.old.set, CASE.authorities), CASE.verify
    )
    history.learn([change.encode(), again.encode()])
    assert history.set_of(after) == third
    with pytest.raises(ProofError, match="epoch 1 ended below it"):
        history.set_of(header_of(1, HEIGHT + 1, second))


@pytest.mark.req("G2-10-3", "G2-13-2")
def test_a_restart_that_fails_before_its_first_block_is_followed_by_another() -> None:
    """Those who came with it have no governor in the state under the header: they leave again."""
    header = CASE.header()
    first = restart_behind(header, CASE.old.set, set_of(1, s2="new", s3="new"))
    second = restart_behind(header, first.statement.new_set, set_of(2, s2="more", s3="more"))
    one, two, third = *map(SetChange.of_restart, (first, second)), second.statement.new_set
    moved = follow_set_changes(TRUSTED, [one, two], CASE.verify)
    assert (moved.height, moved.replica_set) == (HEIGHT, third)
    with pytest.raises(ProofError, match="set in force is that of epoch 0"):
        follow_set_changes(TRUSTED, [two], CASE.verify)


@pytest.mark.req("G2-16-4")
def test_a_restart_does_not_pass_over_a_set_change_that_its_header_names() -> None:
    """The header names the next set; the statement goes on as if the old one were still due."""
    second = set_of(1, s3="later")
    end = replace(CASE.header(), next_set_hash=second.hash())
    skipping = restart_behind(end, CASE.old.set, set_of(1, s2="new", s3="new"))
    known = advance(TRUSTED, end, CASE.old.certify(end), CASE.verify)
    for trusted in (TRUSTED, known):
        with pytest.raises(ProofError, match="names another set for the next height"):
            follow_set_changes(trusted, [SetChange.of_restart(skipping)], CASE.verify)


def behind(height: int, present: ReplicaSet) -> Survivor:
    """A stopped replica that has blocks up to `height`, which the set `present` follows."""
    header = CASE.header(height)
    folder = SimpleNamespace(
        number=3,
        genesis=SimpleNamespace(hash=lambda: GENESIS_HASH, restart_authorities=CASE.authorities),
        sets=SimpleNamespace(set_at=lambda number: present, restart_base=lambda epoch: None),
        store=SimpleNamespace(get_header=lambda number: header if number == height else None),
        held=lambda: header,
    )
    return cast(Survivor, folder)


@pytest.mark.req("G2-13-2")
def test_q5_who_is_behind_goes_by_a_restart_from_the_last_header_of_an_epoch() -> None:
    """The old set begins behind the header, and its own set certified that one."""
    second = set_of(1, s3="later")
    end = replace(CASE.header(), next_set_hash=second.hash())
    restart = restart_behind(end, second, set_of(2, s2="new", s3="new"))
    judge(behind(HEIGHT - 1, CASE.old.set), restart, CASE.verify)
    judge(behind(HEIGHT - 1, set_of(7)), restart, CASE.verify)
    forged = replace(restart.statement.certificate, signatures=((0, bytes(64)),) * 3)
    spoiled = CASE.approve(replace(restart.statement, certificate=forged))
    with pytest.raises(ProofError, match="finality certificate"):
        judge(behind(HEIGHT - 1, CASE.old.set), spoiled, CASE.verify)
    other = CASE.approve(replace(restart.statement, header=replace(end, next_set_hash=b"n" * 32)))
    with pytest.raises(ProofError):
        judge(behind(HEIGHT - 1, CASE.old.set), other, CASE.verify)


@pytest.mark.req("G2-13-2", "G2-16-4")
def test_q5_below_the_header_the_two_authorities_alone_are_believed() -> None:
    """Its own set has no key of the statement's old set. What is wrong in itself, or lacks one of
    the two, is refused all the same; who holds the header believes nobody.
    """
    others = set_of(0, s0="real", s1="real", s2="real", s3="real")
    judge(behind(HEIGHT - 1, others), RESTART, CASE.verify)
    for role in (Role.CSRC, Role.PROVINCE):
        at = [each.role for each in RESTART.approvals].index(role)
        stranger = CASE.approval(RESTART.statement, (role, ""), "stranger")
        approvals = (*RESTART.approvals[:at], stranger, *RESTART.approvals[at + 1 :])
        with pytest.raises(ProofError, match="a key that is not his"):
            judge(behind(HEIGHT - 1, others), replace(RESTART, approvals=approvals), CASE.verify)
    elsewhere = CASE.approve(replace(RESTART.statement, genesis_hash=b"x" * 32))
    with pytest.raises(ProofError, match="another genesis"):
        judge(behind(HEIGHT - 1, others), elsewhere, CASE.verify)
    of_nobody = CASE.old.certify(CASE.header(HEIGHT, tag="other"))
    certificate = replace(of_nobody, header_hash=RESTART.statement.header.hash())
    unsigned = CASE.approve(replace(RESTART.statement, certificate=certificate))
    with pytest.raises(ProofError, match="finality certificate"):
        judge(behind(HEIGHT - 1, others), unsigned, CASE.verify)
    with pytest.raises(ProofError, match="the set in force is that of epoch 0"):
        judge(behind(HEIGHT, others), RESTART, CASE.verify)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("key", ["no hex", "0", "é" * 130])
def test_a_governor_whose_key_is_no_hex_cannot_approve(key: str) -> None:
    case = RestartCase()
    name = case.old.set.members[0].entity_id
    case.records[name] = case.with_key(name, public_key=key)
    with pytest.raises(ProofError, match="not in hex") as raised:
        case.judge(case.restart())
    assert raised.value.code == "RESTART_INVALID"


@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 100_000, b"7", b'"no hex"', b'"0a"'])
def test_a_value_of_an_archive_that_is_no_restart_is_malformed(value: bytes) -> None:
    written = Writer().u32(1).blob(RESTARTS + b"1").u8(1).blob(value)
    with pytest.raises(MalformedError):
        read_restarts(Reader(bytes(written)))
