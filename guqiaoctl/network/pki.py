"""Certificates and keys of the network: made once, renewed before they end, and never the user's
chore.

Each domain has its own authority. Leaf certificates last a year and are renewed when less than a
month is left (or after their end: a folder of two years ago starts again); revocation lists last a
week and are issued anew at every start and daily while the network runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from guqiao_sdk.gm.certificates import (
    Authority,
    CertificateAuthority,
    CertificateInfo,
    CertificateMalformedError,
    CertificateRefusedError,
    TrustAnchors,
    parse_certificate,
    replica_identity,
    service_identity,
)
from guqiao_sdk.gm.keyfile import load_private_key, save_private_key
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, ENTITIES, REPLICAS, SERVICES
from guqiaoctl.output import choose

AUTHORITY_LIFE: Final = timedelta(days=3_650)
LEAF_LIFE: Final = timedelta(days=365)
LEAF_RENEWAL: Final = timedelta(days=30)
CRL_LIFE: Final = timedelta(days=7)
BACKDATE: Final = timedelta(minutes=10)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One GM-TLS certificate to keep: whose it is and where it lies."""

    process: str
    domain: str
    identity: str
    organisation: str


def leaves() -> list[Leaf]:
    """Every process that speaks GM-TLS."""
    found = [
        Leaf(
            f"{chain}-{number}",
            chain,
            replica_identity(chain, number),
            ENTITIES[chain][number].name,
        )
        for chain in CHAINS
        for number in range(REPLICAS)
    ]
    for domain, service in SERVICES:
        organisation = ENTITIES[domain][0].name
        identity = service_identity(domain, service)
        found.append(Leaf(f"{domain}-{service}", domain, identity, organisation))
    return found


def ensure_key(path: Path, provider: GmProvider) -> PrivateKey:
    """The key in `path`, made now if there is none."""
    if path.exists():
        return load_private_key(path, provider)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = provider.keygen()
    save_private_key(path, key)
    return key


def ensure_certificates(layout: Layout, provider: GmProvider, report: Report) -> None:
    """Make what is missing, renew what is due, and say so.

    A certificate goes with its key: where a key had to be made anew, so is what it signed or what
    was issued for it.
    """
    now = datetime.now(UTC)
    is_new = not any(layout.folder.glob("ca/*/ca.pem"))
    new_authorities = [
        domain for domain in CHAINS if _ensure_authority(layout, domain, provider, now, report)
    ]
    authorities = {domain: _load_authority(layout.authority(domain), provider) for domain in CHAINS}
    renewed = made = 0
    for leaf in leaves():
        folder = layout.process(leaf.process)
        has_key = (folder / "tls.key").exists()
        key = ensure_key(folder / "tls.key", provider)
        missing = not (has_key and (folder / "tls.pem").exists())
        new = missing or leaf.domain in new_authorities
        if new or _is_void(folder / "tls.pem", leaf, key, now):
            renewed, made = renewed + (not missing), made + missing
            certificate = authorities[leaf.domain].issue(
                leaf.identity,
                key.public_key,
                organisation=leaf.organisation,
                common_name=leaf.process,
                not_before=now - BACKDATE,
                not_after=now + LEAF_LIFE,
            )
            write_file(folder / "tls.pem", certificate)
    _report_certificates(layout, now, report, renewed=renewed, made=0 if is_new else made)
    if not is_new:
        _report_lists(layout, new_authorities, now, report)
    renew_crls(layout, provider)


def renew_crls(layout: Layout, provider: GmProvider) -> None:
    """Issue every domain's revocation list anew, with all that was revoked before."""
    now = datetime.now(UTC)
    for domain in CHAINS:
        folder = layout.authority(domain)
        authority = _load_authority(folder, provider)
        start, end = now - BACKDATE, now + CRL_LIFE
        path = folder / "crl.pem"
        if path.exists():
            try:
                crl = authority.reissue_crl(path.read_bytes(), this_update=start, next_update=end)
            except CertificateMalformedError as error:
                raise _list_refused(path, error.en, error.zh) from error
        else:
            crl = authority.issue_crl([], this_update=start, next_update=end)
        write_file(path, crl)


def _ensure_authority(
    layout: Layout, domain: str, provider: GmProvider, now: datetime, report: Report
) -> bool:
    """Whether its key is a new one, so that nothing it issued before can be believed."""
    folder = layout.authority(domain)
    has_key = (folder / "ca.key").exists()
    key = ensure_key(folder / "ca.key", provider)
    if not has_key:
        (folder / "crl.pem").unlink(missing_ok=True)
    if not has_key or _is_due(folder / "ca.pem", now, LEAF_LIFE):
        if (folder / "ca.pem").exists():
            report(
                choose(
                    f"the certificate authority of {domain} was due and has been renewed",
                    f"{domain} 的证书颁发机构证书已到期，现已更新",
                )
            )
        organisation = ENTITIES[domain][0].name
        authority = CertificateAuthority.create(
            provider,
            key,
            organisation=organisation,
            common_name=f"{domain} CA",
            not_before=now - BACKDATE,
            not_after=now + AUTHORITY_LIFE,
        )
        write_file(folder / "ca.pem", authority.certificate_pem)
    return not has_key


def _report_certificates(
    layout: Layout, now: datetime, report: Report, *, renewed: int, made: int
) -> None:
    if renewed:
        report(
            choose(
                f"{renewed} certificates were due or of no use, and have been renewed",
                f"{renewed} 张证书已到期、临近到期或不可用，现已更新",
            )
        )
    if made:
        report(
            choose(
                f"{made} certificates were missing and have been made",
                f"{made} 张证书缺失，现已重新签发",
            )
        )


def _report_lists(
    layout: Layout, new_authorities: Sequence[str], now: datetime, report: Report
) -> None:
    for domain in CHAINS:
        path = layout.authority(domain) / "crl.pem"
        if not path.exists() and domain not in new_authorities:
            report(
                choose(
                    f"the revocation list of {domain} was missing and a new one revokes nobody: "
                    "restore it from a backup if anything had been revoked",
                    f"{domain} 的证书吊销列表缺失，新列表不含任何吊销：如曾有吊销，请从备份恢复",
                )
            )
        elif path.exists() and next_update(path) <= now:
            report(
                choose(
                    f"the revocation list of {domain} was stale and has been issued anew",
                    f"{domain} 的证书吊销列表已过期，现已重新签发",
                )
            )


def _load_authority(folder: Path, provider: GmProvider) -> CertificateAuthority:
    key = load_private_key(folder / "ca.key", provider)
    return CertificateAuthority(provider, (folder / "ca.pem").read_bytes(), key)


def next_update(path: Path) -> datetime:
    """When a revocation list ends. A damaged one is refused: it may have revoked somebody."""
    try:
        found = x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
    except ValueError as error:
        raise _list_refused(
            path, f"it is no revocation list ({error})", f"不是证书吊销列表（{error}）"
        ) from None
    assert found is not None, "our own lists name their end"
    return found


def _list_refused(path: Path, why_en: str, why_zh: str) -> CliError:
    return CliError(
        CertificateMalformedError.code,
        f"{path}: {why_en}",
        f"{path}：{why_zh}",
        "restore it from a backup; without it nobody knows which certificates are revoked",
        "请从备份恢复；否则无法得知哪些证书已被吊销",
        exit_code=EXIT_USAGE,
    )


def load_anchors(layout: Layout, domain: str) -> TrustAnchors | None:
    """A domain's authority and its revocation list, as processes believe them; None where the
    authority's certificate is still to be made.
    """
    folder = layout.authority(domain)
    if not (folder / "ca.pem").exists():
        return None
    read_certificate(folder / "ca.pem")
    path = folder / "crl.pem"
    lists = (path.read_bytes(),) if path.exists() else ()
    authority = Authority((folder / "ca.pem").read_bytes(), lists, frozenset({domain}))
    try:
        return TrustAnchors([authority])
    except CertificateMalformedError as error:
        raise _list_refused(path, error.en, error.zh) from error


def check_issuers(layout: Layout) -> None:
    """Raise `CliError` unless every certificate was issued by the authority of its domain that is
    in the folder: otherwise it is another network's, and no process believes the other.
    """
    foreign = []
    for domain in CHAINS:
        anchors = load_anchors(layout, domain)
        if anchors is None:
            continue
        for leaf in leaves():
            path = layout.process(leaf.process) / "tls.pem"
            if leaf.domain == domain and path.exists() and not _is_issued_by(anchors, path):
                foreign.append(leaf.process)
    if foreign:
        folder = layout.folder / "ca"
        raise CliError(
            "CERTIFICATE_UNTRUSTED",
            f"the authority in {folder} did not issue the certificates of {', '.join(foreign)}",
            f"{folder} 中的颁发机构未签发以下进程的证书：{'、'.join(foreign)}",
            f"put back the folder {folder} of this network; if it is lost, delete tls.pem of each,"
            " then `guqiao dev up`: it makes new ones",
            f"请恢复本网络的目录 {folder}；如已丢失，请逐一删除其 tls.pem，"
            "再执行 `guqiao dev up` 重新签发",
            exit_code=EXIT_USAGE,
        )


def _is_issued_by(anchors: TrustAnchors, path: Path) -> bool:
    """Whether the authority issued it, expired or not."""
    info = read_certificate(path)
    try:
        anchors.verify(x509.load_der_x509_certificate(info.der), info.not_before)
    except CertificateRefusedError as error:
        return error.code != "CERTIFICATE_UNTRUSTED"
    return True


def _is_due(path: Path, now: datetime, margin: timedelta = LEAF_RENEWAL) -> bool:
    """Whether it is missing, ends soon, or is not valid yet: a clock was ahead when it was made."""
    if not path.exists():
        return True
    certificate = read_certificate(path)
    return certificate.not_after - now < margin or certificate.not_before > now


def _is_void(path: Path, leaf: Leaf, key: PrivateKey, now: datetime) -> bool:
    """Whether a process cannot use its certificate: it is due, or of another process or key."""
    if _is_due(path, now):
        return True
    certificate = read_certificate(path)
    return (certificate.identity, certificate.public_key) != (leaf.identity, key.public_key)


def read_certificate(path: Path) -> CertificateInfo:
    """A process's certificate; `CliError` names a file that holds none."""
    try:
        return parse_certificate(path.read_bytes())
    except CertificateMalformedError as error:
        raise CliError(
            error.code,
            f"{path}: {error.en}",
            f"{path}：{error.zh}",
            "move the file away: `guqiao dev up` makes it anew with the key beside it",
            "请移走该文件：`guqiao dev up` 会用同一文件夹中的密钥重新签发",
            exit_code=EXIT_USAGE,
        ) from error
