"""TLS 1.3 of RFC 8998 without I/O: bytes from the wire in, bytes for the wire out.

The one suite, group and signature algorithm are set when the context is made and checked again
after the handshake, because two of them are set through a private handle of pyOpenSSL (whose
version is pinned for that reason). Sessions are never resumed, which would skip the certificates.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL, _util, crypto

from guqiao_sdk.gm.certificates import CertificateInfo, CertificateMalformedError, TrustAnchors
from guqiao_sdk.gm.certificates.chain import reason_of
from guqiao_sdk.gm.certificates.info import describe, load_certificate
from services.chassis.gm_tls.errors import (
    GmTlsSetupError,
    LinkBrokenError,
    LinkRefusal,
    PeerRefusedError,
    RefusedByPeerError,
)

SUITE: Final = "TLS_SM4_GCM_SM3"
GROUP: Final = "curveSM2"
SIGNATURE_ALGORITHM: Final = "sm2sig_sm3"
PROTOCOL: Final = "TLSv1.3"

_RECORD_SIZE_MAX: Final = 16 * 1024
_OUTPUT_SIZE: Final = 64 * 1024
_ENCRYPT_SIZE: Final = 256 * 1024
# Below RFC 8446's limit for a GCM key (2^24.5 full records): then the link must be opened anew.
ENCRYPTED_SIZE_MAX: Final = 256 * 1024**3
_NOT_GM_TEXTS: Final = (
    "no shared cipher",
    "no suitable key share",
    "no suitable groups",
    "no suitable signature algorithm",
    "no shared signature algorithms",
    "unsupported protocol",
    "wrong curve",
    "wrong signature type",
    "unknown cipher",
    "wrong cipher",
    "missing supported groups",
    "bad key share",
)


def make_context(certificate_pem: bytes, key_pem: bytes, anchors: TrustAnchors) -> SSL.Context:
    """Return a context for both roles, or raise `GmTlsSetupError`."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    library: Any = _util.lib
    handle = context._context
    try:
        context.set_tls13_ciphersuites(SUITE.encode())
        group_set = library.SSL_CTX_set1_curves_list(handle, GROUP.encode())
        algorithm_set = library.SSL_CTX_set1_sigalgs_list(handle, SIGNATURE_ALGORITHM.encode())
    except (SSL.Error, AttributeError):
        group_set = algorithm_set = 0
    if group_set != 1 or algorithm_set != 1:
        raise GmTlsSetupError(
            "this OpenSSL has no RFC 8998; install the pinned pyOpenSSL and cryptography",
            "当前 OpenSSL 不支持 RFC 8998;请安装锁定版本的 pyOpenSSL 与 cryptography",
        )
    try:
        context.use_certificate(load_certificate(certificate_pem))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, key_pem))
        context.check_privatekey()
    except (SSL.Error, crypto.Error):
        raise GmTlsSetupError(
            "our own private key does not belong to our own certificate",
            "本端私钥与本端证书不匹配",
        ) from None
    store = context.get_cert_store()
    assert store is not None, "a fresh context has a store"
    anchors.fill(store)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _note_verification)
    return context


class TlsEngine:
    """One TLS connection in memory. Feed it, step the handshake, take what it wants sent."""

    def __init__(self, context: SSL.Context, *, is_server: bool) -> None:
        self._tls: Final = SSL.Connection(context, None)
        self._tls.set_app_data(self)
        self.verification_code = 0
        self._encrypted_size = 0
        if is_server:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire."""
        written = self._tls.bio_write(data)
        assert written == len(data), "a memory BIO takes everything"

    def shake_hands(self) -> bool:
        """Go on with the handshake; True when it is done, `PeerRefusedError` when it failed."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._handshake_error(error) from None
        return True

    def peer(self) -> CertificateInfo:
        """Return the peer's judged certificate, after checking that the link is what we asked."""
        agreed = (
            self._tls.get_protocol_version_name(),
            self._tls.get_cipher_name(),
            self._tls.get_group_name(),
        )
        if agreed != (PROTOCOL, SUITE, GROUP):
            raise PeerRefusedError(LinkRefusal.NOT_GM, f"agreed on {agreed}")
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise PeerRefusedError(LinkRefusal.NO_CERTIFICATE, "no certificate was shown")
        try:
            return describe(certificate)
        except CertificateMalformedError as error:
            raise PeerRefusedError(LinkRefusal.CERTIFICATE_MALFORMED, error.en) from None

    def decrypt_into(self, buffer: bytearray) -> bool:
        """Append what arrived; True once the peer has said that it sends no more."""
        try:
            while True:
                buffer += self._tls.recv(_RECORD_SIZE_MAX)
        except SSL.WantReadError:
            return False
        except SSL.ZeroReturnError:
            return True
        except SSL.Error as error:
            texts = _texts(error)
            if any("alert" in text for text in texts):
                raise RefusedByPeerError("; ".join(texts)) from None
            raise LinkBrokenError("; ".join(texts) or "unreadable record") from None

    def encrypt(self, data: bytes) -> None:
        """Encrypt; `take_output` gives the records."""
        self._encrypted_size += len(data)
        if self._encrypted_size > ENCRYPTED_SIZE_MAX:
            raise LinkBrokenError("its keys have encrypted as much as they may")
        rest = memoryview(data)
        try:
            while rest:  # A call takes at least one record's worth, or fails.
                rest = rest[self._tls.send(rest[:_ENCRYPT_SIZE]) :]
        except SSL.Error as error:
            raise LinkBrokenError("; ".join(_texts(error)) or "cannot encrypt") from None

    def say_close(self) -> None:
        """Tell the peer that we send no more; what it sends can still be read."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            return  # No handshake yet, or already broken: there is nobody to tell.

    def take_output(self) -> list[bytes]:
        """Return the bytes for the wire that have gathered."""
        output: list[bytes] = []
        try:
            while not output or len(output[-1]) == _OUTPUT_SIZE:
                output.append(self._tls.bio_read(_OUTPUT_SIZE))
        except SSL.WantReadError:
            pass
        return output

    def _handshake_error(self, error: SSL.Error) -> PeerRefusedError | RefusedByPeerError:
        texts = _texts(error)
        detail = "; ".join(texts) or "the handshake ended early"
        if self.verification_code:
            return PeerRefusedError(reason_of(self.verification_code), detail)
        if any("alert" in text for text in texts):
            return RefusedByPeerError(detail)
        if any("did not return a certificate" in text for text in texts):
            return PeerRefusedError(LinkRefusal.NO_CERTIFICATE, detail)
        if any(known in text for text in texts for known in _NOT_GM_TEXTS):
            return PeerRefusedError(LinkRefusal.NOT_GM, detail)
        return PeerRefusedError(LinkRefusal.HANDSHAKE_FAILED, detail)


def _note_verification(
    connection: SSL.Connection, _: crypto.X509, code: int, __: int, accepted: int
) -> bool:
    if not accepted:
        engine = connection.get_app_data()
        engine.verification_code = engine.verification_code or code
    return bool(accepted)


def _texts(error: SSL.Error) -> list[str]:
    """OpenSSL's reasons, of errors that look like ([(library, function, reason), ...],)."""
    match error.args:
        case ([*entries],):
            return [str(entry[2]) for entry in entries if len(entry) > 2]
        case (int(), str(text)):
            return [text]
        case _:
            return []
