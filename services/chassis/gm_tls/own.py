"""A process's own identity on links, from its settings: refused at the start rather than by every
peer later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from services.chassis.gm_tls.errors import Refusal
from services.chassis.gm_tls.identity import AuthorityFiles, GmTlsFiles, GmTlsIdentity
from services.chassis.settings import AuthoritySettings, GmSettings, SettingsError
from services.chassis.telemetry import Metrics


def open_identity(settings: GmSettings) -> GmTlsIdentity:
    """The identity that `[gm]` names; raises `SettingsError`, or a `GmError` that names the fault
    of a file or of the certificate. Do this before anything is opened that others could notice.
    """
    certificate, key = settings.certificate, settings.key
    if certificate is None or key is None or not settings.authorities:
        raise SettingsError("[gm] needs certificate, key and authorities")
    files = GmTlsFiles(certificate, key, authority_files(settings.authorities))
    identity = GmTlsIdentity(files, watch_seconds=settings.watch_seconds)
    identity.check_own()
    return identity


def authority_files(settings: Iterable[AuthoritySettings]) -> tuple[AuthorityFiles, ...]:
    """Where the authorities that the settings name are read from."""
    return tuple(AuthorityFiles(each.certificate, each.crl, each.domains) for each in settings)


def certificate_check(identity: GmTlsIdentity) -> Callable[[], Awaitable[str | None]]:
    """A check for /readyz: would a peer believe our certificate now?"""

    async def believed() -> str | None:
        return identity.trouble()

    return believed


def count_refusals(identity: GmTlsIdentity, metrics: Metrics) -> None:
    """Count links that `identity` refuses or cuts, by reason, beside what it does with them now."""
    counter = metrics.counter(
        "guqiao_gm_tls_refusals_total", "Links that were refused or cut, by reason", ("reason",)
    )
    told = identity.on_refusal

    def count(refusal: Refusal) -> None:
        counter.labels(reason=refusal.reason).inc()
        told(refusal)

    identity.on_refusal = count
