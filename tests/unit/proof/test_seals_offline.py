"""Seals of a proof bundle, judged offline: by whose authority, in which period, revoked or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from guqiao_sdk.gm.certificates import RevokedCertificate
from guqiao_sdk.proof.bundle import Bundle
from guqiao_sdk.proof.certificates import (
    Certificate,
    parse_certificate_pem,
    read_extensions,
)
from guqiao_sdk.proof.der import CertificateError, Piece, integer_of
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from guqiao_sdk.proof.revocation_list import RevocationList, parse_revocation_list_pem
from guqiao_sdk.proof.seals import Authorities, SealError
from guqiao_sdk.verify import Verdict, verify_bundle
from guqiao_sdk.verify_seals import Sealed, verify_seals
from tests.unit.proof.bundle_case import Case, make_case
from tests.unit.xchain.registered_chains import KEYS, NOW, authority, crl, revoked

pytestmark = pytest.mark.req("G2-19-5")


def certified(
    did: str,
    *,
    issuer: str = "",
    start: datetime = NOW - timedelta(days=9),
    end: datetime = NOW + timedelta(days=9),
) -> str:
    signer = authority(issuer) if issuer else authority()
    return signer.issue(
        did, KEYS.public_key(did), organisation="演示经办机构", common_name="maker",
        not_before=start, not_after=end,
    ).decode()  # fmt: skip


def believed(*certificates: str, lists: Sequence[str] = (), issuer: str = "") -> Authorities:
    root = authority(issuer) if issuer else authority()
    return Authorities(
        [parse_certificate_pem(root.certificate_pem.decode())],
        [parse_revocation_list_pem(each) for each in lists],
        [parse_certificate_pem(each) for each in certificates],
    )


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(KEYS, set_changes=False)


def proven(case: Case) -> tuple[bytes, Verdict]:
    data = case.bundle.encode()
    return data, verify_bundle(data, case.trust, KEYS.verify, now_ms=0)


def judged(case: Case, authorities: Authorities) -> tuple[Sealed, ...]:
    checks: list[str] = []
    data, verdict = proven(case)
    found = verify_seals(data, verdict, authorities, KEYS.verify, checks.append)
    assert checks == [f"seal 1 of packet {case.bundle.packets[0].sequence}"]
    return found


def test_a_seal_holds_by_an_authority_that_the_verifier_believes(case: Case) -> None:
    pem = certified(case.shandong.did)
    (found,) = judged(case, believed(pem, lists=[crl()]))
    assert found.organisation == "演示经办机构"
    assert found.serial == parse_certificate_pem(pem).serial
    assert found.object_id.startswith("shandong:subject:")


def _after(pem: str) -> RevokedCertificate:
    return revoked(pem, days=2)


@pytest.mark.parametrize("number", [1, 2])
def test_a_later_revocation_and_an_older_list_change_nothing(case: Case, number: int) -> None:
    pem = certified(case.shandong.did)
    older = crl(revoked(pem), number=0, days=20)
    assert judged(case, believed(pem, lists=[older, crl(_after(pem), number=number)]))


def test_a_renewed_certificate_does_not_hide_the_one_of_that_time(case: Case) -> None:
    did = case.shandong.did
    pems = [certified(did, start=NOW + timedelta(days=1)), certified(did)]
    assert judged(case, believed(*pems, lists=[crl()]))


def test_g31_a_revocation_counts_that_a_list_after_the_certificates_end_does_not_name() -> None:
    """An authority may leave it out by then (RFC 5280, 3.3)."""
    did = "did:rem:shandong:anybody"
    pem = certified(did, end=NOW + timedelta(days=2))
    at_ms, key = int(NOW.timestamp() * 1_000), KEYS.public_key(did)
    of_then, later = crl(revoked(pem)), crl(number=9, since=-3, days=10)
    clear = crl(number=2)
    cases = [
        ([later], "CRL_TOO_LATE"),
        ([later, of_then], "CERTIFICATE_REVOKED"),
        ([later, crl(revoked(pem), number=8, since=-3, days=9)], "CERTIFICATE_REVOKED"),
        ([later, crl(since=5, days=-1)], "CRL_TOO_LATE"),
        ([later, clear], ""),
        ([later, crl(revoked(pem, days=1))], ""),
    ]
    for lists, code in cases:
        found = believed(pem, lists=lists)
        if not code:
            assert found.certificate_of(key, at_ms, KEYS.verify).public_key == key
            continue
        with pytest.raises(SealError) as error:
            found.certificate_of(key, at_ms, KEYS.verify)
        assert error.value.code == code, lists


def _bad(case: Case) -> dict[str, Authorities]:
    did = case.shandong.did
    good = certified(did)
    ended = certified(did, end=NOW - timedelta(days=1))
    foreign = certified(did, issuer="别的签发机构")
    root = authority().certificate_pem.decode()
    return {
        "SEAL_UNCERTIFIED": believed(certified("did:rem:shandong:other"), lists=[crl()]),
        "CERTIFICATE_EXPIRED": believed(ended, lists=[crl()]),
        "CERTIFICATE_UNTRUSTED": believed(foreign, lists=[crl()]),
        "CERTIFICATE_REVOKED": believed(good, lists=[crl(revoked(good))]),
        "CRL_MISSING": believed(good, root, lists=[crl(issuer="别的签发机构")]),
        "CRL_STALE": believed(good, lists=[crl(days=-1, since=9)]),
    }


@pytest.mark.parametrize(
    "code",
    [
        *("SEAL_UNCERTIFIED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNTRUSTED"),
        *("CERTIFICATE_REVOKED", "CRL_MISSING", "CRL_STALE"),
    ],
)
def test_g31_a_seal_that_no_certificate_stands_for_is_refused(case: Case, code: str) -> None:
    data, verdict = proven(case)
    with pytest.raises(ProofError) as error:
        verify_seals(data, verdict, _bad(case)[code], KEYS.verify, lambda piece: None)
    assert error.value.code == code


def _spoiled(case: Case, seals: Json) -> Bundle:
    packet = case.bundle.packets[0]
    value = parse_json_strict(packet.payload, depth_max=32, size_max=1 << 20)
    assert isinstance(value, dict)
    header = value["header"]
    assert isinstance(header, dict)
    changed = replace(
        packet, payload=canonical_json({**value, "header": {**header, "seal": seals}})
    )
    return replace(case.bundle, packets=(changed,), anchors=())


def test_g31_a_seal_of_another_operation_and_an_object_without_one_are_refused(case: Case) -> None:
    """The source's contract would have to lie: the packet itself is judged by `verify_bundle`."""
    pem = certified(case.shandong.did)
    _, verdict = proven(case)
    key: Json = {"type": "SM2", "value": KEYS.public_key(case.shandong.did).hex()}
    other: Json = {"pub_key": key, "digest_algo": "SM3", "signature": "ab" * 64}
    cases: list[tuple[Json, str]] = [
        ([], "it carries no sealed object"),
        ([other], "it is no signature of the operation"),
        (["text"], "it is no signature of the operation"),
    ]
    for seals, detail in cases:
        data = _spoiled(case, seals).encode()
        authorities = believed(pem, lists=[crl()])
        with pytest.raises(ProofError) as error:
            verify_seals(data, verdict, authorities, KEYS.verify, lambda piece: None)
        assert error.value.detail == detail


@pytest.mark.parametrize(
    "usage",
    [
        *(None, b"", b"\x03\x02\x07\x80", b"\x03\x01\x00", b"\x04\x02\x06\xc0"),
        *(b"\x03\x02\x07\xc0", b"\x03\x02\x00\xc0", b"\x03\x02\x08\xc0"),
        b"\x03\x04\x06\xc0\x00\x00",
    ],
)
def test_a_key_that_is_not_for_signing_documents_seals_nothing(usage: bytes | None) -> None:
    did = "did:rem:shandong:anybody"
    good = believed(certified(did), lists=[crl()])
    at_ms, key = int(NOW.timestamp() * 1_000), KEYS.public_key(did)
    assert good.certificate_of(key, at_ms, KEYS.verify).public_key == key
    changed: list[Certificate] = [replace(good.certificates[0], key_usage=usage)]
    with pytest.raises(SealError) as error:
        replace(good, certificates=changed).certificate_of(key, at_ms, KEYS.verify)
    assert error.value.code == "CERTIFICATE_PURPOSE_WRONG"


SERVER, SIGNING, ANY = "2b06010505070301", "2b06010505070324", "551d2500"


def purposes(*oids: str) -> bytes:
    pieces = b"".join(bytes([6, len(each) // 2]) + bytes.fromhex(each) for each in oids)
    return bytes([0x30, len(pieces)]) + pieces


def code_of(found: Authorities, did: str) -> str:
    """With which code a seal of that person's is refused, or none."""
    try:
        found.certificate_of(KEYS.public_key(did), int(NOW.timestamp() * 1_000), KEYS.verify)
    except SealError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        (None, ""),
        (purposes(SIGNING), ""),
        (purposes(SERVER, ANY), ""),
        (purposes(SERVER), "CERTIFICATE_PURPOSE_WRONG"),
        (purposes(), "CERTIFICATE_PURPOSE_WRONG"),
        (b"", "CERTIFICATE_PURPOSE_WRONG"),
    ],
)
def test_a_certificate_that_insists_on_other_purposes_seals_nothing(
    stated: bytes | None, code: str
) -> None:
    did = "did:rem:shandong:anybody"
    found = believed(certified(did), lists=[crl()])
    changed = [replace(found.certificates[0], critical_purposes=stated)]
    assert code_of(replace(found, certificates=changed), did) == code


@pytest.mark.parametrize(
    ("critical", "expected"), [(b"", None), (b"\x01\x01\xff", purposes(SERVER))]
)
def test_the_purposes_of_a_certificate_are_read_where_they_are_critical(
    critical: bytes, expected: bytes | None
) -> None:
    content = b"\x06\x03\x55\x1d\x25" + critical + b"\x04" + _sized(purposes(SERVER))
    stated = b"\x30" + _sized(b"\x30" + _sized(content))
    assert read_extensions(Piece(0xA3, stated, b"")).critical_purposes == expected


def _sized(content: bytes) -> bytes:
    return bytes([len(content)]) + content


@pytest.mark.parametrize("serial", [0, -1, 1 << 159, 1 << 2_000])
def test_a_certificate_that_no_list_can_name_seals_nothing(serial: int) -> None:
    did = "did:rem:shandong:anybody"
    found = believed(certified(did), lists=[crl()])
    for number, code in ((serial, "CERTIFICATE_MALFORMED"), ((1 << 159) - 1, "")):
        changed = [replace(found.certificates[0], serial=number)]
        assert code_of(replace(found, certificates=changed), did) == code


@pytest.mark.parametrize(
    ("usage", "code"),
    [
        (None, ""),
        (b"\x03\x02\x01\x06", ""),
        (b"\x03\x02\x02\x04", "CRL_MISSING"),
        (b"\x03\x02\x01\x02", "CERTIFICATE_UNTRUSTED"),
    ],
)
def test_an_authority_signs_certificates_and_lists_with_a_key_for_that(
    usage: bytes | None, code: str
) -> None:
    did = "did:rem:shandong:anybody"
    found = believed(certified(did), lists=[crl()])
    root = replace(found.roots[0], key_usage=usage)
    assert code_of(replace(found, roots=[root]), did) == code


@pytest.mark.parametrize("content", ["", "0001", "ff80", "01" * 21])
def test_a_number_has_one_form_and_a_bounded_one(content: str) -> None:
    data = bytes.fromhex(content)
    with pytest.raises(CertificateError):
        integer_of(Piece(0x02, data, b""), 20)


@pytest.mark.parametrize(("content", "number"), [("00", 0), ("80", -128), ("0080", 128)])
def test_a_number_in_its_shortest_form_is_read(content: str, number: int) -> None:
    assert integer_of(Piece(0x02, bytes.fromhex(content), b""), 20) == number


def test_a_list_that_names_too_long_a_number_is_refused() -> None:
    good = RevokedCertificate((1 << 159) - 1, NOW)
    assert parse_revocation_list_pem(crl(good)).revoked.keys() == {good.serial}
    with pytest.raises(CertificateError):
        parse_revocation_list_pem(crl(RevokedCertificate(1 << 159, NOW)))


def test_what_is_no_authority_issues_nothing() -> None:
    did = "did:rem:shandong:anybody"
    found = believed(certified(did), lists=[crl()])
    leaf = replace(found.roots[0], is_authority=False)
    with pytest.raises(SealError) as error:
        replace(found, roots=[leaf]).certificate_of(
            KEYS.public_key(did), int(NOW.timestamp() * 1_000), KEYS.verify
        )
    assert error.value.code == "CERTIFICATE_UNTRUSTED"


def test_a_list_reads_as_the_library_wrote_it() -> None:
    pem = certified("did:rem:shandong:anybody")
    found: RevocationList = parse_revocation_list_pem(crl(revoked(pem), number=300))
    at_ms = int((NOW - timedelta(days=1)).timestamp() * 1_000)
    assert found.revoked == {parse_certificate_pem(pem).serial: at_ms}
    assert (found.number, found.this_update_ms) == (300, at_ms)
    assert found.issuer == parse_certificate_pem(authority().certificate_pem.decode()).subject
