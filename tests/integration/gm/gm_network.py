"""A small network for the tests: an authority, holders with files, and helpers that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from guqiao_sdk.gm.certificates import (
    CertificateAuthority,
    RevokedCertificate,
    parse_certificate,
)
from guqiao_sdk.gm.keyfile import private_key_to_pem
from guqiao_sdk.gm.provider import GmProvider
from services.chassis.gm_tls import AuthorityFiles, GmTlsFiles, GmTlsIdentity, Refusal

HOUR = timedelta(hours=1)
WAIT_SECONDS = 90.0


def now() -> datetime:
    return datetime.now(UTC)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a bound."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, not all have an event
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Holder:
    """Somebody with a certificate: its files, its identity on links, and whom it refused."""

    name: str
    files: GmTlsFiles
    refusals: list[Refusal] = field(default_factory=list)

    def identity(self) -> GmTlsIdentity:
        return GmTlsIdentity(self.files, on_refusal=self.refusals.append, watch_seconds=0.01)

    @property
    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.refusals]

    @property
    def serial(self) -> int:
        return parse_certificate(self.files.certificate.read_bytes()).serial


class Network:
    """One authority and its revocation list, shared by all the holders it makes."""

    def __init__(
        self,
        provider: GmProvider,
        folder: Path,
        *,
        name: str = "root",
        domains: Collection[str] = ("csrc", "shandong", "hebei"),
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.provider = provider
        self.folder = folder
        self.authority = CertificateAuthority.create(
            provider,
            provider.keygen(),
            organisation="示例机构",
            common_name=name,
            not_before=now() - 1000 * HOUR,
            not_after=now() + 1000 * HOUR,
        )
        (folder / "ca.pem").write_bytes(self.authority.certificate_pem)
        self.crl_path = folder / "crl.pem"
        self.files = AuthorityFiles(folder / "ca.pem", self.crl_path, frozenset(domains))
        self.write_crl([])

    def write_crl(
        self, revoked: Iterable[int], *, stale: bool = False, fresh_for: timedelta = HOUR
    ) -> None:
        crl = self.authority.issue_crl(
            [RevokedCertificate(serial, now() - HOUR) for serial in revoked],
            this_update=now() - 2 * HOUR,
            next_update=now() + (-HOUR if stale else fresh_for),
        )
        self.crl_path.write_bytes(crl)

    def holder(
        self,
        name: str,
        *,
        start: timedelta = -HOUR,
        end: timedelta = HOUR,
        tag: str = "",
        trusted: Iterable[AuthorityFiles] = (),
    ) -> Holder:
        """Make one; it trusts this network's authority and those in `trusted`."""
        key = self.provider.keygen()
        stem = name.replace(":", "_").replace("/", "_") + tag
        certificate = self.authority.issue(
            name,
            key.public_key,
            organisation="示例机构",
            common_name=name,
            not_before=now() + start,
            not_after=now() + end,
        )
        certificate_path, key_path = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        certificate_path.write_bytes(certificate)
        key_path.touch(mode=0o600)
        key_path.write_bytes(private_key_to_pem(key))
        return Holder(name, GmTlsFiles(certificate_path, key_path, (self.files, *trusted)))


@dataclass(slots=True)
class Recorder:
    """A TCP relay that keeps every byte that passes, in both directions."""

    port: int = 0
    seen: bytearray = field(default_factory=bytearray)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.seen += data
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def recording(target_port: int) -> AsyncIterator[Recorder]:
    """Record what goes to and from a port of this machine."""
    recorder = Recorder()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(recorder._pump(reader, far_writer))
                tasks.create_task(recorder._pump(far_reader, writer))
        except* OSError:
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    async with server:
        yield recorder
