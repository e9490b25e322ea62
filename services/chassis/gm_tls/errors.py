"""Why a link was refused, cut or broken: who broke the rule is the type, the facts are fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guqiao_sdk.gm.errors import GmError


class LinkRefusal(StrEnum):
    """Reasons that are the link's own; a certificate's are `certificates.RefusalReason`."""

    NO_CERTIFICATE = "no_certificate"
    CERTIFICATE_MALFORMED = "certificate_malformed"
    NOT_GM = "not_gm"
    WRONG_IDENTITY = "wrong_identity"
    NOT_ACCEPTED = "not_accepted"
    HANDSHAKE_FAILED = "handshake_failed"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    HANDSHAKE_DROPPED = "handshake_dropped"
    TOO_MANY_LINKS = "too_many_links"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused or cut peer, for the log and for alarms."""

    address: str
    identity: str | None
    reason: str
    detail: str


class GmTlsError(GmError):
    """Base of what can go wrong with a link."""

    code = "GM_TLS_ERROR"


class GmTlsSetupError(GmTlsError):
    """Our own certificate, key, anchors or library cannot be used."""

    code = "GM_TLS_SETUP_REFUSED"


class CertificateMissingError(GmTlsSetupError):
    """There is no file where our own certificate should be."""

    code = "CERTIFICATE_MISSING"


class PeerRefusedError(GmTlsError):
    """We did not believe the peer."""

    code = "GM_TLS_PEER_REFUSED"

    def __init__(self, reason: str, detail: str, identity: str | None = None) -> None:
        who = identity or "the peer / 对端"
        super().__init__(
            f"link refused, {reason}: {who} ({detail}). Check the peer's certificate and name.",
            f"拒绝连接,{reason}:{who}({detail})。请检查对端证书与身份。",
        )
        self.reason = reason
        self.detail = detail
        self.identity = identity


class RefusedByPeerError(GmTlsError):
    """The peer did not believe us, or has no room for us."""

    code = "GM_TLS_REFUSED_BY_PEER"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the peer refused this link ({detail}). Check our own certificate, its revocation "
            "and whether the peer accepts our identity.",
            f"对端拒绝了连接({detail})。请检查本端证书、其吊销状态以及对端是否接受本端身份。",
        )
        self.detail = detail


class LinkBrokenError(GmTlsError):
    """The link ended without a proper close: data may be missing at its end."""

    code = "GM_TLS_LINK_BROKEN"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the link broke ({detail}); connect again", f"连接中断({detail});请重新连接"
        )
        self.detail = detail


class LinkCutError(LinkBrokenError):
    """We cut a live link, because its certificate is no longer good."""

    code = "GM_TLS_LINK_CUT"

    def __init__(self, reason: str) -> None:
        super().__init__(f"cut: the peer's certificate is {reason}")
        self.reason = reason


class IdleTimeoutError(GmTlsError):
    """Nothing arrived for the agreed time."""

    code = "GM_TLS_IDLE"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"nothing arrived for {seconds} s; the peer may be stuck, connect again",
            f"{seconds} 秒内未收到数据;对端可能无响应,请重新连接",
        )


class FrameTooLargeError(GmTlsError):
    """A frame is larger than agreed."""

    code = "GM_TLS_FRAME_TOO_LARGE"

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(
            f"a frame of {size} bytes exceeds the limit of {size_max}; split the message",
            f"帧长 {size} 字节,超过上限 {size_max};请拆分消息",
        )
        self.size = size
        self.size_max = size_max
