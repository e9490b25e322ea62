"""Live links are judged again: a new CRL cuts the revoked, new files are used without a restart."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from guqiao_sdk.gm.certificates import (
    CertificateInfo,
    CertificateMalformedError,
    CertificateRefusedError,
    TrustAnchors,
)
from guqiao_sdk.gm.errors import GmError, KeyFileError
from services.chassis.gm_tls import (
    GmStream,
    GmTlsIdentity,
    GmTlsSetupError,
    LinkBrokenError,
    LinkCutError,
    open_connection,
    start_server,
)
from tests.integration.gm.gm_network import HOUR, Network, now, wait_until
from tests.integration.gm.test_gm_tls_links import CLIENT, SERVER, echo

OTHER = "guqiao:replica:shandong/2"


class Live:
    """A live link whose server end can be judged."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.server, self.client = network.holder(SERVER), network.holder(CLIENT)
        self.identity = self.server.identity()
        self.error: GmError | None = None
        self.stream: GmStream

    async def __aenter__(self) -> Live:
        async def keep(stream: GmStream) -> None:
            try:
                await echo(stream)
            except GmError as error:
                self.error = error

        self.listening = await start_server(keep, "127.0.0.1", 0, self.identity, accept={CLIENT})
        self.stream = await open_connection(
            "127.0.0.1", self.listening.port, self.client.identity(), expected_peer=SERVER
        )
        await self.use()
        return self

    async def use(self) -> None:
        self.stream.write(b"alive")
        assert await self.stream.readexactly(5) == b"alive"

    async def expect_cut(self, reason: str) -> None:
        with pytest.raises(LinkBrokenError):
            await self.stream.read(1)
        await wait_until(lambda: self.error is not None)
        assert isinstance(self.error, LinkCutError)
        assert self.error.reason == reason
        assert reason in self.server.reasons

    async def __aexit__(self, *_: object) -> None:
        self.stream.close()
        await self.listening.close()


@pytest.mark.req("G2-09-6", "G2-16-1")
async def test_a_new_list_cuts_the_live_link_of_the_revoked(network: Network) -> None:
    async with Live(network) as live:
        network.write_crl([live.client.serial])
        assert live.identity.reload() == 1
        await live.expect_cut("revoked")


async def test_a_new_list_leaves_the_others_alone(network: Network) -> None:
    async with Live(network) as live:
        network.write_crl([network.holder(OTHER).serial])
        assert live.identity.reload() == 0
        await live.use()
        assert live.server.reasons == []


@pytest.mark.req("G2-09-6", "G2-16-1")
async def test_the_watch_finds_a_new_list_by_itself(network: Network) -> None:
    async with Live(network) as live, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(live.identity.watch())
        network.write_crl([live.client.serial])
        await live.expect_cut("revoked")
        watching.cancel()


async def test_a_certificate_that_expires_ends_its_live_link(network: Network) -> None:
    async with Live(network) as live:
        network.write_crl([], fresh_for=9 * HOUR)
        assert live.identity.reload() == 0
        assert live.identity.judge_links(at=now() + 2 * HOUR) == 1
        await live.expect_cut("expired")


@pytest.mark.req("G2-09-6", "G2-16-1")
async def test_a_list_that_goes_stale_cuts_the_links_that_it_vouched_for(network: Network) -> None:
    async with Live(network) as live:
        network.write_crl([], fresh_for=HOUR / 2)
        assert live.identity.reload() == 0
        assert live.identity.judge_links(at=now() + HOUR / 4) == 0
        await live.use()
        assert live.identity.judge_links(at=now() + HOUR * 3 / 4) == 1
        await live.expect_cut("crl_stale")


@pytest.mark.req("G2-09-6", "G2-16-1")
async def test_a_link_found_good_is_judged_anew_only_when_files_change_or_something_ends(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[datetime] = []
    verify = TrustAnchors.verify

    def counted(
        anchors: TrustAnchors, certificate: x509.Certificate, at: datetime
    ) -> CertificateInfo:
        judged.append(at)
        return verify(anchors, certificate, at)

    async with Live(network) as live:
        network.write_crl([], fresh_for=HOUR / 2)
        assert live.identity.reload() == 0
        monkeypatch.setattr(TrustAnchors, "verify", counted)
        assert live.identity.judge_links() == 0
        assert live.identity.judge_links(at=now() + HOUR / 4) == 0
        assert judged == []
        assert live.identity.judge_links(at=now() - 2000 * HOUR) == 1
        assert len(judged) == 1
        await live.expect_cut("crl_stale")


async def test_a_list_that_ends_soon_is_said_once_before_it_ends(network: Network) -> None:
    network.write_crl([], fresh_for=HOUR)
    with capture_logs() as logs:
        async with Live(network) as live, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(live.identity.watch())
            ends_soon = "gm_tls.crl_ends_soon"
            await wait_until(lambda: ends_soon in [line["event"] for line in logs])
            network.write_crl([], fresh_for=24 * HOUR)
            reloaded = "gm_tls.identity_reloaded"
            await wait_until(lambda: reloaded in [line["event"] for line in logs])
            await live.use()
            watching.cancel()
    assert [line["event"] for line in logs].count(ends_soon) == 1


@pytest.mark.req("G2-09-6")
async def test_a_stale_list_still_says_who_is_revoked_and_who_has_expired(network: Network) -> None:
    async with Live(network) as live:
        network.write_crl([live.client.serial], stale=True)
        assert live.identity.reload() == 1
        await live.expect_cut("revoked")
    network.write_crl([])
    async with Live(network) as live:
        assert live.identity.judge_links(at=now() + timedelta(days=2)) == 1
        await live.expect_cut("expired")


async def test_a_bad_file_changes_nothing(network: Network) -> None:
    async with Live(network) as live:
        good = network.crl_path.read_bytes()
        for bad in (b"", b"garbage", good[: len(good) // 2]):
            network.crl_path.write_bytes(bad)
            with pytest.raises(CertificateMalformedError, match="CRL"):
                live.identity.reload()
            await live.use()
            stream = await open_connection(
                "127.0.0.1", live.listening.port, _client(network, good), expected_peer=SERVER
            )
            stream.close()
        network.crl_path.unlink()
        with pytest.raises(GmTlsSetupError, match=r"crl\.pem cannot be read"):
            live.identity.reload()
        await live.use()


def _client(network: Network, crl: bytes) -> GmTlsIdentity:
    spoiled = network.crl_path.read_bytes()
    network.crl_path.write_bytes(crl)
    try:
        return network.holder(CLIENT, tag="-more").identity()
    finally:
        network.crl_path.write_bytes(spoiled)


@pytest.mark.req("G2-09-6")
def test_our_own_certificate_is_judged_as_peers_judge_it(network: Network) -> None:
    good = network.holder(SERVER)
    good.identity().check_own()
    assert good.identity().trouble() is None
    expired = network.holder(CLIENT, start=-2 * HOUR, end=-HOUR)
    for revoked, code in (([], "CERTIFICATE_EXPIRED"), ([good.serial], "CERTIFICATE_REVOKED")):
        network.write_crl(revoked)
        identity = (good if revoked else expired).identity()
        with pytest.raises(CertificateRefusedError) as refused:
            identity.check_own()
        assert refused.value.code == code
        assert identity.trouble() == refused.value.en
    network.write_crl([], stale=True)
    good.identity().check_own()  # A newer list may come while the process runs.
    assert "out of date" in (good.identity().trouble() or "")
    with pytest.raises(CertificateRefusedError) as hidden:
        expired.identity().check_own()
    assert hidden.value.code == "CERTIFICATE_EXPIRED"


@pytest.mark.req("G2-09-6")
async def test_a_renewed_certificate_is_used_without_a_restart(network: Network) -> None:
    async with Live(network) as live:
        old = live.identity.info.serial
        network.holder(SERVER)  # Writes new files over the old ones.
        live.identity.reload()
        assert live.identity.info.serial != old
        await live.use()
        stream = await open_connection(
            "127.0.0.1", live.listening.port, live.client.identity(), expected_peer=SERVER
        )
        assert stream.peer_certificate.serial == live.identity.info.serial
        stream.close()


def test_a_reload_cannot_change_who_we_are(network: Network) -> None:
    holder, other = network.holder(SERVER), network.holder(OTHER)
    identity = holder.identity()
    holder.files.certificate.write_bytes(other.files.certificate.read_bytes())
    holder.files.private_key.write_bytes(other.files.private_key.read_bytes())
    with pytest.raises(GmTlsSetupError, match="instead of"):
        identity.reload()


def test_our_own_files_must_fit_together(network: Network) -> None:
    holder, other = network.holder(SERVER), network.holder(OTHER)
    key = holder.files.private_key.read_bytes()
    holder.files.private_key.write_bytes(other.files.private_key.read_bytes())
    with pytest.raises(GmTlsSetupError, match="does not belong"):
        holder.identity()
    holder.files.private_key.write_bytes(b"garbage")
    with pytest.raises(GmTlsSetupError, match="does not belong"):
        holder.identity()
    holder.files.private_key.write_bytes(key)
    holder.files.private_key.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        holder.identity()
    holder.files.private_key.chmod(0o600)
    holder.identity()


def test_an_authoritys_certificate_is_nobodys_identity(network: Network) -> None:
    holder = network.holder(SERVER)
    holder.files.certificate.write_bytes(network.authority.certificate_pem)
    with pytest.raises(GmTlsSetupError, match="names no replica"):
        holder.identity()
