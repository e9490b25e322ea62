"""Certificates and keys of the network: made once, renewed before they end, and never the user's
chore.

Each domain has its own authority. Leaf certificates last a year and are renewed when less than a
month is left (or after their end: a folder of two years ago starts again); revocation lists last a
week and are issued anew at every start and daily while the network runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.certificates import (
    CertificateAuthority,
    parse_certificate,
    replica_identity,
    service_identity,
)
from guqiao_sdk.gm.keyfile import load_private_key, save_private_key
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, ENTITIES, REPLICAS, SERVICES

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
    """Make what is missing, renew what is due, and say so."""
    now = datetime.now(UTC)
    authorities = {
        domain: _ensure_authority(layout, domain, provider, now, report) for domain in CHAINS
    }
    renewed = 0
    for leaf in leaves():
        folder = layout.process(leaf.process)
        key = ensure_key(folder / "tls.key", provider)
        if _is_due(folder / "tls.pem", now, LEAF_RENEWAL):
            renewed += (folder / "tls.pem").exists()
            certificate = authorities[leaf.domain].issue(
                leaf.identity,
                key.public_key,
                organisation=leaf.organisation,
                common_name=leaf.process,
                not_before=now - BACKDATE,
                not_after=now + LEAF_LIFE,
            )
            _replace(folder / "tls.pem", certificate)
    if renewed:
        report(f"{renewed} certificates were due and have been renewed")
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
            crl = authority.reissue_crl(path.read_bytes(), this_update=start, next_update=end)
        else:
            crl = authority.issue_crl([], this_update=start, next_update=end)
        _replace(path, crl)


def _ensure_authority(
    layout: Layout, domain: str, provider: GmProvider, now: datetime, report: Report
) -> CertificateAuthority:
    folder = layout.authority(domain)
    key = ensure_key(folder / "ca.key", provider)
    if _is_due(folder / "ca.pem", now, LEAF_LIFE):
        if (folder / "ca.pem").exists():
            report(f"the certificate authority of {domain} was due and has been renewed")
        organisation = ENTITIES[domain][0].name
        authority = CertificateAuthority.create(
            provider,
            key,
            organisation=organisation,
            common_name=f"{domain} CA",
            not_before=now - BACKDATE,
            not_after=now + AUTHORITY_LIFE,
        )
        _replace(folder / "ca.pem", authority.certificate_pem)
    return _load_authority(folder, provider)


def _load_authority(folder: Path, provider: GmProvider) -> CertificateAuthority:
    key = load_private_key(folder / "ca.key", provider)
    return CertificateAuthority(provider, (folder / "ca.pem").read_bytes(), key)


def _is_due(path: Path, now: datetime, margin: timedelta) -> bool:
    return not path.exists() or parse_certificate(path.read_bytes()).not_after - now < margin


def _replace(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    os.replace(new, path)
