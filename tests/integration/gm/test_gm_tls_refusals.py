"""Links that are not made, and links that are cut: every reason, seen from the end that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL, _util

from guqiao_sdk.gm.certificates import CertificateInfo
from guqiao_sdk.gm.errors import GmDecryptError, GmError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm4 import sm4_gcm_decrypt, sm4_gcm_encrypt
from services.chassis.gm_tls import (
    GmTlsIdentity,
    GmTlsSettings,
    GmTlsSetupError,
    LinkBrokenError,
    PeerRefusedError,
    RefusedByPeerError,
    engine,
    open_connection,
    start_server,
)
from services.chassis.gm_tls.engine import TlsEngine
from tests.integration.gm.gm_network import HOUR, Holder, Network, wait_until
from tests.integration.gm.test_gm_tls_links import CLIENT, SERVER, echo, shake

OTHER = "guqiao:replica:shandong/2"
GATEWAY, REGULATOR = "guqiao:service:shandong/gateway", "guqiao:service:csrc/gateway"
Change = Callable[[SSL.Context], None]


class Odd(GmTlsIdentity):
    """A peer whose TLS differs in one point."""

    def __init__(self, holder: Holder, change: Change) -> None:
        super().__init__(holder.files, on_refusal=holder.refusals.append)
        change(self._context)

    def engine(self, *, is_server: bool) -> TlsEngine:
        return TlsEngine(self._context, is_server=is_server)

    def check_peer(self, info: CertificateInfo) -> None:
        """Judge nobody after the handshake: the other end must be the one that refuses."""


def aes_only(context: SSL.Context) -> None:
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")


def p256_only(context: SSL.Context) -> None:
    library: Any = _util.lib
    assert library.SSL_CTX_set1_curves_list(context._context, b"P-256") == 1


def tls12_only(context: SSL.Context) -> None:
    library: Any = _util.lib
    assert library.SSL_CTX_set1_curves_list(context._context, b"P-256") == 1
    assert library.SSL_CTX_set1_sigalgs_list(context._context, b"ECDSA+SHA256:RSA+SHA256") == 1
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)


def trusting(context: SSL.Context) -> None:
    """Show our certificate to anybody: the other end must be the one that refuses."""
    context.set_verify(SSL.VERIFY_NONE)


async def refuse_client(
    server: Holder, client: GmTlsIdentity, accept: Collection[str] = (CLIENT,)
) -> GmError:
    """The client tries; its error comes back, once the server has told its reason."""
    listening = await start_server(echo, "127.0.0.1", 0, server.identity(), accept=accept)
    async with listening:
        with pytest.raises((RefusedByPeerError, PeerRefusedError)) as caught:
            await open_connection("127.0.0.1", listening.port, client, expected_peer=server.name)
        await wait_until(lambda: bool(server.refusals))
        await wait_until(lambda: listening.links == 0)
    return caught.value


async def refuse_server(
    server: GmTlsIdentity,
    client: Holder,
    *,
    expected: str = SERVER,
    accept: Collection[str] = (CLIENT,),
) -> PeerRefusedError:
    """The client refuses the server; its error comes back."""
    listening = await start_server(echo, "127.0.0.1", 0, server, accept=accept)
    async with listening:
        with pytest.raises(PeerRefusedError) as caught:
            await open_connection(
                "127.0.0.1", listening.port, client.identity(), expected_peer=expected
            )
    assert client.reasons == [caught.value.reason], "a refusal is told, not only raised"
    return caught.value


@pytest.mark.req("G2-09-4", "G2-16-1")
async def test_a_client_without_a_certificate_is_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    with monkeypatch.context() as patched:
        patched.setattr(SSL.Context, "use_certificate", lambda *_: None)
        patched.setattr(SSL.Context, "use_privatekey", lambda *_: None)
        patched.setattr(SSL.Context, "check_privatekey", lambda *_: None)
        naked = client.identity()
    error = await refuse_client(server, naked)
    assert isinstance(error, RefusedByPeerError)
    assert "certificate required" in error.detail
    assert server.reasons == ["no_certificate"]


@pytest.mark.req("G2-09-4", "G2-16-1")
async def test_a_certificate_of_another_authority_is_refused_by_both_ends(
    network: Network, foreign: Network
) -> None:
    server, stranger = network.holder(SERVER), foreign.holder(CLIENT)
    await refuse_client(server, Odd(stranger, trusting))
    assert server.reasons in (["unknown_issuer"], ["bad_signature"])
    client, false_server = network.holder(CLIENT), foreign.holder(SERVER)
    error = await refuse_server(Odd(false_server, trusting), client)
    assert error.reason in ("unknown_issuer", "bad_signature")


@pytest.mark.req("G2-09-4", "G2-09-6", "G2-16-1")
async def test_gateways_trust_two_authorities_each_for_its_own_domain(
    provider: GmProvider, tmp_path: Path
) -> None:
    """Neither domain's authority can make a gateway of the other's, whichever end it plays."""
    csrc = Network(provider, tmp_path / "csrc", domains={"csrc"})
    market = Network(provider, tmp_path / "market", domains={"shandong"})
    regulator = csrc.holder(REGULATOR, trusted=[market.files])
    gateway = market.holder(GATEWAY, trusted=[csrc.files])
    listening = await start_server(echo, "127.0.0.1", 0, regulator.identity(), accept={GATEWAY})
    async with listening:
        link = await open_connection(
            "127.0.0.1", listening.port, gateway.identity(), expected_peer=REGULATOR
        )
        link.close()
    assert regulator.refusals == gateway.refusals == []

    forged = csrc.holder(GATEWAY, tag="-forged", trusted=[market.files])
    error = await refuse_client(regulator, Odd(forged, trusting), accept={GATEWAY})
    assert isinstance(error, RefusedByPeerError)
    assert regulator.refusals[0].identity == GATEWAY
    assert regulator.reasons == ["unknown_issuer"]

    forged = market.holder(REGULATOR, tag="-forged", trusted=[csrc.files])
    server = Odd(forged, trusting)
    refused = await refuse_server(server, gateway, expected=REGULATOR, accept={GATEWAY})
    assert (refused.reason, refused.identity) == ("unknown_issuer", REGULATOR)


@pytest.mark.req("G2-09-6", "G2-16-1")
async def test_a_live_link_is_cut_when_its_authority_may_no_longer_speak_for_its_domain(
    provider: GmProvider, tmp_path: Path
) -> None:
    network = Network(provider, tmp_path / "network")
    server, client = network.holder(SERVER).identity(), network.holder(CLIENT).identity()
    async with await start_server(echo, "127.0.0.1", 0, server, accept={CLIENT}) as listening:
        link = await open_connection("127.0.0.1", listening.port, client, expected_peer=SERVER)
        assert server.judge_links() == 0
        server.check_peer(client.info)
        other = Network(provider, tmp_path / "other", domains={"shandong"})
        for name in ("ca.pem", "crl.pem"):
            (network.folder / name).write_bytes((other.folder / name).read_bytes())
        assert server.reload() == 1
        with pytest.raises(PeerRefusedError, match=r"unknown_issuer|bad_signature"):
            server.check_peer(client.info)
        link.close()


@pytest.mark.req("G2-09-4", "G2-09-6")
@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [(-3, -2, "expired"), (2, 3, "not_yet_valid")],
)
async def test_g34_a_certificate_out_of_its_time_is_refused_by_both_ends(
    network: Network, start: int, end: int, reason: str
) -> None:
    def late(name: str) -> GmTlsIdentity:
        holder = network.holder(name, start=start * HOUR, end=end * HOUR, tag="-late")
        return holder.identity()

    server = network.holder(SERVER)
    error = await refuse_client(server, late(CLIENT))
    assert isinstance(error, RefusedByPeerError)
    assert server.reasons == [reason]
    assert (await refuse_server(late(SERVER), network.holder(CLIENT))).reason == reason


@pytest.mark.req("G2-09-4", "G2-09-6", "G2-16-1")
async def test_g34_a_revoked_certificate_is_refused_by_both_ends(network: Network) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    network.write_crl([client.serial])
    error = await refuse_client(server, client.identity())
    assert isinstance(error, RefusedByPeerError)
    assert "revoked" in error.detail
    assert server.reasons == ["revoked"]
    network.write_crl([server.serial])
    assert (await refuse_server(server.identity(), network.holder(CLIENT))).reason == "revoked"


@pytest.mark.req("G2-16-1")
async def test_a_stale_list_refuses_every_new_link(network: Network) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    fresh_client = client.identity()
    network.write_crl([], stale=True)
    await refuse_client(server, fresh_client)
    assert server.reasons == ["crl_stale"]
    stale_client = network.holder(CLIENT)
    network.write_crl([])
    fresh_server = server.identity()
    network.write_crl([], stale=True)
    assert (await refuse_server(fresh_server, stale_client)).reason == "crl_stale"


@pytest.mark.req("G2-09-4", "G2-09-5")
@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (aes_only, "no shared cipher"),
        (p256_only, "no suitable"),
        (tls12_only, "unsupported protocol"),
    ],
)
async def test_a_client_without_the_national_algorithms_is_refused(
    network: Network, change: Change, detail: str
) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    await refuse_client(server, Odd(client, change))
    assert server.reasons == ["not_gm"]
    assert detail in server.refusals[0].detail


@pytest.mark.req("G2-09-4", "G2-09-5")
@pytest.mark.parametrize("change", [aes_only, p256_only, tls12_only])
async def test_a_server_without_the_national_algorithms_gets_no_link(
    network: Network, change: Change
) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    listening = await start_server(echo, "127.0.0.1", 0, Odd(server, change), accept={CLIENT})
    async with listening:
        with pytest.raises((RefusedByPeerError, PeerRefusedError)):
            await open_connection(
                "127.0.0.1", listening.port, client.identity(), expected_peer=SERVER
            )
        await wait_until(lambda: listening.links == 0)


@pytest.mark.req("G2-09-5")
def test_a_link_that_agreed_on_something_else_is_refused_afterwards(network: Network) -> None:
    """The second line of defence: had the context not been restricted, the check would tell."""
    server, client = network.holder(SERVER), network.holder(CLIENT)
    ends = shake(
        Odd(client, aes_only).engine(is_server=False), Odd(server, aes_only).engine(is_server=True)
    )
    for end in ends:
        with pytest.raises(PeerRefusedError, match="TLS_AES_128_GCM_SHA256") as caught:
            end.peer()
        assert caught.value.reason == "not_gm"


@pytest.mark.req("G2-09-4", "G2-16-1")
async def test_the_right_certificate_of_the_wrong_replica_is_refused(network: Network) -> None:
    """Both ends: the server has no place for replica 2, the client wants replica 0 and no other."""
    server, intruder = network.holder(SERVER), network.holder(OTHER)
    error = await refuse_client(server, intruder.identity())
    assert isinstance(error, RefusedByPeerError)
    assert server.reasons == ["not_accepted"]
    assert server.refusals[0].identity == OTHER
    client, impostor = network.holder(CLIENT), network.holder(OTHER, tag="-again")
    refused = await refuse_server(impostor.identity(), client)
    assert refused.reason == "wrong_identity"
    assert refused.identity == OTHER
    assert SERVER in client.refusals[0].detail


async def test_an_accepting_function_decides_like_a_set(network: Network) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    asked: list[str] = []

    def nobody(name: str) -> bool:
        asked.append(name)
        return False

    listening = await start_server(echo, "127.0.0.1", 0, server.identity(), accept=nobody)
    async with listening:
        with pytest.raises(RefusedByPeerError):
            await open_connection(
                "127.0.0.1", listening.port, client.identity(), expected_peer=SERVER
            )
    assert asked == [CLIENT]


@pytest.mark.req("G2-09-6")
async def test_a_users_certificate_opens_no_link(network: Network) -> None:
    server, user = network.holder(SERVER), network.holder("did:rem:shandong:u1")
    await refuse_client(server, user.identity())
    assert server.reasons == ["wrong_purpose"]


def test_a_session_is_never_resumed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed session would skip the certificates, and with them a revocation."""
    server, client = network.holder(SERVER).identity(), network.holder(CLIENT).identity()

    def resumed(server_end: Callable[[], TlsEngine]) -> int:
        first, first_server = shake(client.engine(is_server=False), server_end())
        first_server.encrypt(b"any data, after which tickets would have come")
        for data in first_server.take_output():
            first.feed(data)
        first.decrypt_into(bytearray())
        session = first._tls.get_session()
        assert session is not None
        second = client.engine(is_server=False)
        second._tls.set_session(session)
        _, second_server = shake(second, server_end())
        library: Any = _util.lib
        reused: int = library.SSL_session_reused(second_server._tls._ssl)
        return reused

    assert resumed(lambda: server.engine(is_server=True)) == 0
    with monkeypatch.context() as patched:
        patched.setattr(SSL.Context, "set_options", lambda *_: None)
        lax = network.holder(SERVER, tag="-lax").identity()
    lax._context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    lax._context.set_session_id(b"lax")
    assert resumed(lambda: lax.engine(is_server=True)) == 1, "the check can see a resumption"


async def test_a_caller_that_says_nothing_is_dropped(network: Network) -> None:
    server = network.holder(SERVER)
    hasty = GmTlsSettings(handshake_timeout_seconds=0.05)
    listening = await start_server(
        echo, "127.0.0.1", 0, server.identity(), accept={CLIENT}, settings=hasty
    )
    async with listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        assert await reader.read() == b""
        writer.close()
    assert server.reasons == ["handshake_timeout"]


async def test_a_server_that_says_nothing_is_given_up(network: Network) -> None:
    client = network.holder(CLIENT)
    stop = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    hasty = GmTlsSettings(handshake_timeout_seconds=0.05)
    async with silent:
        with pytest.raises(PeerRefusedError, match="handshake_timeout"):
            await open_connection(
                "127.0.0.1", port, client.identity(), expected_peer=SERVER, settings=hasty
            )
        stop.set()
    assert client.reasons == ["handshake_timeout"]


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\x16\x03\x01\xff\xff"])
async def test_noise_is_refused_and_the_server_goes_on(network: Network, noise: bytes) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    hasty = GmTlsSettings(handshake_timeout_seconds=1)
    listening = await start_server(
        echo, "127.0.0.1", 0, server.identity(), accept={CLIENT}, settings=hasty
    )
    async with listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(noise)
        writer.write_eof()
        await reader.read()
        writer.close()
        await wait_until(lambda: listening.links == 0)
        stream = await open_connection(
            "127.0.0.1", listening.port, client.identity(), expected_peer=SERVER
        )
        stream.close()


async def test_one_link_more_than_agreed_is_refused(network: Network) -> None:
    server, client = network.holder(SERVER), network.holder(CLIENT)
    identity = client.identity()
    listening = await start_server(
        echo,
        "127.0.0.1",
        0,
        server.identity(),
        accept={CLIENT},
        settings=GmTlsSettings(links_max=1),
    )
    async with listening:
        first = await open_connection("127.0.0.1", listening.port, identity, expected_peer=SERVER)
        with pytest.raises((RefusedByPeerError, LinkBrokenError)):
            await open_connection("127.0.0.1", listening.port, identity, expected_peer=SERVER)
        first.write(b"x")
        assert await first.readexactly(1) == b"x"
        first.close()
        await wait_until(lambda: listening.links == 0)
        again = await open_connection("127.0.0.1", listening.port, identity, expected_peer=SERVER)
        again.close()
    assert server.reasons == ["too_many_links"]


@pytest.mark.req("G2-09-5")
@pytest.mark.parametrize("name", ["SUITE", "GROUP", "SIGNATURE_ALGORITHM"])
def test_a_library_without_rfc_8998_refuses_to_start(
    network: Network, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    holder = network.holder(SERVER)
    monkeypatch.setattr(engine, name, "not-there")
    with pytest.raises(GmTlsSetupError, match="no RFC 8998"):
        holder.identity()


def _leave_an_error(_: Network) -> None:
    library: Any = _util.lib
    library.ERR_put_error(6, 0, 138, b"", 0)
    assert library.ERR_peek_error() != 0


def _have_a_certificate_refused(network: Network) -> None:
    revoked = network.holder(OTHER)
    network.write_crl([revoked.serial])
    revoked.identity()
    network.write_crl([])


@pytest.mark.parametrize("spoil", [_leave_an_error, _have_a_certificate_refused])
def test_a_refusal_elsewhere_disturbs_no_healthy_link(
    network: Network, spoil: Callable[[Network], None]
) -> None:
    """OpenSSL's error queue is shared: what one refusal leaves must not break the next link."""
    identity = network.holder(SERVER).identity()
    spoil(network)
    ends = identity.engine(is_server=False), identity.engine(is_server=True)
    spoil(network)
    client, server = shake(*ends)
    spoil(network)
    client.encrypt(b"healthy")
    for data in client.take_output():
        server.feed(data)
    received = bytearray()
    spoil(network)
    assert not server.decrypt_into(received)
    assert bytes(received) == b"healthy"
    spoil(network)
    assert not server.decrypt_into(received), "nothing new has come, and nothing is wrong"
    spoil(network)
    sealed = sm4_gcm_encrypt(bytes(16), bytes(12), b"text", b"")
    spoil(network)
    with pytest.raises(GmDecryptError):
        sm4_gcm_decrypt(bytes(16), bytes(12), b"\xff" + sealed[1:], b"")


def test_keys_that_are_used_up_end_the_link(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = network.holder(SERVER).identity()
    client, _ = shake(identity.engine(is_server=False), identity.engine(is_server=True))
    monkeypatch.setattr(engine, "ENCRYPTED_SIZE_MAX", 1000)
    client.encrypt(bytes(1000))
    with pytest.raises(LinkBrokenError, match="as much as they may"):
        client.encrypt(b"x")
