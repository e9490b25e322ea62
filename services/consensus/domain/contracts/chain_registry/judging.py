"""What of a registration only the chain can judge: certificates, possession, the assessment's age.

A consensus key counts if its certificate names the entity behind it, comes from a root that the
contract holds, is valid at block time, and the key itself signed for this chain and node.
"""

from __future__ import annotations

from collections.abc import Sequence

from guqiao_sdk.proof.certificates import (
    Certificate,
    parse_certificate_pem,
)
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.possession import possession_sign_bytes
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.chain_registry.form import Registration, Validator
from services.consensus.domain.contracts.chain_registry.policy import (
    ASSESSMENT_DAYS,
    policy,
)
from services.consensus.domain.contracts.chain_registry.sealing import (
    require_not_revoked,
    trusted_roots,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packets_host import SystemHost


def judge_registration(host: SystemHost, registration: Registration, *, lists: bool) -> None:
    """Refuse a registration whose keys or assessment do not hold now; with `lists` also one with a
    certificate that is revoked, or of whose authority no list says so that has not ended.
    """
    require_assessment(host, registration)
    roots = [*trusted_roots(host).values()]
    for each in registration.validators:
        found, root = _judge_certificate(host, each, roots)
        if lists:
            require_not_revoked(host, found, root, each.node_id)
        message = possession_sign_bytes(registration.chain_id, each.node_id, each.public_key)
        if not host.verify_signature(each.public_key, message, each.possession):
            raise Refusal("POSSESSION_UNPROVEN", node=each.node_id)


def require_assessment(host: SystemHost, registration: Registration) -> None:
    """Refuse a security assessment that failed, lies ahead, or is too old (G2-06-3)."""
    if not registration.passed:
        raise Refusal("ASSESSMENT_FAILED", date=registration.assessed.isoformat())
    age, days_max = (block_day(host) - registration.assessed).days, policy(host, ASSESSMENT_DAYS)
    if age < 0:
        raise Refusal(
            "CHAIN_FIELD_INVALID", field="security_assessment.date", fault="that day has not come"
        )
    if age > days_max:
        raise Refusal(
            "ASSESSMENT_EXPIRED", date=registration.assessed.isoformat(), days_max=days_max
        )


def read_root(host: SystemHost, pem: str) -> Certificate:
    """An authority's own certificate, valid now and signed by itself; raises `Refusal`."""
    found = _read(pem, "root")
    _require_valid(host, found, "root")
    is_own = found.is_authority and found.issuer == found.subject
    if not is_own or not host.verify_signature(found.public_key, found.signed, found.signature):
        raise Refusal("CERTIFICATE_UNTRUSTED", node="root")
    return found


def _judge_certificate(
    host: SystemHost, validator: Validator, roots: Sequence[Certificate]
) -> tuple[Certificate, Certificate]:
    """The certificate of a consensus key, and the authority that signed it."""
    found = _read(validator.certificate, validator.node_id)
    if found.public_key != validator.public_key:
        raise Refusal("CERTIFICATE_OF_OTHER", node=validator.node_id, fault="another key")
    if found.organisation != validator.entity_name:
        raise Refusal("CERTIFICATE_OF_OTHER", node=validator.node_id, fault="another name")
    if validator.entity_uscc not in found.codes:
        raise Refusal("CERTIFICATE_OF_OTHER", node=validator.node_id, fault="another credit code")
    _require_valid(host, found, validator.node_id)
    signers = (root for root in roots if _has_signed(host, root, found))
    signer = None if found.is_authority else next(signers, None)
    if signer is None:
        raise Refusal("CERTIFICATE_UNTRUSTED", node=validator.node_id)
    return found, signer


def _has_signed(host: SystemHost, root: Certificate, found: Certificate) -> bool:
    is_in_time = root.not_before_ms <= host.block_time_ms() <= root.not_after_ms
    return (
        is_in_time
        and root.subject == found.issuer
        and host.verify_signature(root.public_key, found.signed, found.signature)
    )


def _read(pem: Json, node: str) -> Certificate:
    assert isinstance(pem, str), "the form was checked"
    try:
        return parse_certificate_pem(pem)
    except CertificateError as error:
        raise Refusal("CERTIFICATE_MALFORMED", node=node, fault=str(error)) from error


def _require_valid(host: SystemHost, found: Certificate, node: str) -> None:
    if not found.not_before_ms <= host.block_time_ms() <= found.not_after_ms:
        raise Refusal("CERTIFICATE_EXPIRED", node=node)
