"""Seals over time: what lists and certificates of then and of now say of them (G31)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from guqiao_sdk.gm.certificates import CertificateAuthority
from services.consensus.domain.contracts.chain_registry import sealing as sealing_module
from tests.unit.xchain.registered_chains import BOTH_SIDES, KEYS, NOW, crl, detail, revoked
from tests.unit.xchain.sealed_link import Link, refused_with, sealing

pytestmark = pytest.mark.req("G2-19-5")


def test_g31_a_revocation_outlives_the_list_that_drops_it_after_the_certificates_end() -> None:
    """An authority may do so (RFC 5280, 3.3)."""
    link = Link.make()
    pem = sealing(days=3)
    assert link.file(pem).accepted
    assert link.publish(crl(revoked(pem), number=2)).accepted
    packet, height = link.send(), link.market.header.height
    link.pass_days(4)
    assert link.publish(crl(number=3, since=-4, days=11)).accepted
    assert refused_with(link.deliver(packet, height)) == "CERTIFICATE_REVOKED"
    link.pass_days(5)
    assert link.publish(crl(number=4, since=-5, days=12)).accepted
    later = link.send()
    assert refused_with(link.deliver(later, link.market.header.height)) == "CERTIFICATE_EXPIRED"


def test_g31_a_list_of_after_the_certificates_end_does_not_clear_it() -> None:
    """What a list cleared that was in force at that time stays clear."""
    link = Link.make()
    assert link.file(sealing(days=9)).accepted
    clear, first = link.send(), link.market.header.height
    link.pass_days(8)
    unclear, second = link.send(), link.market.header.height
    assert link.deliver(clear, first).code == "CRL_STALE"
    link.pass_days(10)
    assert link.publish(crl(number=2, since=-10, days=17)).accepted
    assert refused_with(link.deliver(clear, first)) == ""
    assert refused_with(link.deliver(unclear, second)) == "CRL_TOO_LATE"


def test_lists_that_follow_without_a_gap_clear_what_ended_between_them() -> None:
    link = Link.make()
    assert link.file(sealing(days=9)).accepted
    link.pass_days(6)
    assert link.publish(crl(number=2, since=-6, days=13)).accepted
    link.pass_days(8)
    packet, height = link.send(), link.market.header.height
    link.pass_days(12)
    assert link.publish(crl(number=3, since=-12, days=19)).accepted
    link.pass_days(18)
    assert refused_with(link.deliver(packet, height)) == ""


def test_g31_what_was_sealed_before_a_renewal_is_judged_by_the_certificate_of_then() -> None:
    link = Link.make()
    assert link.file(sealing()).accepted
    before, height = link.send(), link.market.header.height
    link.pass_days(2)
    renewal = sealing(since=1)
    assert link.file(renewal).accepted
    assert link.file(renewal).accepted, "the same again puts nothing out of place"
    assert refused_with(link.deliver(before, height)) == ""
    assert link.publish(crl(revoked(renewal, days=2), number=2)).accepted
    assert link.answer()["code"] == "CERTIFICATE_REVOKED", "the earlier one does not help it"


def test_g31_what_was_sealed_before_a_revocation_of_the_earlier_certificate_only_counts() -> None:
    link = Link.make()
    earlier = sealing()
    assert link.file(earlier).accepted
    before, height = link.send(), link.market.header.height
    link.pass_days(2)
    assert link.file(sealing(since=1)).accepted
    assert link.publish(crl(revoked(earlier), number=2)).accepted
    assert refused_with(link.deliver(before, height)) == "CERTIFICATE_REVOKED"
    assert link.answer()["code"] == ""


def renewed_authority() -> tuple[CertificateAuthority, CertificateAuthority]:
    """An authority with the certificate that it had, and with the one that began yesterday."""
    key = KEYS.provider.keygen()
    first, second = (
        CertificateAuthority.create(
            KEYS.provider,
            key,
            organisation="换证签发机构",
            common_name="root",
            not_before=NOW + timedelta(days=start),
            not_after=NOW + timedelta(days=900),
        )
        for start in (-30, 1)
    )
    return first, second


def test_g31_a_renewed_authority_still_stands_for_what_was_sealed_before() -> None:
    link = Link.make()
    first, second = renewed_authority()

    def trust(root: CertificateAuthority) -> None:
        pem = root.certificate_pem.decode()
        link.registry.must("trust_root", BOTH_SIDES, certificate=pem)

    trust(first)
    listed = first.issue_crl(
        [], this_update=NOW - timedelta(days=1), next_update=NOW + timedelta(days=9)
    )
    assert link.publish(listed.decode()).accepted
    assert link.file(sealing(by=first)).accepted
    before, height = link.send(), link.market.header.height
    link.pass_days(2)
    trust(second)
    assert refused_with(link.deliver(before, height)) == ""
    assert link.answer()["code"] == ""


def test_where_there_is_no_room_a_new_key_takes_the_place_of_one_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing_module, "CERTIFICATES_MAX", 2)
    link = Link.make()
    assert link.file(sealing(days=3)).accepted
    assert link.file(sealing(key="a")).accepted
    full = link.file(sealing(key="b"))
    assert (full.code, detail(full)["limit"]) == ("LIMIT_EXCEEDED", "certificates")
    assert link.file(sealing(key="a", days=30)).accepted, "a renewal needs no room"
    link.pass_days(4)
    assert link.file(sealing(key="b")).accepted
    assert link.answer()["code"] == "SEAL_UNCERTIFIED"
