"""Certificates we issue: OpenSSL accepts them, and every reason for refusing one is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from OpenSSL import crypto

from guqiao_sdk.gm.certificates import (
    Authority,
    CertificateAuthority,
    CertificateMalformedError,
    CertificateRefusedError,
    IdentityKind,
    IdentityMalformedError,
    RefusalReason,
    RevokedCertificate,
    TrustAnchors,
    identity_kind,
    parse_certificate,
    replica_identity,
    service_identity,
    verify_chain,
)
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.provider import GmProvider
from tests.unit.gm.certificate_world import DAY, NOW, REPLICA, START, World, make_authority, trusted

PERIOD = pytest.mark.parametrize(
    ("ends", "begins", "period"),
    [
        ((10, 20, 30), (0, 0), (0, 10)),
        ((20, 10, 30), (0, 0), (0, 10)),
        ((30, 20, 10), (0, 0), (0, 10)),
        ((30, 20, 10), (5, 0), (5, 10)),
        ((30, 20, 10), (0, 5), (5, 10)),
    ],
    ids=["the certificate ends", "the list", "the authority", "the certificate begins", "the list"],
)


@pytest.mark.req("G2-09-6")
def test_a_certificate_says_what_it_was_issued_for(world: World) -> None:
    info = parse_certificate(world.certificate)
    assert info.identity == REPLICA
    assert info.organisation == "示例股权交易中心"
    assert info.common_name == REPLICA
    assert info.issuer_common_name == "Guqiao Root"
    assert info.public_key == world.key.public_key
    assert (info.not_before, info.not_after) == (START, START + 100 * DAY)
    assert not info.is_authority
    assert 0 < info.serial < 2**127 + 1
    assert parse_certificate(world.authority.certificate_pem).is_authority
    assert parse_certificate(world.authority.certificate_pem).identity is None


@pytest.mark.req("G2-09-4", "G2-09-6")
def test_openssl_accepts_the_chain_with_an_empty_revocation_list(world: World) -> None:
    info = verify_chain(world.certificate, [trusted(world.authority, world.crl)], at=NOW)
    assert info == parse_certificate(world.certificate)


def test_a_replica_can_open_links_and_a_user_can_only_sign(world: World) -> None:
    def extensions(pem_bytes: bytes) -> tuple[x509.ExtendedKeyUsage, x509.KeyUsage]:
        read = x509.load_pem_x509_certificate(pem_bytes).extensions
        return (
            read.get_extension_for_class(x509.ExtendedKeyUsage).value,
            read.get_extension_for_class(x509.KeyUsage).value,
        )

    purposes, usage = extensions(world.certificate)
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert usage.digital_signature
    assert not usage.key_cert_sign
    purposes, usage = extensions(world.issue("did:rem:shandong:u-17"))
    assert ExtendedKeyUsageOID.CLIENT_AUTH not in purposes
    assert ExtendedKeyUsageOID.SERVER_AUTH not in purposes
    assert usage.content_commitment


def test_a_links_certificate_also_names_its_hosts(world: World) -> None:
    names = (
        x509.load_pem_x509_certificate(world.certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_serial_numbers_do_not_repeat(world: World) -> None:
    serials = {parse_certificate(world.issue()).serial for _ in range(20)}
    assert len(serials) == 20


@pytest.mark.req("G2-09-6", "G2-16-1")
def test_a_revoked_certificate_is_refused_and_others_are_not(world: World) -> None:
    other = world.issue("guqiao:service:shandong/gateway")
    crl = world.authority.reissue_crl(
        world.crl,
        this_update=NOW,
        next_update=NOW + 30 * DAY,
        also_revoked=[RevokedCertificate(parse_certificate(world.certificate).serial, NOW)],
    )
    with pytest.raises(CertificateRefusedError, match="revoked") as caught:
        world.judge(world.certificate, crl=crl)
    assert caught.value.reason is RefusalReason.REVOKED
    assert caught.value.holder == REPLICA
    assert "吊销" in caught.value.zh
    world.judge(other, crl=crl)


def test_a_reissued_list_keeps_what_was_revoked_and_counts_up(world: World) -> None:
    serial = parse_certificate(world.certificate).serial
    first = world.authority.issue_crl(
        [RevokedCertificate(serial, NOW)], this_update=NOW, next_update=NOW + DAY
    )
    again = [RevokedCertificate(77, NOW), RevokedCertificate(serial, START)]
    second = world.authority.reissue_crl(
        first, also_revoked=again, this_update=NOW, next_update=NOW + DAY
    )
    read = x509.load_pem_x509_crl(second)
    assert {entry.serial_number for entry in read} == {serial, 77}
    entry = read.get_revoked_certificate_by_serial_number(serial)
    assert entry is not None
    assert entry.revocation_date_utc == NOW, "the first date of a revocation stands"
    number = read.extensions.get_extension_for_class(x509.CRLNumber).value
    assert number.crl_number == 2


def test_a_list_of_another_authority_is_not_extended(world: World) -> None:
    other = make_authority(world.provider)
    foreign = other.issue_crl([], this_update=NOW, next_update=NOW + DAY)
    for previous, text in ((foreign, "not ours"), (b"garbage", "cannot be read")):
        with pytest.raises(CertificateMalformedError, match=text):
            world.authority.reissue_crl(previous, this_update=NOW, next_update=NOW + DAY)


@pytest.mark.req("G2-16-1")
def test_a_stale_list_refuses_everything(world: World) -> None:
    with pytest.raises(CertificateRefusedError, match="out of date") as caught:
        world.judge(world.certificate, at=START + 31 * DAY)
    assert caught.value.reason is RefusalReason.CRL_STALE


def test_without_a_list_everything_is_refused(world: World) -> None:
    with pytest.raises(CertificateRefusedError) as caught:
        verify_chain(world.certificate, [trusted(world.authority)], at=NOW)
    assert caught.value.reason is RefusalReason.CRL_MISSING


def test_a_list_that_somebody_else_signed_in_our_name_is_refused(world: World) -> None:
    namesake = make_authority(world.provider)
    crl = namesake.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    with pytest.raises(CertificateMalformedError, match="another authority's"):
        world.judge(world.certificate, crl=crl)


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (START - DAY, RefusalReason.NOT_YET_VALID),
        (START + 8 * DAY, RefusalReason.EXPIRED),
    ],
)
def test_a_certificate_is_good_only_in_its_time(
    world: World, at: datetime, reason: RefusalReason
) -> None:
    short = world.issue(days=7)
    crl = world.authority.issue_crl([], this_update=START - 9 * DAY, next_update=START + 30 * DAY)
    world.judge(short, crl=crl, at=START + 6 * DAY)
    with pytest.raises(CertificateRefusedError) as caught:
        world.judge(short, crl=crl, at=at)
    assert caught.value.reason is reason


@pytest.mark.req("G2-16-1")
@PERIOD
def test_a_certificate_that_is_good_is_good_for_a_period_that_is_told(
    world: World, ends: tuple[int, int, int], begins: tuple[int, int], period: tuple[int, int]
) -> None:
    """All days are counted from START. Outside it `verify` says something else."""
    (of_leaf, of_list, of_root), (leaf_from, list_from) = ends, begins
    provider, second = world.provider, timedelta(seconds=1)
    authority = CertificateAuthority.create(
        provider, provider.keygen(), organisation="示例监管机构", common_name="Root",
        not_before=START, not_after=START + of_root * DAY,
    )  # fmt: skip
    certificate = authority.issue(
        REPLICA, world.key.public_key, organisation="示例股权交易中心", common_name=REPLICA,
        not_before=START + leaf_from * DAY, not_after=START + of_leaf * DAY,
    )  # fmt: skip
    crl = authority.issue_crl(
        [], number=1, this_update=START + list_from * DAY, next_update=START + of_list * DAY
    )
    anchors = TrustAnchors([trusted(authority, crl)])
    leaf = x509.load_pem_x509_certificate(certificate)
    first, end = anchors.period(parse_certificate(certificate))
    assert (first, end) == (START + period[0] * DAY, START + period[1] * DAY)
    for good in (first, end - second):
        anchors.verify(leaf, good)
    for bad in (first - second, end + second):
        with pytest.raises(CertificateRefusedError):
            anchors.verify(leaf, bad)


def test_another_authority_vouches_for_nothing_here(world: World) -> None:
    for name in ("Guqiao Root", "Other Root"):
        foreign = make_authority(world.provider, name)
        certificate = foreign.issue(
            REPLICA,
            world.key.public_key,
            organisation="o",
            common_name="c",
            not_before=START,
            not_after=START + 100 * DAY,
        )
        with pytest.raises(CertificateRefusedError) as caught:
            world.judge(certificate)
        assert caught.value.reason in {RefusalReason.UNKNOWN_ISSUER, RefusalReason.BAD_SIGNATURE}


def test_a_replicas_certificate_is_neither_an_authority_nor_an_anchor(world: World) -> None:
    with pytest.raises(CertificateMalformedError, match="authority"):
        CertificateAuthority(world.provider, world.certificate, world.key)
    with pytest.raises(CertificateMalformedError, match="trust anchor"):
        TrustAnchors([Authority(world.certificate, (world.crl,), frozenset({"shandong"}))])


def test_a_changed_certificate_is_refused(world: World) -> None:
    _, _, der = pem.unarmor(world.certificate)
    spoiled = der.replace(b"shandong/2", b"shandong/3")
    assert spoiled != der
    with pytest.raises(CertificateRefusedError) as caught:
        world.judge(pem.armor("CERTIFICATE", spoiled))
    assert caught.value.reason is RefusalReason.BAD_SIGNATURE


def test_an_authority_is_opened_again_with_its_key_only(world: World) -> None:
    scalar = world.authority._private_key.export_scalar()
    again = CertificateAuthority(
        world.provider, world.authority.certificate_pem, world.provider.load_private_key(scalar)
    )
    crl = again.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    world.judge(world.certificate, crl=crl)
    with pytest.raises(CertificateMalformedError, match="for this key"):
        CertificateAuthority(world.provider, world.authority.certificate_pem, world.key)


def test_years_past_2049_are_written_and_read(world: World) -> None:
    long = world.issue(days=30 * 365)
    assert parse_certificate(long).not_after == START + 30 * 365 * DAY
    world.judge(long)


def _p256(_: World) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "o"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "c"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(START + DAY)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _resigned(world: World, change: Callable[[asn1_x509.TbsCertificate], None]) -> bytes:
    """The replica's certificate with one field spoiled, properly signed by the authority."""
    from guqiao_sdk.gm.certificates import authority

    _, _, der = pem.unarmor(world.certificate)
    body = asn1_x509.Certificate.load(der)["tbs_certificate"]
    fresh = asn1_x509.TbsCertificate.load(body.dump())
    change(fresh)
    fresh = asn1_x509.TbsCertificate.load(fresh.dump(force=True))
    return authority._signed(world.provider, world.authority._private_key, fresh)


def _off_curve(world: World) -> bytes:
    def change(body: asn1_x509.TbsCertificate) -> None:
        point = world.key.public_key[:-1] + bytes([world.key.public_key[-1] ^ 1])
        body["subject_public_key_info"]["public_key"] = point

    return _resigned(world, change)


def _hybrid_point(world: World) -> bytes:
    def change(body: asn1_x509.TbsCertificate) -> None:
        point = bytes([6 + world.key.public_key[-1] % 2]) + world.key.public_key[1:]
        body["subject_public_key_info"]["public_key"] = point

    return _resigned(world, change)


def _two_identities(world: World) -> bytes:
    def change(body: asn1_x509.TbsCertificate) -> None:
        for extension in body["extensions"]:
            if extension["extn_id"].native == "subject_alt_name":
                uri = "guqiao:replica:shandong/3"
                names = extension["extn_value"].parsed
                names.append(asn1_x509.GeneralName(name="uniform_resource_identifier", value=uri))
                extension["extn_value"] = names

    return _resigned(world, change)


def _unknown_version(world: World) -> bytes:
    _, _, der = pem.unarmor(world.certificate)
    spoiled = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    assert spoiled != der
    armoured: bytes = pem.armor("CERTIFICATE", spoiled)
    return armoured


def _truncated(world: World) -> bytes:
    _, _, der = pem.unarmor(world.certificate)
    armoured: bytes = pem.armor("CERTIFICATE", der[:-5])
    return armoured


@pytest.mark.req("G2-09-5", "G2-16-1", "G2-19-5")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: b"", "not PEM"),
        (lambda _: b"garbage", "not PEM"),
        (lambda _: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "not PEM"),
        (lambda _: b"A" * 70_000, "bytes"),
        (lambda world: world.crl, "not PEM"),
        (_truncated, "not PEM"),
        (_p256, "not an SM2 key"),
        (_hybrid_point, "not an SM2 key"),
        (_off_curve, "not an SM2 key"),
        (_two_identities, "cannot be read"),
        (_unknown_version, "not X.509 version 3"),
    ],
)
def test_what_is_no_proper_certificate_is_malformed(
    world: World, make: Callable[[World], bytes], text: str
) -> None:
    with pytest.raises(CertificateMalformedError, match=text) as caught:
        parse_certificate(make(world))
    assert caught.value.code == "CERTIFICATE_MALFORMED"


@pytest.mark.parametrize(
    "crl", [b"", b"garbage", b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"]
)
def test_what_is_no_revocation_list_is_malformed(world: World, crl: bytes) -> None:
    with pytest.raises(CertificateMalformedError, match="CRL"):
        TrustAnchors([trusted(world.authority, crl)])


def test_a_list_signed_with_another_algorithm_is_malformed(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.Name([]), last_update=START, next_update=START + DAY
    )
    crl = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CertificateMalformedError, match="not signed with SM2"):
        TrustAnchors([trusted(world.authority, crl)])


@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(position=st.integers(min_value=0), value=st.integers(0, 255), cut=st.integers(0, 40))
@example(position=54, value=23, cut=0)  # `cryptography` reads it, OpenSSL does not.
def test_spoiled_bytes_give_typed_errors_or_the_same_certificate(
    world: World, position: int, value: int, cut: int
) -> None:
    _, _, der = pem.unarmor(world.certificate)
    spoiled = bytearray(der[: len(der) - cut])
    spoiled[position % len(spoiled)] = value
    try:
        world.judge(pem.armor("CERTIFICATE", bytes(spoiled)))
    except GmError:
        assert bytes(spoiled) != der
    else:
        assert bytes(spoiled) == der


@pytest.mark.parametrize(
    ("identity", "kind"),
    [
        (replica_identity("shandong", 2), IdentityKind.REPLICA),
        (service_identity("csrc", "gateway"), IdentityKind.SERVICE),
        ("did:rem:shandong:91370000", IdentityKind.USER),
    ],
)
def test_the_three_forms_of_identity_are_known(identity: str, kind: IdentityKind) -> None:
    assert identity_kind(identity) is kind


@pytest.mark.parametrize(
    "identity",
    ["", "replica/2", "guqiao:replica:shandong", "guqiao:replica:shandong/2\n", "did:web:x",
     "guqiao:service:a/b/c", "guqiao:replica:山东/1", "did:rem:" + "a" * 300],
)  # fmt: skip
def test_any_other_text_is_no_identity(world: World, identity: str) -> None:
    with pytest.raises(IdentityMalformedError, match="no identity"):
        identity_kind(identity)
    with pytest.raises(IdentityMalformedError, match="no identity"):
        world.issue(identity)


def test_an_empty_or_zoneless_validity_is_refused(world: World) -> None:
    with pytest.raises(CertificateMalformedError, match="validity"):
        world.issue(days=0)
    with pytest.raises(CertificateMalformedError, match="validity"):
        world.issue(start=datetime(2026, 1, 1))  # noqa: DTZ001 - the fault under test


def test_the_fallback_backend_issues_what_openssl_accepts(gmssl: GmProvider) -> None:
    authority = make_authority(gmssl)
    crl = authority.issue_crl([], this_update=START, next_update=START + 30 * DAY)
    world = World(gmssl, authority, gmssl.keygen(), b"", crl)
    world.judge(world.issue())
    assert crypto.X509.from_cryptography(x509.load_pem_x509_certificate(world.issue()))


@pytest.mark.req("G2-09-6")
@pytest.mark.parametrize("version", [0, 2, 7])
def test_a_list_of_another_version_is_malformed(world: World, version: int) -> None:
    label, _, der = pem.unarmor(world.crl)
    second = b"\x02\x01\x01"  # Version 2, the first integer of the list.
    at = der.index(second)
    changed = der[:at] + b"\x02\x01" + bytes([version]) + der[at + len(second) :]
    with pytest.raises(CertificateMalformedError):
        world.judge(world.certificate, crl=pem.armor(label, changed))
