"""Nodes of another kind are asked with bounds, and what they send is judged, whatever it is."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.trusted import ForkError, TrustedFisco
from services.chassis.errors import ServiceError
from services.gateway.observed import json_rpc
from services.gateway.observed.errors import (
    AnswerMalformedError,
    NodeUnavailableError,
    shown,
)
from services.gateway.observed.fisco import FiscoObserved
from services.gateway.observed.http import Endpoint, read_response
from services.gateway.observed.json_rpc import JsonRpcNodes, Limits, parse_answer
from tests.plugins.fisco_chain import (
    FiscoChain,
    hexed,
    provider,
    recorded,
    sign_header,
    unhexed,
)
from tests.plugins.fisco_node import FiscoNode, http_answer, in_chunks

pytestmark = pytest.mark.req("T2-13", "T2-14")

HANG_SECONDS = 60.0
"""No measure: only what never ends takes so long."""
QUICK = Limits(attempt_seconds=0.3, call_seconds=2.0, answer_bytes_max=200_000)


class Lab:
    """Nodes of one chain, and adapters that ask them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.chain = FiscoChain()
        for count in (3, 1, 0):
            self.chain.add_block(count)
        self._stack = stack

    async def node(self, chain: FiscoChain | None = None, **manners: Any) -> FiscoNode:
        node = FiscoNode(chain or self.chain, **manners)
        await node.start()
        self._stack.push_async_callback(node.stop)
        return node

    def adapter(
        self, *nodes: FiscoNode, tls: ssl.SSLContext | None = None, at: int = 0
    ) -> FiscoObserved:
        asked = JsonRpcNodes([node.url for node in nodes], tls, QUICK)
        return FiscoObserved(self.chain.trusted(at), asked, provider().verify)


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(json_rpc, "BACKOFF_SECONDS", 0.001)
    async with AsyncExitStack() as stack:
        yield Lab(stack)


async def refused(adapter: FiscoObserved) -> str:
    """The code with which a reading of block 1 ends."""
    with pytest.raises((ProofError, ServiceError)) as caught:
        await adapter.header(1)
    assert isinstance(caught.value, ProofError | ServiceError)
    return caught.value.code


async def test_each_question_is_asked_once_where_it_is_answered_well(lab: Lab) -> None:
    node, spare = await lab.node(), await lab.node()
    adapter = lab.adapter(node, spare)
    for height in (1, 2, 3):
        assert (await adapter.header(height)).height == height
    assert node.asked["getBlockByNumber"] == 1 + 3  # The genesis block, and these.
    assert not spare.asked


async def test_an_answer_in_chunks_is_read(lab: Lab) -> None:
    node = await lab.node(raw=lambda body: in_chunks(body))
    assert (await lab.adapter(node).header(1)).height == 1


async def test_a_node_that_breaks_off_is_asked_again_a_bounded_number_of_times(lab: Lab) -> None:
    node = await lab.node(drop=1)
    assert (await lab.adapter(node).header(1)).height == 1
    broken = await lab.node(drop=1_000)
    assert await refused(lab.adapter(broken)) == "OBSERVED_NODE_UNAVAILABLE"
    assert broken.asked.total() == json_rpc.ROUNDS


async def test_another_node_answers_for_one_that_is_away(lab: Lab) -> None:
    away, node = await lab.node(), await lab.node()
    adapter = lab.adapter(away, node)
    await away.stop()
    assert (await adapter.header(1)).height == 1
    assert (await adapter.header(2)).height == 2


async def test_a_slow_node_does_not_hold_the_caller_up(lab: Lab) -> None:
    slow, node = await lab.node(silent_seconds=3_600.0), await lab.node()
    async with asyncio.timeout(HANG_SECONDS):
        assert (await lab.adapter(slow, node).header(1)).height == 1
        assert await refused(lab.adapter(slow)) == "OBSERVED_NODE_UNAVAILABLE"


async def test_a_node_that_sends_a_byte_now_and_then_is_given_up(lab: Lab) -> None:
    """The time is that of the whole answer."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in http_answer(b"x" * 100_000):  # Half an hour of it.
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(QUICK.attempt_seconds / 20)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    nodes = JsonRpcNodes([f"http://127.0.0.1:{port}"], limits=QUICK)
    adapter = FiscoObserved(lab.chain.trusted(), nodes, provider().verify)
    async with server, asyncio.timeout(HANG_SECONDS):
        assert await refused(adapter) == "OBSERVED_NODE_UNAVAILABLE"
    server.close()


def answer(**members: Any) -> bytes:
    return http_answer(json.dumps(members).encode())


STRANGE: dict[str, Callable[[bytes], bytes]] = {
    "no HTTP": lambda body: b"SSH-2.0-x\r\n\r\n",
    "another status": lambda body: http_answer(body, "302 Found"),
    "no length": lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body,
    "two lengths": lambda body: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
    ),
    "length and chunks": lambda body: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
    ),
    "a length below zero": lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "a field without a name": lambda body: b"HTTP/1.1 200 OK\r\n: x\r\n\r\n" + body,
    "a huge length": lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
    "a huge body": lambda body: http_answer(b"[" + b"1," * 200_000 + b"1]"),
    "a huge head": lambda body: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9_000 + b"\r\n",
    "huge chunks": lambda body: in_chunks(b"1" * 400_000, 100_000),
    "a malformed chunk": lambda body: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
    ),
    "deep JSON": lambda body: http_answer(b"[" * 90_000),
    "no JSON": lambda body: http_answer(b"<html>"),
    "not UTF-8": lambda body: http_answer(b'{"a":"\xff"}'),
    "a member twice": lambda body: http_answer(body[:-1] + b',"id":1}'),
    "a fraction": lambda body: http_answer(b'{"jsonrpc":"2.0","id":1,"result":1.5}'),
    "a list": lambda body: http_answer(b"[]"),
    "another question's answer": lambda body: answer(jsonrpc="2.0", id=10**6, result={}),
    "another version": lambda body: answer(jsonrpc="1.0", id=1, result={}),
    "neither result nor error": lambda body: answer(jsonrpc="2.0", id=1),
    "both": lambda body: answer(jsonrpc="2.0", id=1, result={}, error={"code": 1, "message": ""}),
    "a result that is no block": lambda body: answer(jsonrpc="2.0", id=1, result=[1]),
}


@pytest.mark.parametrize("name", sorted(STRANGE))
async def test_what_is_no_answer_is_refused_and_another_node_asked(lab: Lab, name: str) -> None:
    strange, node = await lab.node(raw=STRANGE[name]), await lab.node()
    assert await refused(lab.adapter(strange)) == "OBSERVED_ANSWER_MALFORMED"
    assert (await lab.adapter(strange, node).header(1)).height == 1


@pytest.mark.parametrize("write", [http_answer, in_chunks])
async def test_a_body_is_not_read_beyond_its_bound(write: Callable[[bytes], bytes]) -> None:
    for size in (20, 21):
        stream = asyncio.StreamReader()
        stream.feed_data(write(b"1" * size))
        stream.feed_eof()
        if size == 20:
            assert await read_response(stream, bytes_max=20) == b"1" * size
        else:
            with pytest.raises(AnswerMalformedError, match="20"):
                await read_response(stream, bytes_max=20)


def test_an_answer_of_many_small_values_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rpc, "ANSWER_ITEMS_MAX", 100)
    many = b'{"id":1,"jsonrpc":"2.0","result":[' + b"[]," * 47 + b"[]]}"
    with pytest.raises(AnswerMalformedError, match="more than 100 values"):
        parse_answer(many.replace(b"[]]}", b"[],[]]}"), 1)
    assert parse_answer(many, 1) == [[]] * 48


@pytest.mark.parametrize("at", [0, 1, 20, 60, 200])
async def test_an_answer_that_is_cut_off_is_refused(lab: Lab, at: int) -> None:
    node = await lab.node(raw=lambda body: http_answer(body)[:at])
    assert await refused(lab.adapter(node)) == "OBSERVED_NODE_UNAVAILABLE"


async def test_an_error_of_the_node_is_told_with_its_number(lab: Lab) -> None:
    message = "The group\n does not exist!\x1b[2J" + "x" * 900
    told = {"code": -32005, "message": message}
    node = await lab.node(raw=lambda body: answer(jsonrpc="2.0", id=1, error=told))
    with pytest.raises(ServiceError) as caught:
        await lab.adapter(node).header(1)
    assert (caught.value.code, caught.value.fields["number"]) == ("OBSERVED_NODE_REFUSED", -32005)
    assert caught.value.fields["detail"] == shown(message)
    assert len(shown(message)) <= 200
    assert shown(message).isprintable()


async def test_a_recorded_chain_is_read_from_a_node_around_it(lab: Lab) -> None:
    """What a real node of version 3.3.0 answered (`tests/unit/fisco/recorded`), over HTTP."""
    chain = FiscoChain()
    chain.genesis = recorded("sm_genesis")
    chain.blocks = [{}, recorded("sm_block_2")]
    told = recorded("sm_status")
    states = {"getConsensusStatus": told["consensus"], "getSyncStatus": told["sync"]}
    served = await lab.node(chain, spoil=lambda method, result: states.get(method, result))
    sealers = parse_header(chain.blocks[1]).header.sealers
    trusted = TrustedFisco("chain0", "group0", chain.genesis_hash, 0, chain.genesis_hash, sealers)
    nodes = JsonRpcNodes([served.url], limits=QUICK)
    adapter = FiscoObserved(trusted, nodes, provider().verify)
    header = await adapter.header()
    assert (header.height, header.header_hash.hex()) == (2, chain.blocks[1]["hash"][2:])
    assert header.signers == tuple(each.node_id for each in sealers.sealers[:3])
    status = await adapter.status()
    assert (status.height, status.voters, status.is_catching_up) == (7, 4, False)
    assert status.header_hash.hex().startswith("ef49fef7")


# --- Nodes that lie -----------------------------------------------------------------------------


async def test_a_lie_is_refused_and_another_node_asked(lab: Lab) -> None:
    def lie(method: str, result: Any) -> Any:
        if method == "getBlockByNumber" and result["number"] == 1:
            return {**result, "stateRoot": hexed(b"\x01" * 32)}
        return result

    liar, node = await lab.node(spoil=lie), await lab.node()
    assert await refused(lab.adapter(liar)) == "HEADER_UNVERIFIED"
    assert (await lab.adapter(liar, node).header(1)).height == 1


async def test_another_height_than_the_one_asked_for_is_refused(lab: Lab) -> None:
    def other(method: str, result: Any) -> Any:
        return lab.chain.block(2) if result.get("number") == 1 else result

    with pytest.raises(ProofError, match="height 1 was asked for, 2 came"):
        await lab.adapter(await lab.node(spoil=other)).header(1)


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        (FiscoChain(chain_id="chain1"), "CHAIN_MISMATCH"),
        (FiscoChain(group_id="group1"), "CHAIN_MISMATCH"),
    ],
)
async def test_a_node_of_another_chain_or_group_is_refused(
    lab: Lab, chain: FiscoChain, code: str
) -> None:
    chain.add_block()
    assert await refused(lab.adapter(await lab.node(chain))) == code


async def test_a_chain_without_national_cryptography_is_refused_before_anything_is_read(
    lab: Lab,
) -> None:
    def plain(method: str, result: Any) -> Any:
        text = unhexed(result["extraData"]).replace(b"sm_crypto:1", b"sm_crypto:0")
        return {**result, "extraData": hexed(text)}

    node = await lab.node(spoil=plain)
    assert await refused(lab.adapter(node)) == "ALG_NOT_GM"
    assert node.asked.total() == 1


async def test_a_fork_is_told_at_once_and_nobody_else_is_asked(lab: Lab) -> None:
    """Another node's better answer must not hide it."""
    forked, honest = FiscoChain(), await lab.node()
    row = {**forked.add_block(), "stateRoot": hexed(b"\x05" * 32)}
    forked.blocks[0] = sign_header(row, [(index, f"n{index}") for index in range(3)])
    adapter = lab.adapter(await lab.node(forked), honest, at=1)
    with pytest.raises(ForkError) as caught:
        await adapter.header(1)
    assert caught.value.code == "CLIENT_FROZEN"
    assert not honest.asked


async def test_what_is_believed_moves_on_and_never_back(lab: Lab) -> None:
    adapter = lab.adapter(await lab.node())
    await adapter.header(3)
    await adapter.header(1)
    assert adapter.trusted == lab.chain.trusted(3)


async def test_another_transaction_than_the_one_asked_for_is_refused(lab: Lab) -> None:
    one, other = lab.chain.block(1)["transactions"][:2]

    def swapped(method: str, result: Any) -> Any:
        shelves = {
            "getTransaction": lab.chain.transactions,
            "getTransactionReceipt": lab.chain.receipts,
        }
        return shelves[method][other] if method in shelves else result

    adapter = lab.adapter(await lab.node(spoil=swapped))
    assert (await adapter.transaction(unhexed(other))).transaction_id == unhexed(other)
    with pytest.raises(ProofError, match="another one was answered"):
        await adapter.transaction(unhexed(one))


async def test_the_list_of_a_block_that_leaves_one_out_is_refused(lab: Lab) -> None:
    def shorter(method: str, result: Any) -> Any:
        return (
            {**result, "transactions": result["transactions"][1:]}
            if "transactions" in (result) and result["number"]
            else result
        )

    with pytest.raises(ProofError, match="not those under the root"):
        await lab.adapter(await lab.node(spoil=shorter)).transactions(1)


# --- TLS and addresses --------------------------------------------------------------------------


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate of its own, and a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "node.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_tls_is_spoken_with_the_context_that_is_given(lab: Lab, tmp_path: Path) -> None:
    server, client = contexts(tmp_path)
    node = await lab.node(tls=server)
    assert (await lab.adapter(node, tls=client).header(1)).height == 1
    stranger = ssl.create_default_context()
    assert await refused(lab.adapter(node, tls=stranger)) == "OBSERVED_NODE_UNAVAILABLE"
    with pytest.raises(ValueError, match="needs a TLS context"):
        lab.adapter(node)


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:20200", "ftp://a:1", "http://a", "http://a:1?b", "http://u@a:1"),
        *("http://a:99999", "http://a:1/\r\nX: y", "http://:1", "http://a b:1"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.parse(url)


def test_the_number_of_nodes_is_bounded() -> None:
    for count in (0, json_rpc.NODES_MAX + 1):
        with pytest.raises(ValueError, match="can be asked"):
            JsonRpcNodes(["http://127.0.0.1:1"] * count)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no-such-host.invalid"])
async def test_a_name_that_nobody_resolves_is_told_as_such(lab: Lab, host: str) -> None:
    nodes = JsonRpcNodes([f"http://{host}:1"], limits=QUICK)
    assert await refused(FiscoObserved(lab.chain.trusted(), nodes, provider().verify)) == (
        "OBSERVED_NODE_UNAVAILABLE"
    )


async def test_nobody_at_the_address_is_told_as_such(lab: Lab) -> None:
    node = await lab.node()
    adapter = lab.adapter(node)
    await node.stop()
    with pytest.raises(NodeUnavailableError):
        await adapter.header()
