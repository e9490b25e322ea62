"""Which authority may vouch for whom, and whose list revokes."""

from __future__ import annotations

import dataclasses

import pytest

from guqiao_sdk.gm.certificates import (
    CertificateAuthority,
    CertificateMalformedError,
    CertificateRefusedError,
    RefusalReason,
    RevokedCertificate,
    TrustAnchors,
    authority,
    parse_certificate,
    verify_chain,
)
from tests.unit.gm.certificate_world import DAY, NOW, REPLICA, START, World, make_authority, trusted


def test_a_list_of_another_authority_is_malformed_beside_this_one(world: World) -> None:
    other = make_authority(world.provider, "Another Root")
    crl = other.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    with pytest.raises(CertificateMalformedError, match="another authority's"):
        TrustAnchors([trusted(world.authority, crl)])


@pytest.mark.req("G2-09-6", "G2-16-1")
@pytest.mark.parametrize("other_name", ["Another Root", "Guqiao Root"])
@pytest.mark.parametrize(
    "identity", ["guqiao:replica:csrc/0", "guqiao:service:csrc/gateway", "did:rem:csrc:u1"]
)
def test_an_authority_vouches_for_its_own_domains_only(
    world: World, identity: str, other_name: str
) -> None:
    """Two roots are trusted, each for its domain, even if they bear one name."""
    other = make_authority(world.provider, other_name)
    crl = other.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    both = [trusted(world.authority, world.crl), trusted(other, crl, domain="csrc")]
    certificate = world.issue(identity)
    with pytest.raises(CertificateRefusedError) as caught:
        verify_chain(certificate, both, at=NOW)
    assert caught.value.reason in {RefusalReason.UNKNOWN_ISSUER, RefusalReason.BAD_SIGNATURE}
    assert identity in caught.value.en
    assert verify_chain(world.certificate, both, at=NOW).identity == REPLICA
    own = dataclasses.replace(world, authority=other).issue(identity)
    assert verify_chain(own, both, at=NOW).identity == identity


def test_for_a_domain_without_an_authority_nobody_vouches(world: World) -> None:
    for identity in ("guqiao:replica:hubei/0", "guqiao:service:hubei/gateway"):
        with pytest.raises(CertificateRefusedError, match="no authority is trusted for its domain"):
            world.judge(world.issue(identity))


def test_the_authoritys_own_certificate_is_nobodys(world: World) -> None:
    with pytest.raises(CertificateRefusedError) as caught:
        world.judge(world.authority.certificate_pem)
    assert caught.value.reason is RefusalReason.UNKNOWN_ISSUER


@pytest.mark.req("G2-09-6", "G2-16-1")
def test_a_list_that_another_domains_authority_makes_in_this_ones_name_is_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this one's name and key identifier: beside the true list it would end handshakes."""
    namesake = make_authority(world.provider, "Guqiao Root")
    key_id, own = authority._key_id, world.authority.info.public_key
    with monkeypatch.context() as patched:
        patched.setattr(authority, "_key_id", lambda _: key_id(own))
        crl = namesake.issue_crl([], this_update=START + DAY, next_update=START + 30 * DAY)
    with pytest.raises(CertificateMalformedError, match="another authority's"):
        TrustAnchors([trusted(world.authority, world.crl, crl)])
    # Beside its own root it is believed, and harms nobody else.
    honest = namesake.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    anchors = [trusted(world.authority, world.crl), trusted(namesake, honest, domain="csrc")]
    assert verify_chain(world.certificate, anchors, at=NOW).identity == REPLICA


@pytest.mark.req("G2-09-6")
def test_only_the_issuers_own_list_revokes(world: World) -> None:
    """The same serial number on another authority's list means another certificate."""
    info = parse_certificate(world.certificate)
    revoked = [RevokedCertificate(info.serial, START)]
    other = make_authority(world.provider, "Another Root")

    def lists(authority: CertificateAuthority) -> bytes:
        return authority.issue_crl(revoked, this_update=START, next_update=START + DAY)

    for domain in ("csrc", "shandong"):
        beside = trusted(other, lists(other), domain=domain)
        anchors = TrustAnchors([trusted(world.authority, world.crl), beside])
        assert not anchors.lists_as_revoked(info)
    assert TrustAnchors([trusted(world.authority, lists(world.authority))]).lists_as_revoked(info)
