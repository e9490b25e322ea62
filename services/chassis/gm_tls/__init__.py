"""Links under national cryptography: asyncio streams over RFC 8998 TLS 1.3 with SM2 certificates.

Both ends show a certificate, and both are judged: chain, validity, revocation, and the identity
that the caller pinned. A link that could not be judged does not exist.
"""

from services.chassis.gm_tls.endpoints import GmServer, open_connection, start_server
from services.chassis.gm_tls.errors import (
    CertificateMissingError,
    FrameTooLargeError,
    GmTlsError,
    GmTlsSetupError,
    IdleTimeoutError,
    LinkBrokenError,
    LinkCutError,
    LinkRefusal,
    PeerRefusedError,
    Refusal,
    RefusedByPeerError,
)
from services.chassis.gm_tls.frames import FRAME_SIZE_MAX, read_frame, write_frames
from services.chassis.gm_tls.identity import AuthorityFiles, GmTlsFiles, GmTlsIdentity, log_refusal
from services.chassis.gm_tls.own import (
    authority_files,
    certificate_check,
    count_refusals,
    open_identity,
)
from services.chassis.gm_tls.settings import GmTlsSettings
from services.chassis.gm_tls.stream import GmStream

__all__ = [
    "FRAME_SIZE_MAX",
    "AuthorityFiles",
    "CertificateMissingError",
    "FrameTooLargeError",
    "GmServer",
    "GmStream",
    "GmTlsError",
    "GmTlsFiles",
    "GmTlsIdentity",
    "GmTlsSettings",
    "GmTlsSetupError",
    "IdleTimeoutError",
    "LinkBrokenError",
    "LinkCutError",
    "LinkRefusal",
    "PeerRefusedError",
    "Refusal",
    "RefusedByPeerError",
    "authority_files",
    "certificate_check",
    "count_refusals",
    "log_refusal",
    "open_connection",
    "open_identity",
    "read_frame",
    "start_server",
    "write_frames",
]
