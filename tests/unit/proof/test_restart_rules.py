"""When the restart of a chain that lost its quorum holds: pbft.md, Q1 to Q4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import ZERO_HASH
from guqiao_sdk.proof.light_client import (
    MisbehaviourError,
    SetChange,
    TrustedChain,
    advance,
    follow_set_changes,
)
from guqiao_sdk.proof.quorum import Member
from guqiao_sdk.proof.restart import (
    Restart,
    RestartAuthorities,
    RestartStatement,
    Role,
    restarted_set,
    signers_of,
)
from guqiao_sdk.proof.restart_rules import double_approval, verify_restart
from tests.unit.proof.proof_keys import Sm2Keys
from tests.unit.proof.restart_case import GENESIS_HASH, HEIGHT, RestartCase

CASE = RestartCase()
RESTART = CASE.restart()
SIGNERS = signers_of(RESTART.statement)


def refused(restart: Restart, code: str, why: str, case: RestartCase = CASE) -> None:
    with pytest.raises(ProofError, match=why) as error:
        case.judge(restart)
    assert error.value.code == code


@pytest.mark.req("G2-13-2", "G2-16-3")
def test_a_restart_that_all_approved_holds_and_reads_back_as_it_was_written() -> None:
    """Q2."""
    CASE.judge(RESTART)
    assert [role.name for role, _ in SIGNERS] == ["CSRC", "PROVINCE", "ENTITY", "ENTITY"]
    assert Restart.decode(RESTART.encode()) == RESTART
    assert SetChange.decode(SetChange.of_restart(RESTART).encode()).restart == RESTART
    assert RESTART.missing() == []


@pytest.mark.req("G2-16-4")
def test_a_restart_signed_with_sm2_holds_and_every_changed_signature_does_not() -> None:
    case = RestartCase(Sm2Keys(open_provider()))
    restart = case.restart()
    case.judge(restart)
    for at, approval in enumerate(restart.approvals):
        spoilt = replace(approval, signature=approval.signature[::-1])
        approvals = (*restart.approvals[:at], spoilt, *restart.approvals[at + 1 :])
        refused(replace(restart, approvals=approvals), "RESTART_APPROVAL_INVALID", "hold", case)


@pytest.mark.req("G2-16-4", "G2-13-2")
@pytest.mark.parametrize("at", range(4))
def test_no_approval_may_be_missing(at: int) -> None:
    """Q2. CSRC, the province and each entity that stays: none of them can be done without."""
    left = tuple(each for number, each in enumerate(RESTART.approvals) if number != at)
    role, entity = SIGNERS[at]
    refused(
        replace(RESTART, approvals=left),
        "RESTART_APPROVAL_MISSING",
        f"not approved by {entity or role.name.lower()}",
    )


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("at", range(4))
def test_no_approval_counts_twice_or_for_another(at: int) -> None:
    """Q2."""
    approvals = RESTART.approvals
    doubled = (*approvals, approvals[at])
    refused(replace(RESTART, approvals=doubled), "RESTART_APPROVAL_INVALID", "twice or not needed")
    reversed_order = tuple(reversed(approvals))
    refused(replace(RESTART, approvals=reversed_order), "RESTART_APPROVAL_INVALID", "twice or not")
    instead = (*approvals[:at], approvals[at - 1], *approvals[at + 1 :])
    refused(replace(RESTART, approvals=instead), "RESTART_APPROVAL_MISSING", "not approved by")


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("name", ["stranger", "csrc", "province", "shandong/0/0", "shandong/1/2"])
def test_nobody_signs_with_a_key_that_is_not_his(at: int, name: str) -> None:
    """Q2. Not with another authority's key, not with a vote key."""
    signer = SIGNERS[at]
    if signer[0].name.lower() == name:
        return
    forged = CASE.approval(RESTART.statement, signer, name)
    approvals = (*RESTART.approvals[:at], forged, *RESTART.approvals[at + 1 :])
    refused(replace(RESTART, approvals=approvals), "RESTART_APPROVAL_INVALID", "approves|his")


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("at", range(4))
def test_an_approval_of_another_statement_is_none(at: int) -> None:
    """Q2."""
    other = replace(RESTART.statement, reason="另一份声明")
    strayed = CASE.approval(other, SIGNERS[at])
    approvals = (*RESTART.approvals[:at], strayed, *RESTART.approvals[at + 1 :])
    refused(replace(RESTART, approvals=approvals), "RESTART_APPROVAL_INVALID", "under this")


@pytest.mark.req("G2-16-4")
def test_an_entity_that_is_called_like_an_authority_does_not_sign_for_it() -> None:
    """Signers are told apart by their role, not by a name that somebody chose."""
    entity = SIGNERS[2]
    as_csrc = replace(CASE.approval(RESTART.statement, entity), role=Role.CSRC, entity_id="")
    approvals = (as_csrc, *RESTART.approvals[1:])
    refused(replace(RESTART, approvals=approvals), "RESTART_APPROVAL_INVALID", "approves|his")


def changed(change: Callable[[RestartStatement], RestartStatement]) -> Restart:
    return CASE.approve(change(CASE.statement()))


def with_members(statement: RestartStatement, *members: Member) -> RestartStatement:
    return replace(statement, new_set=restarted_set(statement.header, statement.old_set, members))


OLD, NEW = CASE.old.set.members, CASE.new_set(0, 1).members
WRONG: dict[str, tuple[Callable[[RestartStatement], RestartStatement], str, str]] = {
    "another genesis": (
        lambda s: replace(s, genesis_hash=b"x" * 32),
        "RESTART_OTHER_GENESIS",
        "another genesis",
    ),
    "no reason": (lambda s: replace(s, reason=" "), "RESTART_INVALID", "no reason"),
    "a time before the header's": (
        lambda s: replace(s, time_ms=s.header.block_time_ms - 1),
        "RESTART_INVALID",
        "its time",
    ),
    "an epoch that leaps": (
        lambda s: replace(s, new_set=replace(s.new_set, epoch=2)),
        "RESTART_INVALID",
        "followed by the next one",
    ),
    "a set without a lineage": (
        lambda s: replace(s, new_set=replace(s.new_set, lineage=b"")),
        "RESTART_INVALID",
        "lineage",
    ),
    "the lineage of a restart from another header": (
        lambda s: replace(
            s, new_set=restarted_set(CASE.header(HEIGHT - 1), s.old_set, s.new_set.members)
        ),
        "RESTART_INVALID",
        "lineage",
    ),
    "another old set": (
        lambda s: replace(s, old_set=replace(s.old_set, epoch=1)),
        "RESTART_INVALID",
        "set in force",
    ),
    "a certificate of too few": (
        lambda s: replace(s, certificate=CASE.old.certify(s.header, range(2))),
        "RESTART_INVALID",
        "exactly a quorum",
    ),
    "a certificate of more than needed": (
        lambda s: replace(s, certificate=CASE.old.certify(s.header, range(4))),
        "RESTART_INVALID",
        "exactly a quorum",
    ),
    "a certificate of another header": (
        lambda s: replace(s, certificate=CASE.old.certify(CASE.header(39))),
        "PROOF_INVALID",
        "certifies another header",
    ),
    "a set of three": (lambda s: with_members(s, *NEW[:3]), "RESTART_INVALID", "REPLICAS_TOO_FEW"),
    "one entity with a quorum": (
        lambda s: with_members(
            s, NEW[0], *(replace(each, entity_id="entity-1") for each in NEW[1:])
        ),
        "RESTART_INVALID",
        "ENTITY_HOLDS_QUORUM",
    ),
    "a quorum that stands": (
        lambda s: CASE.statement(CASE.new_set(0, 1, 2)),
        "RESTART_QUORUM_STANDS",
        "3 vote keys stay",
    ),
    "nobody who stays": (
        lambda s: CASE.statement(CASE.new_set()),
        "RESTART_INVALID",
        "no entity of the old set stays",
    ),
    "a key that moves": (
        lambda s: with_members(s, replace(OLD[1], replica=0), replace(OLD[0], replica=1), *NEW[2:]),
        "RESTART_INVALID",
        "keeps its number",
    ),
    "a key that changes hands": (
        lambda s: with_members(s, replace(OLD[0], entity_id="entity-1"), *NEW[1:]),
        "RESTART_INVALID",
        "keeps its number and its entity",
    ),
    "jailed from the start": (
        lambda s: replace(s, new_set=replace(s.new_set, jailed=(3,))),
        "RESTART_INVALID",
        "jailed",
    ),
    "an entity left out": (
        lambda s: replace(s, remaining=s.remaining[:1]),
        "RESTART_INVALID",
        "exactly the entities",
    ),
    "an entity named twice": (
        lambda s: replace(s, remaining=(*s.remaining, s.remaining[0])),
        "RESTART_INVALID",
        "exactly the entities",
    ),
    "a height below what an entity holds": (
        lambda s: replace(s, remaining=(s.remaining[0], replace(s.remaining[1], height=41))),
        "RESTART_TOO_LOW",
        "holds 41",
    ),
    "a header that nobody holds": (
        lambda s: replace(s, remaining=tuple(replace(each, height=39) for each in s.remaining)),
        "RESTART_INVALID",
        "no entity that stays holds",
    ),
    "another header at its height": (
        lambda s: replace(
            s, remaining=(s.remaining[0], replace(s.remaining[1], header_hash=b"h" * 32))
        ),
        "RESTART_INVALID",
        "holds another header",
    ),
    "nothing held, and a hash": (
        lambda s: replace(s, remaining=(s.remaining[0], replace(s.remaining[1], height=0))),
        "RESTART_INVALID",
        "contradicts itself",
    ),
    "a record that the state does not prove": (
        lambda s: replace(
            s,
            remaining=(
                s.remaining[0],
                replace(s.remaining[1], record=s.remaining[1].record.replace(b"k1", b"k2")),
            ),
        ),
        "PROOF_INVALID",
        "leaf found",
    ),
    "another entity's governor": (
        lambda s: replace(
            s,
            remaining=(
                s.remaining[0],
                replace(s.remaining[0], entity_id=s.remaining[1].entity_id),
            ),
        ),
        "RESTART_INVALID",
        "active governor of it",
    ),
}


@pytest.mark.req("G2-07-2", "G2-16-3", "G2-16-4", "G2-13-2")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_statement_is_refused_whoever_signs_it(name: str) -> None:
    """Q2, Q3 and Q4."""
    change, code, why = WRONG[name]
    statement = change(CASE.statement())
    entities = {each.entity_id for each in statement.remaining}
    signers = [each for each in signers_of(statement) if not each[1] or each[1] in entities]
    refused(CASE.approve(statement, signers), code, why)


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"revoked": True}, "no key that may govern"),
        ({"not_after_ms": 1}, "no key that may govern"),
        ({"public_key": OLD[1].public_key.hex()}, "no key that may govern"),
        ({"public_key": NEW[2].public_key.hex()}, "no key that may govern"),
    ],
)
def test_a_key_that_may_not_govern_does_not_approve(change: dict[str, object], why: str) -> None:
    """Q2. Revoked, run out before the chain stopped, or a vote key of the old or the new set."""
    case = RestartCase()
    case.records["entity-1"] = case.with_key("entity-1", **change)  # type: ignore[arg-type]
    refused(case.restart(), "RESTART_INVALID", why, case)


@pytest.mark.parametrize("changes", [{"roles": ["clerk"]}, {"active": False}])
def test_only_an_active_governor_speaks_for_an_entity(changes: dict[str, object]) -> None:
    case = RestartCase()
    case.records["entity-0"] = case.record("entity-0", **changes)  # type: ignore[arg-type]
    refused(case.restart(), "RESTART_INVALID", "active governor", case)


@pytest.mark.req("G2-16-4")
def test_an_entity_whose_folder_is_lost_may_stay_and_must_approve() -> None:
    statement = CASE.statement()
    lost = replace(statement.remaining[1], height=0, header_hash=ZERO_HASH)
    CASE.judge(CASE.approve(replace(statement, remaining=(statement.remaining[0], lost))))


@pytest.mark.req("G2-13-2")
def test_without_authorities_there_is_no_ceremony() -> None:
    """Q1."""
    with pytest.raises(ProofError, match="nobody can approve") as error:
        verify_restart(
            RESTART,
            genesis_hash=GENESIS_HASH,
            authorities=None,
            old_set=CASE.old.set,
            known_header_hash=None,
            verify=CASE.verify,
        )
    assert error.value.code == "RESTART_UNAVAILABLE"


def test_the_two_authorities_are_two_keys() -> None:
    """Q1."""
    key = CASE.keys.public_key("csrc").hex()
    for value in (
        {"csrc": key, "province": key},
        {"csrc": key},
        {"csrc": key, "province": key[:-2]},
        {"csrc": key, "province": key.upper()},
        {"csrc": "04" + "00" * 64, "province": key},
        [key, key],
    ):
        with pytest.raises(ProofError):
            RestartAuthorities.from_json(value)  # type: ignore[arg-type]
    named = CASE.authorities
    assert RestartAuthorities.from_json(named.to_json()) == named


@pytest.mark.req("G2-16-4")
def test_who_approves_two_restarts_of_one_epoch_is_named() -> None:
    """Q2."""
    other = CASE.approve(replace(CASE.statement(), reason="另一份声明"))
    assert double_approval(RESTART, other, CASE.verify) == list(other.approvals)
    assert double_approval(RESTART, RESTART, CASE.verify) == []
    one = replace(other, approvals=other.approvals[1:2])
    assert [each.role for each in double_approval(RESTART, one, CASE.verify)] == [Role.PROVINCE]
    forged = replace(one, approvals=(replace(one.approvals[0], signature=bytes(64)),))
    assert double_approval(RESTART, forged, CASE.verify) == []
    later = CASE.statement()
    later = replace(later, new_set=replace(later.new_set, epoch=2))
    assert double_approval(RESTART, CASE.approve(later), CASE.verify) == []


def trusted(height: int = 0, **changes: object) -> TrustedChain:
    start = TrustedChain.from_genesis(GENESIS_HASH, CASE.old.set, CASE.authorities)
    if height:
        header = CASE.header(height)
        start = advance(start, header, CASE.old.certify(header), CASE.verify)
    return replace(start, **changes)  # type: ignore[arg-type]


CHANGE = SetChange.of_restart(RESTART)


@pytest.mark.req("G2-10-3", "G2-16-4")
@pytest.mark.parametrize("height", [0, 30, HEIGHT])
def test_a_light_client_follows_a_restart_from_below_and_from_its_very_header(height: int) -> None:
    moved = follow_set_changes(trusted(height), [CHANGE], CASE.verify)
    assert (moved.height, moved.replica_set) == (HEIGHT, RESTART.statement.new_set)
    above = CASE.header(HEIGHT + 1)
    with pytest.raises(ProofError, match="follows no trusted set change"):
        advance(moved, above, CASE.old.certify(above), CASE.verify)


@pytest.mark.req("G2-16-4")
def test_a_light_client_that_knows_more_that_is_final_refuses_a_restart_below() -> None:
    """Q3."""
    with pytest.raises(ProofError, match="height 41 is final here") as error:
        follow_set_changes(trusted(HEIGHT + 1), [CHANGE], CASE.verify)
    assert error.value.code == "RESTART_TOO_LOW"


@pytest.mark.req("G2-16-4")
def test_a_light_client_that_knows_another_header_at_the_height_sees_the_fork() -> None:
    other = CASE.header(HEIGHT, tag="other")
    known = advance(
        TrustedChain.from_genesis(GENESIS_HASH, CASE.old.set, CASE.authorities),
        other,
        CASE.old.certify(other),
        CASE.verify,
    )
    with pytest.raises(MisbehaviourError):
        follow_set_changes(known, [CHANGE], CASE.verify)


@pytest.mark.req("G2-16-4")
def test_a_restart_moves_nobody_twice_and_nobody_of_another_epoch() -> None:
    moved = follow_set_changes(trusted(), [CHANGE], CASE.verify)
    with pytest.raises(ProofError, match="set in force is that of epoch 1"):
        follow_set_changes(moved, [CHANGE], CASE.verify)


def test_a_change_that_is_not_that_of_its_restart_is_malformed() -> None:
    spoilt = replace(CHANGE, replica_set=CASE.old.set)
    with pytest.raises(MalformedError, match="not the one of the restart"):
        SetChange.decode(spoilt.encode())


@given(data=st.data())
def test_whatever_bytes_there_are_they_read_back_or_are_malformed(data: st.DataObject) -> None:
    encoded = bytearray(RESTART.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        read = Restart.decode(bytes(encoded))
    except MalformedError:
        return
    assert read.encode() == bytes(encoded)
    with pytest.raises(ProofError):
        CASE.judge(read)
