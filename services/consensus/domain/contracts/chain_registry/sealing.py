"""Certificates of the keys that seal data objects, and the revocation lists of their authorities.

An operator files the certificate of each person who signs on its chain. Whoever carries a list may
publish it: its authority signed it, and a newer one stays. Kept in `chains` from version 3 on:

    seal/<chain>/<digest of the key>     the certificate of a key that seals there, and as `before`
                                         the one that stood until it began
    filed/<fingerprint>/<serial, hex>    the end of such a certificate, and when it was revoked (ms)
    crl/<fingerprint>                    number of an authority's newest list, and the periods in
                                         which one was in force here
    revoked/<fingerprint>/<serial, hex>  when it revoked a certificate (ms)

What was sealed before a renewal began is judged by the certificate that stood then. A revocation is
kept when the authority names an ended certificate no more, as it may.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.certificates import PEM_LENGTH_MAX, Certificate, parse_certificate_pem
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.revocation_list import (
    CRL_ENTRIES_MAX,
    CRL_LENGTH_MAX,
    RevocationList,
    parse_revocation_list_pem,
)
from guqiao_sdk.proof.seals import (
    Revocations,
    SealError,
    issuer_among,
    require_for_sealing,
    require_in_force,
    require_revocable,
)
from guqiao_sdk.regions import region_of_chain
from services.consensus.domain.contracts.chain_registry.form import chain_id_of
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    IN_FORCE,
    Status,
    registration_in_standing,
    standing_key,
    standing_of,
    status_of,
)
from services.consensus.domain.contracts.chain_registry.steps import require_owner, signed
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import (
    RELAYER,
    SystemHost,
    require_members,
    system_host,
    text,
)
from services.consensus.domain.contracts.signers import require_operator

ROOTS_MAX: Final = 64
KEY_SHOWN: Final = 130
"""Characters of a key that a refusal shows: all of an SM2 key in hex."""

CERTIFICATES_MAX: Final = 1_024
"""Of one chain: persons who sign there, with the keys that they had before."""

PERIODS_MAX: Final = 16
"""Of one authority, in which a list was in force here; those without a gap between them are one."""

PUBLISHERS: Final = frozenset(
    {roles.OPERATOR_MAKER, roles.CSRC_MARKET, roles.CSRC_TECH, roles.PROVINCIAL_REGULATOR, RELAYER}
)


# --- Filing ---------------------------------------------------------------------------------------


def file_certificate(host: Host, body: Mapping[str, Json]) -> None:
    """File the certificate of a key that seals on a chain, as its operator; one for the same key
    takes the place of the one before.
    """
    require_operator(host)
    require_members(body, "", "chain_id certificate")
    system, chain = system_host(host), chain_id_of(body["chain_id"])
    pem = text(body["certificate"], "certificate", PEM_LENGTH_MAX)
    operator_code = _require_own(host, chain)
    found = _read(pem)
    try:
        require_for_sealing(found, region_of_chain(chain), operator_code)
        root = issuer_among(found, trusted_roots(host).values(), system.verify_signature)
        _require_in_force(system, found, root, at_ms=host.block_time_ms())
    except SealError as error:
        raise Refusal(error.code, **error.fields) from error
    key = seal_key(chain, found.public_key)
    if host.get(key) is None:
        _require_room(host, chain)
    facts: dict[str, Json] = {
        "public_key": found.public_key.hex(),
        "serial": _hex(found.serial),
        "authority": fingerprint_of(root),
        "not_after_ms": found.not_after_ms,
    }
    keep_with_before(host, key, {**facts, "certificate": pem, **signed(host)})
    filed = _filed_key(fingerprint_of(root), found.serial)
    if host.get(filed) is None:
        host.put(filed, {"not_after_ms": found.not_after_ms, "revoked_ms": None})
    host.emit("chain.certificate_filed", {"chain_id": chain, **facts})


def keep_with_before(host: Host, key: str, record: Mapping[str, Json]) -> None:
    """Write the record of a certificate, and in it the one whose place it takes."""
    earlier: Any = host.get(key)
    before = None
    if earlier is not None:
        is_same = _parsed(earlier["certificate"]) == _parsed(str(record["certificate"]))
        without = {name: earlier[name] for name in earlier if name != "before"}
        before = earlier.get("before") if is_same else without
    host.put(key, {**record, "before": before})


def _require_room(host: Host, chain: str) -> None:
    """Where there is none, the certificate that ended first makes some."""
    filed: Any = host.scan(f"seal/{chain}/", CERTIFICATES_MAX)
    if len(filed) < CERTIFICATES_MAX:
        return
    end_ms, key = min((record["not_after_ms"], key) for key, record in filed)
    if end_ms >= host.block_time_ms():
        raise Refusal("LIMIT_EXCEEDED", limit="certificates", maximum=CERTIFICATES_MAX)
    host.delete(key)


def _require_own(host: Host, chain: str) -> str:
    """The credit code of the operator, which the sender is of."""
    standing = standing_of(host, chain)
    if standing["status"] == Status.DEREGISTERED:
        raise Refusal("ILLEGAL_TRANSITION", state=standing["status"], event="file_certificate")
    registration: Mapping[str, Any] = registration_in_standing(host, chain, standing)[
        "registration"
    ]
    require_owner(host, chain, registration)
    return str(registration["operator"]["uscc"])


def _read(pem: str) -> Certificate:
    try:
        return parse_certificate_pem(pem)
    except CertificateError as error:
        raise Refusal("CERTIFICATE_MALFORMED", fault=str(error)) from error


# --- Revocation lists -----------------------------------------------------------------------------


def publish_crl(host: Host, body: Mapping[str, Json]) -> None:
    """Keep a newer revocation list of an authority that counts. A list that has ended, or is no
    newer than the one that is kept, is refused.
    """
    sender = host.sender()
    if not sender.roles & PUBLISHERS:
        raise Refusal("ROLE_MISSING", sender=sender.did, allowed=[*sorted(PUBLISHERS)])
    require_members(body, "", "crl")
    found = _read_list(text(body["crl"], "crl", CRL_LENGTH_MAX))
    try:
        roots = trusted_roots(host).values()
        root = issuer_among(found, roots, system_host(host).verify_signature)
    except SealError as error:
        raise Refusal(error.code, **error.fields) from error
    fingerprint = fingerprint_of(root)
    before: Any = host.get(f"crl/{fingerprint}")
    _require_newer(host, found, root, before)
    _keep_revoked(host, fingerprint, found)
    facts: dict[str, Json] = {
        "number": str(found.number),
        "this_update_ms": found.this_update_ms,
        "next_update_ms": found.next_update_ms,
        "revoked": len(found.revoked),
    }
    periods = _periods([] if before is None else before["periods"], found)
    host.put(f"crl/{fingerprint}", {**facts, "periods": periods, **signed(host)})
    host.emit("chain.crl_published", {"authority": fingerprint, **facts})


def _read_list(pem: str) -> RevocationList:
    try:
        return parse_revocation_list_pem(pem)
    except CertificateError as error:
        raise Refusal("CRL_MALFORMED", fault=str(error)) from error


def _require_newer(host: Host, found: RevocationList, root: Certificate, before: Any) -> None:
    if host.block_time_ms() < found.this_update_ms:
        raise Refusal("CRL_AHEAD", authority=root.organisation)
    if host.block_time_ms() > found.next_update_ms:
        raise Refusal("CRL_STALE", authority=root.organisation)
    if before is None:
        return
    number, this_update = int(before["number"]), before["this_update_ms"]
    if found.number <= number or found.this_update_ms < this_update:
        raise Refusal("CRL_OLDER", authority=root.organisation, number=before["number"])


def _periods(before: list[Json], found: RevocationList) -> list[Json]:
    """With the new list's, which goes on with the last one where there is no gap between them."""
    last: Any = before[-1] if before else None
    if last is None or last[1] < found.this_update_ms:
        period: list[Json] = [found.this_update_ms, found.next_update_ms]
        return [*before, period][-PERIODS_MAX:]
    return [*before[:-1], [last[0], found.next_update_ms]]


def _keep_revoked(host: Host, fingerprint: str, found: RevocationList) -> None:
    """The list as it is now. What it names no more was given back, if the certificate had not ended
    when the list came out; else its revocation is kept with the certificate.
    """
    prefix = f"revoked/{fingerprint}/"
    before = dict(host.scan(prefix, CRL_ENTRIES_MAX))
    after = {f"{prefix}{_hex(serial)}": at_ms for serial, at_ms in found.revoked.items()}
    for key in sorted(before.keys() - after.keys()):
        host.delete(key)
        filed_key = f"filed/{fingerprint}/{key.removeprefix(prefix)}"
        filed: Any = host.get(filed_key)
        if filed is not None and filed["not_after_ms"] < found.this_update_ms:
            host.put(filed_key, {**filed, "revoked_ms": before[key]})
    for key, at_ms in sorted(after.items()):
        if before.get(key) != at_ms:
            host.put(key, at_ms)


# --- Judging --------------------------------------------------------------------------------------


def require_not_revoked(host: SystemHost, found: Certificate, root: Certificate, node: str) -> None:
    """Within `chains`: refuse a node's certificate that is revoked, or of which that is not known
    now.
    """
    try:
        require_revocable(found)
        _require_in_force(host, found, root, at_ms=host.block_time_ms())
    except SealError as error:
        raise Refusal(error.code, **{**error.fields, "node": node}) from error


def require_certified_seals(
    host: SystemHost, chain: str, header: Mapping[str, Any], at_ms: int
) -> None:
    """From another contract: each seal of an object of `chain`, which a block of `at_ms` shows, is
    of a key with a certificate that stood for it at that time. A chain whose registration with
    `chains` is not in force is nobody's matter, as everywhere.

    Refuses with SOURCE_MISSING where there is no seal. CRL_STALE and CRL_MISSING are no fault of
    the object.
    """
    standing: Any = host.read(CHAINS, standing_key(chain))
    if status_of(standing) not in IN_FORCE:
        return
    if not header["seal"]:
        raise Refusal("SOURCE_MISSING", field="header.seal")
    for seal in header["seal"]:
        _judge_seal(host, chain, str(seal["pub_key"]["value"]), at_ms)


def _judge_seal(host: SystemHost, chain: str, key: str, at_ms: int) -> None:
    record: Any = host.read(CHAINS, _seal_key_of(chain, key))
    if record is None:
        raise Refusal("SEAL_UNCERTIFIED", chain=chain, key=key[:KEY_SHOWN])
    record, certificate = _standing(record, at_ms)
    root: Any = host.read(CHAINS, f"root/{record['authority']}")
    if root is None:
        raise Refusal("CERTIFICATE_UNTRUSTED", key=key[:KEY_SHOWN])
    _, authority = _standing(root, at_ms)

    def judge() -> None:
        try:
            _require_in_force(host, certificate, authority, at_ms=at_ms)
        except SealError as error:
            raise Refusal(error.code, **error.fields, key=key[:KEY_SHOWN]) from error

    host.within(CHAINS, judge)


def _standing(record: Any, at_ms: int) -> tuple[Any, Certificate]:
    """Of a record and the one before it, the one that is asked for that time, and its certificate:
    the later one from its beginning on, so that its revocation is not got round.
    """
    certificate, before = _parsed(record["certificate"]), record.get("before")
    if before is not None and at_ms < certificate.not_before_ms:
        return before, _parsed(before["certificate"])
    return record, certificate


def _require_in_force(
    host: SystemHost, found: Certificate, root: Certificate, *, at_ms: int
) -> None:
    """Within `chains`. Raises `SealError`."""
    fingerprint = fingerprint_of(root)
    kept: Any = host.get(f"crl/{fingerprint}")
    known = None
    if kept is not None:
        revoked: Any = host.get(f"revoked/{fingerprint}/{_hex(found.serial)}")
        filed: Any = host.get(_filed_key(fingerprint, found.serial))
        if revoked is None and filed is not None:
            revoked = filed["revoked_ms"]
        known = Revocations(kept["periods"], revoked)
    require_in_force(found, root, known, at_ms=at_ms, listed_ms=host.block_time_ms())


def trusted_roots(host: Host) -> dict[str, Certificate]:
    """Within `chains`: the authorities that count, by fingerprint."""
    found: dict[str, Certificate] = {}
    for key, record in host.scan("root/", ROOTS_MAX):
        assert isinstance(record, dict), "trust_root wrote it"
        found[key.removeprefix("root/")] = _parsed(str(record["certificate"]))
    return found


def fingerprint_of(root: Certificate) -> str:
    """How an authority is named: its name and key, whatever period its certificate has."""
    return sm3(root.subject + root.public_key).hex()


def seal_key(chain: str, public_key: bytes) -> str:
    """Where the certificate of a key that seals on `chain` is kept."""
    return _seal_key_of(chain, public_key.hex())


def _seal_key_of(chain: str, public_key: str) -> str:
    return f"seal/{chain}/{sm3(public_key.encode()).hex()}"


def _filed_key(fingerprint: str, serial: int) -> str:
    return f"filed/{fingerprint}/{_hex(serial)}"


def _hex(serial: int) -> str:
    return f"{serial:x}"


@lru_cache(maxsize=CERTIFICATES_MAX)
def _parsed(pem: str) -> Certificate:
    """A certificate that was found good and is kept."""
    return parse_certificate_pem(pem)
