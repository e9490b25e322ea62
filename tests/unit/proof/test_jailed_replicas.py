"""A jailed replica stays in the set: its seat counts for n and q, its vote does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import verify_certificate
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance, follow_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust, encode_trust, parse_trust
from tests.unit.proof.proof_keys import FakeKeys, Replicas

REPLICAS = Replicas(FakeKeys())
JAILED = replace(REPLICAS.set, jailed=(1,))


@pytest.mark.req("G2-16-4")
@given(st.integers(4, 30), st.data())
def test_a_set_with_jailed_replicas_reads_back_and_its_primaries_may_vote(
    size: int, data: st.DataObject
) -> None:
    members = replace(REPLICAS, size=size).set
    chosen = data.draw(st.sets(st.integers(0, size - 1), max_size=members.faulty_max))
    jailed = replace(members, jailed=tuple(sorted(chosen)))
    jailed.check()
    assert ReplicaSet.decode(jailed.encode()) == jailed
    assert (jailed.hash() == members.hash()) == (not chosen)
    assert (jailed.size, jailed.quorum) == (members.size, members.quorum)
    primaries = {jailed.primary(view) for view in range(size)}
    assert primaries == set(range(size)) - chosen


@pytest.mark.parametrize("jailed", [(2, 1), (1, 1), (4,), (0, 1)])
def test_a_list_of_jailed_that_is_no_ascending_list_of_at_most_f_members_is_refused(
    jailed: tuple[int, ...],
) -> None:
    with pytest.raises(ReplicaSetError):
        replace(REPLICAS.set, jailed=jailed).check()


def test_a_set_has_one_encoding() -> None:
    with pytest.raises(MalformedError):
        ReplicaSet.decode(REPLICAS.set.encode() + bytes(4))


@pytest.mark.req("G2-16-4")
def test_a_certificate_with_the_vote_of_a_jailed_replica_is_refused() -> None:
    header, keys = REPLICAS.header(5), REPLICAS.keys
    verify_certificate(header, REPLICAS.certify(header, (0, 2, 3)), JAILED, keys.verify)
    with pytest.raises(ProofError, match="jailed"):
        verify_certificate(header, REPLICAS.certify(header, (0, 1, 2)), JAILED, keys.verify)


@pytest.mark.req("G2-16-4", "G2-10-3")
def test_a_light_client_follows_a_jailing_as_it_follows_every_set_change() -> None:
    """The old set signs the header that names the degraded one."""
    new = replace(REPLICAS.next_epoch().set, jailed=(1,))
    last = REPLICAS.header(9, next_set=new)
    change = SetChange(last, REPLICAS.certify(last), new)
    trusted = TrustedChain.from_genesis(b"g" * 32, REPLICAS.set)
    verify = REPLICAS.keys.verify
    followed = follow_set_changes(trusted, [SetChange.decode(change.encode())], verify)
    assert followed.replica_set.jailed == (1,)
    following = replace(REPLICAS.next_epoch().header(10), next_set_hash=new.hash())
    following = replace(following, parent=last.hash())
    certificate = REPLICAS.next_epoch().certify(following, (0, 2, 3))
    assert advance(followed, following, certificate, verify).height == 10
    lying = REPLICAS.next_epoch().certify(following, (0, 1, 2))
    with pytest.raises(ProofError):
        advance(followed, following, lying, verify)
    pardoned = SetChange(last, change.certificate, replace(new, jailed=()))
    with pytest.raises(ProofError, match="another set"):
        follow_set_changes(trusted, [pardoned], verify)


def test_a_trust_file_keeps_who_is_jailed() -> None:
    keys = REPLICAS.keys
    point = Checkpoint(0, 7, b"h" * 32, JAILED)
    chain = ChainTrust("shandong", b"g" * 32, (point,))
    issuer = keys.public_key("issuer")
    trust = Trust("did:rem:csrc:issuer", issuer, "2026-01-01T00:00:00+08:00", (chain,))
    data = encode_trust(trust, lambda message: keys.sign("issuer", message))
    assert parse_trust(data, keys.verify).chains == (chain,)
