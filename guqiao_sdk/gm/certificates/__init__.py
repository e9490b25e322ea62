"""SM2 certificates: issue them and their revocation lists, read them, judge them at a time."""

from guqiao_sdk.gm.certificates.authority import CertificateAuthority, RevokedCertificate
from guqiao_sdk.gm.certificates.chain import (
    Authority,
    CertificateRefusedError,
    RefusalReason,
    TrustAnchors,
    verify_chain,
)
from guqiao_sdk.gm.certificates.info import (
    CertificateInfo,
    CertificateMalformedError,
    parse_certificate,
)
from guqiao_sdk.gm.certificates.names import (
    IdentityKind,
    IdentityMalformedError,
    identity_domain,
    identity_kind,
    replica_identity,
    service_identity,
)

__all__ = [
    "Authority",
    "CertificateAuthority",
    "CertificateInfo",
    "CertificateMalformedError",
    "CertificateRefusedError",
    "IdentityKind",
    "IdentityMalformedError",
    "RefusalReason",
    "RevokedCertificate",
    "TrustAnchors",
    "identity_domain",
    "identity_kind",
    "parse_certificate",
    "replica_identity",
    "service_identity",
    "verify_chain",
]
