"""Who we are on a link and whom we believe: certificate, key, anchors, CRLs, all from files.

Files can be replaced while running: `reload()` takes them all or none, and judges every live link
again; `watch()` does so by itself, well within the 60 seconds a revoked peer may last. A link is
cut when its certificate is revoked, expired or no longer vouched for, and when the revocation list
that should vouch for it is out of date: not knowing is not trusting. The log warns hours before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakSet

import structlog
from cryptography import x509

from guqiao_sdk.gm.certificates import (
    Authority,
    CertificateInfo,
    CertificateMalformedError,
    CertificateRefusedError,
    RefusalReason,
    TrustAnchors,
    parse_certificate,
)
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.keyfile import read_guarded
from guqiao_sdk.gm.sm3 import sm3
from services.chassis.gm_tls.engine import TlsEngine, make_context
from services.chassis.gm_tls.errors import (
    CertificateMissingError,
    GmTlsSetupError,
    LinkRefusal,
    PeerRefusedError,
    Refusal,
)

WATCH_SECONDS: Final = 10.0
WATCH_SECONDS_MAX: Final = 30.0
"""Reading and judging must end within the 60 seconds that a revoked peer may last."""

LIST_ENDS_SOON: Final = timedelta(hours=12)
# Cutting many links at once must not stall the loop: judged so many at a time.
JUDGE_BATCH_SIZE: Final = 32
GOOD_MAX: Final = 1_024
"""Certificates found good that are remembered; OpenSSL takes milliseconds to find one good."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """An authority's certificate and its revocation list, and the domains it may certify."""

    certificate: Path
    crl: Path
    domains: frozenset[str]


@dataclass(frozen=True, slots=True)
class GmTlsFiles:
    """Where the parts of an identity are. All PEM; the key is readable by its owner only."""

    certificate: Path
    private_key: Path
    authorities: tuple[AuthorityFiles, ...]


class JudgedLink(Protocol):
    """What a live link offers to the judge."""

    @property
    def address(self) -> str:
        """Where the peer is."""

    @property
    def peer_certificate(self) -> CertificateInfo:
        """What the peer showed."""

    def cut(self, reason: str) -> None:
        """End the link at once."""


def log_refusal(refusal: Refusal) -> None:
    """Tell the log: the default for `on_refusal`."""
    _log.warning(
        "gm_tls.peer_refused",
        address=refusal.address,
        identity=refusal.identity,
        reason=refusal.reason,
        detail=refusal.detail,
    )


class GmTlsIdentity:
    """Our end of every link of this process. Used from one event loop."""

    def __init__(
        self,
        files: GmTlsFiles,
        *,
        on_refusal: Callable[[Refusal], None] = log_refusal,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        """Read the files, or raise `GmTlsSetupError` or another `GmError` that names the fault."""
        assert 0 < watch_seconds <= WATCH_SECONDS_MAX, "within the bound"
        self._files: Final = files
        self._watch_seconds: Final = watch_seconds
        self._links: Final[WeakSet[JudgedLink]] = WeakSet()
        self._info: CertificateInfo | None = None
        self._warned_for = b""
        self._good: dict[bytes, tuple[datetime, datetime]] = {}
        self.on_refusal = on_refusal
        self._take(self._read())

    @property
    def name(self) -> str:
        """Our own identity, as peers pin it."""
        assert self.info.identity is not None
        return self.info.identity

    @property
    def info(self) -> CertificateInfo:
        """Our own certificate."""
        assert self._info is not None, "set when the files were first read"
        return self._info

    def engine(self, *, is_server: bool) -> TlsEngine:
        """Return a fresh TLS connection under the files last read."""
        return TlsEngine(self._context, is_server=is_server)

    def check_peer(self, info: CertificateInfo) -> None:
        """Raise `PeerRefusedError` for a certificate that is not good now, or was issued by an
        authority of another domain: the handshake alone asks for any authority we know.
        """
        refused = self._refused(info, datetime.now(UTC))
        if refused is not None:
            raise PeerRefusedError(refused[0], refused[1].en, info.identity)

    def add_link(self, link: JudgedLink) -> None:
        """Have `link` judged again whenever the files change. Forgotten when it is gone."""
        self._links.add(link)

    def remove_link(self, link: JudgedLink) -> None:
        """Stop judging `link`."""
        self._links.discard(link)

    def reload(self) -> int:
        """Read the files again and judge every live link; return how many were cut.

        If any file is wrong nothing changes, and the error says which.
        """
        self._take(self._read())
        return self.judge_links()

    def judge_links(self, at: datetime | None = None) -> int:
        """Cut the live links whose certificate is not good then (or now); return how many."""
        moment = at or datetime.now(UTC)
        return sum(self._judge(link, moment) for link in list(self._links))

    def trouble(self) -> str | None:
        """Why no peer believes our own certificate now, if so."""
        refused = self._refused(self.info, datetime.now(UTC))
        return None if refused is None else refused[1].en

    def check_own(self) -> None:
        """Raise `CertificateRefusedError` if peers refuse our own certificate whatever list comes;
        a list that is out of date may be replaced while we run, so the log is told.
        """
        refused = self._refused(self.info, datetime.now(UTC))
        if refused is not None and refused[0] is not RefusalReason.CRL_STALE:
            raise refused[1]
        self._warn_of_ourselves()

    async def watch(self) -> None:
        """Reload when a file changes, and judge live links, until cancelled. One task a process."""
        while True:
            await asyncio.sleep(self._watch_seconds)
            try:
                fresh = self._read()
                if sm3(b"".join(fresh)) != self._digest:
                    self._take(fresh)
                    _log.info("gm_tls.identity_reloaded", identity=self.name)
            except GmError as error:
                _log.error("gm_tls.reload_refused", code=error.code, detail=error.en, zh=error.zh)
            now = datetime.now(UTC)
            self._warn_of_lists(now)
            for count, link in enumerate(list(self._links), start=1):
                self._judge(link, now)
                if count % JUDGE_BATCH_SIZE == 0:
                    await asyncio.sleep(0)

    def _judge(self, link: JudgedLink, now: datetime) -> bool:
        info = link.peer_certificate
        refused = self._refused(info, now)
        if refused is None:
            return False
        reason, error = refused
        self.on_refusal(Refusal(link.address, info.identity, reason, f"live link cut: {error.en}"))
        link.cut(reason)
        return True

    def _refused(self, info: CertificateInfo, now: datetime) -> tuple[str, GmError] | None:
        """Why a certificate is not good, if so. One that was found good under these files is good
        for as long as nothing of what vouches for it begins or ends.
        """
        begins, ends = self._good.get(info.der, (now, now))
        if begins <= now < ends:
            return None
        try:
            self._anchors.verify(x509.load_der_x509_certificate(info.der), now)
        except CertificateRefusedError as error:
            # OpenSSL looks no further than the stale list; what it says of revocation still holds.
            if error.reason is RefusalReason.CRL_STALE:
                error = self._beyond_staleness(error, info, now)
            return error.reason, error
        except CertificateMalformedError as error:
            return LinkRefusal.CERTIFICATE_MALFORMED, error
        if len(self._good) >= GOOD_MAX:
            self._good.clear()
        self._good[info.der] = self._anchors.period(info)
        return None

    def _beyond_staleness(
        self, stale: CertificateRefusedError, info: CertificateInfo, now: datetime
    ) -> CertificateRefusedError:
        if now > info.not_after:
            return CertificateRefusedError(
                RefusalReason.EXPIRED, stale.holder, f"it ended {info.not_after}"
            )
        if self._anchors.lists_as_revoked(info):
            return CertificateRefusedError(
                RefusalReason.REVOKED, stale.holder, "a list that is out of date names it"
            )
        return stale

    def _warn_of_lists(self, now: datetime) -> None:
        """Once for each set of files: when a list ends, the links that it vouches for end."""
        if self._warned_for == self._digest:
            return
        for crl in self._anchors.crls:
            ends = crl.next_update_utc
            if ends is not None and ends - now < LIST_ENDS_SOON:
                self._warned_for = self._digest
                issuer = crl.issuer.rfc4514_string()
                _log.warning("gm_tls.crl_ends_soon", issuer=issuer, ends=ends.isoformat())

    def _read(self) -> tuple[bytes, ...]:
        files = self._files
        return (
            _read_public(files.certificate, CertificateMissingError),
            read_guarded(files.private_key),
            *(_read_public(authority.certificate) for authority in files.authorities),
            *(_read_public(authority.crl) for authority in files.authorities),
        )

    def _take(self, contents: Sequence[bytes]) -> None:
        certificate, key, *rest = contents
        split = len(self._files.authorities)
        anchors = TrustAnchors(
            [
                Authority(root, (crl,), files.domains)
                for root, crl, files in zip(
                    rest[:split], rest[split:], self._files.authorities, strict=True
                )
            ]
        )
        info = parse_certificate(certificate)
        if info.identity is None or info.is_authority:
            raise GmTlsSetupError(
                f"{self._files.certificate.name} names no replica or service",
                f"{self._files.certificate.name} 未包含副本或服务身份",
            )
        if self._info is not None and self._info.identity != info.identity:
            raise GmTlsSetupError(
                f"the new certificate names {info.identity} instead of {self._info.identity}",
                f"新证书的身份是 {info.identity},而不是 {self._info.identity}",
            )
        context = make_context(certificate, key, anchors)
        is_first = self._info is None
        self._anchors, self._context, self._info = anchors, context, info
        self._good = {}
        self._digest = sm3(b"".join(contents))
        if not is_first:
            self._warn_of_ourselves()

    def _warn_of_ourselves(self) -> None:
        refused = self._refused(self.info, datetime.now(UTC))
        if refused is not None:
            reason, error = refused
            _log.warning("gm_tls.own_certificate_refused", reason=reason, detail=error.en)


def _read_public(path: Path, missing: type[GmTlsSetupError] = GmTlsSetupError) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        kind = missing if isinstance(error, FileNotFoundError) else GmTlsSetupError
        text = error.strerror or type(error).__name__
        raise kind(f"{path} cannot be read ({text})", f"无法读取 {path}({text})") from error
