"""Requests that are not exactly what a registered key signed, for this audience, now and once, are
refused.
"""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from guqiao_sdk.channel import open_channel
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.signing import NONCE_KEY, SIGNATURE_KEY, TIME_KEY, RequestStamp, system_time_ms
from services.chassis.grpc_server.nonces_file import FileNonceStore
from tests.integration.chassis.kit import (
    DID,
    KEY_ID,
    SIGNED_STREAMS,
    World,
    code_of,
    key_record,
    path,
    raw_channel,
    send,
    serving,
    signed,
)

ECHO = path("Echo")


async def refusal(world: World, metadata: Any, message: bytes = b"body", method: str = ECHO) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(world.target, method, message, metadata)
    return code_of(caught.value)


@pytest.mark.req("G2-16-1")
async def test_a_signed_request_reaches_the_handler_with_its_caller() -> None:
    async with serving() as world:
        answer = await send(world.target, ECHO, b"body", signed(world, ECHO, b"body"))
        assert answer == f"{DID}:".encode() + b"body"


@pytest.mark.req("G2-16-1")
async def test_an_unsigned_request_is_refused() -> None:
    async with serving() as world:
        assert await refusal(world, ()) == "REQUEST_UNSIGNED"
        assert world.audit.records[-1].code == "REQUEST_UNSIGNED"


@pytest.mark.parametrize("missing", range(5))
async def test_a_request_that_lacks_one_field_of_the_signature_is_refused(missing: int) -> None:
    async with serving() as world:
        metadata = list(signed(world, ECHO, b"body"))
        del metadata[missing]
        assert await refusal(world, tuple(metadata)) == "REQUEST_UNSIGNED"


@pytest.mark.parametrize("doubled", range(5))
async def test_a_field_given_twice_is_refused(doubled: int) -> None:
    async with serving() as world:
        metadata = list(signed(world, ECHO, b"body"))
        metadata.append(metadata[doubled])
        assert await refusal(world, tuple(metadata)) == "REQUEST_UNSIGNED"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (NONCE_KEY, "F" * 32),
        (NONCE_KEY, "0" * 30),
        (TIME_KEY, "-1"),
        (TIME_KEY, "1e12"),
        (TIME_KEY, "9" * 40),
        (SIGNATURE_KEY, b"\x01" * 63),
        (SIGNATURE_KEY, b"\x01" * 65),
    ],
)
async def test_a_malformed_field_is_refused(key: str, value: str | bytes) -> None:
    async with serving() as world:
        metadata = dict(signed(world, ECHO, b"body"))
        metadata[key] = value
        assert await refusal(world, tuple(metadata.items())) == "REQUEST_UNSIGNED"


@pytest.mark.req("G2-16-1")
async def test_an_altered_body_is_refused() -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body")
        assert await refusal(world, metadata, b"bodY") == "REQUEST_SIGNATURE_INVALID"


@pytest.mark.req("G2-16-1")
async def test_a_signature_for_another_method_is_refused() -> None:
    async with serving() as world:
        metadata = signed(world, path("Fail"), b"body")
        assert await refusal(world, metadata) == "REQUEST_SIGNATURE_INVALID"


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("audience", [{"domain": "csrc"}, {"service": "reporting"}])
async def test_a_signature_for_another_audience_is_refused(audience: dict[str, str]) -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body", **audience)
        assert await refusal(world, metadata) == "REQUEST_SIGNATURE_INVALID"


@pytest.mark.parametrize("field", ["guqiao-did", "guqiao-key-id", "guqiao-time-ms", "guqiao-nonce"])
async def test_every_field_is_covered_by_the_signature(field: str) -> None:
    async with serving() as world:
        other = world.provider.keygen()
        world.keys.records["did:rem:shandong:SD000002", KEY_ID] = key_record(world.private)
        world.keys.records[DID, "sign-2"] = key_record(world.private)
        assert other.public_key != world.private.public_key
        metadata = dict(signed(world, ECHO, b"body"))
        metadata[field] = {
            "guqiao-did": "did:rem:shandong:SD000002",
            "guqiao-key-id": "sign-2",
            "guqiao-time-ms": str(int(metadata[TIME_KEY]) + 1),
            "guqiao-nonce": secrets.token_hex(16),
        }[field]
        assert await refusal(world, tuple(metadata.items())) == "REQUEST_SIGNATURE_INVALID"


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("offset_ms", [-300_001, 300_001])
async def test_a_request_outside_the_time_window_is_refused(offset_ms: int) -> None:
    now = system_time_ms()
    async with serving(now_ms=lambda: now) as world:
        metadata = signed(world, ECHO, b"body", now_ms=lambda: now + offset_ms)
        assert await refusal(world, metadata) == "REQUEST_EXPIRED"


@pytest.mark.parametrize("offset_ms", [-300_000, 300_000])
async def test_a_request_at_the_edge_of_the_time_window_is_taken(offset_ms: int) -> None:
    now = system_time_ms()
    async with serving(now_ms=lambda: now) as world:
        metadata = signed(world, ECHO, b"body", now_ms=lambda: now + offset_ms)
        assert (await send(world.target, ECHO, b"body", metadata)).endswith(b"body")


@pytest.mark.req("G2-16-1")
async def test_a_replayed_request_is_refused() -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body")
        await send(world.target, ECHO, b"body", metadata)
        assert await refusal(world, metadata) == "REQUEST_REPLAYED"


@pytest.mark.req("G2-16-1")
async def test_a_replay_is_refused_after_a_restart(tmp_path: Path) -> None:
    with FileNonceStore(tmp_path / "nonces") as nonces:
        async with serving(nonces=nonces) as world:
            metadata = signed(world, ECHO, b"body")
            await send(world.target, ECHO, b"body", metadata)
            keys = (world.provider, world.private)
    with FileNonceStore(tmp_path / "nonces") as nonces:
        async with serving(nonces=nonces, world_keys=keys) as world:
            assert await refusal(world, metadata) == "REQUEST_REPLAYED"


async def test_a_refused_signature_does_not_use_up_the_nonce() -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body")
        assert await refusal(world, metadata, b"other") == "REQUEST_SIGNATURE_INVALID"
        assert (await send(world.target, ECHO, b"body", metadata)).endswith(b"body")


@pytest.mark.req("G2-16-1")
async def test_an_unknown_key_is_refused() -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body", key_id="sign-9")
        assert await refusal(world, metadata) == "KEY_UNKNOWN"


@pytest.mark.req("G2-16-1", "G2-09-6")
async def test_a_revoked_key_is_refused() -> None:
    async with serving() as world:
        world.keys.records[DID, KEY_ID] = key_record(world.private, revoked=True)
        assert await refusal(world, signed(world, ECHO, b"body")) == "KEY_REVOKED"


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "taken"),
    [(0, 1, True), (1, 2, False), (-1, 0, False), (-1, 1, True)],
)
async def test_a_key_is_taken_only_within_its_validity(
    before_ms: int, after_ms: int, taken: bool
) -> None:
    now = system_time_ms()
    async with serving(now_ms=lambda: now) as world:
        world.keys.records[DID, KEY_ID] = key_record(
            world.private, not_before_ms=now + before_ms, not_after_ms=now + after_ms
        )
        metadata = signed(world, ECHO, b"body", now_ms=lambda: now)
        if taken:
            assert (await send(world.target, ECHO, b"body", metadata)).endswith(b"body")
        else:
            assert await refusal(world, metadata) == "KEY_EXPIRED"


async def test_a_key_of_somebody_else_is_refused() -> None:
    async with serving() as world:
        metadata = signed(world, ECHO, b"body", private=world.provider.keygen())
        assert await refusal(world, metadata) == "REQUEST_SIGNATURE_INVALID"


async def test_a_message_is_parsed_only_after_its_signature_held() -> None:
    async with serving() as world:
        method = path("EchoText")
        assert await refusal(world, (), b"\xff", method) == "REQUEST_UNSIGNED"
        metadata = signed(world, method, b"\xff")
        assert await refusal(world, metadata, b"\xff", method) == "REQUEST_MALFORMED"


async def test_a_stream_of_transactions_needs_a_signed_opening() -> None:
    async with serving() as world:
        signing: Any = open_channel(world.target, world.signer())
        async with signing as channel:
            answer = await channel.stream_unary(path("Gather"))(iter([b"a", b"b"]))
            assert answer == b"a,b"
        unsigned: Any = open_channel(world.target, None)
        async with unsigned as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_unary(path("Gather"))(iter([b"a"]))
            assert code_of(caught.value) == "REQUEST_UNSIGNED"


async def test_a_signed_stream_carries_every_item_under_its_own_signature() -> None:
    async with serving() as world:
        streams = SIGNED_STREAMS
        signing: Any = open_channel(world.target, world.signer(), signed_streams=streams)
        async with signing as channel:
            answer = await channel.stream_unary(path("GatherSigned"))(iter([b"a", b"b"]))
            assert answer == b"a,b"
            mirrored = channel.stream_stream(path("Mirror"))(iter([b"ab", b"cd"]))
            assert [item async for item in mirrored] == [b"ba", b"dc"]


class Watched:
    """A provider that notes in which threads it verifies."""

    def __init__(self) -> None:
        self._provider = open_provider()
        self.threads: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.threads.append(threading.get_ident())
        return self._provider.verify(public_key, message, signature)


async def test_signatures_of_requests_and_items_are_verified_beside_the_loop() -> None:
    provider: Any = Watched()
    async with serving(world_keys=(provider, provider.keygen())) as world:
        signing: Any = open_channel(world.target, world.signer(), signed_streams=SIGNED_STREAMS)
        async with signing as channel:
            assert await channel.stream_unary(path("GatherSigned"))(iter([b"a", b"b"])) == b"a,b"
    assert len(provider.threads) == 3
    assert threading.get_ident() not in provider.threads


@pytest.mark.parametrize(
    "fault", ["altered", "dropped", "repeated", "swapped", "short", "other_stream"]
)
async def test_a_signed_stream_that_is_tampered_with_is_refused(fault: str) -> None:
    async with serving() as world:
        signer, method = world.signer(), path("GatherSigned")
        stamp = signer.stamp()
        first, second = (
            signer.seal_item(method, message, stamp, counter)
            for counter, message in enumerate([b"one", b"two"], start=1)
        )
        other_stamp = RequestStamp(stamp.did, stamp.key_id, stamp.time_ms, secrets.token_hex(16))
        foreign = signer.seal_item(method, b"one", other_stamp, 1)
        items = {
            "altered": [first, second[:-1] + b"x"],
            "dropped": [second],
            "repeated": [first, first],
            "swapped": [second, first],
            "short": [first[:71]],
            "other_stream": [foreign],
        }[fault]
        metadata = signer.metadata(method, b"", stamp)
        async with raw_channel(world.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_unary(method)(iter(items), metadata=metadata)
        assert code_of(caught.value) == "STREAM_ITEM_INVALID"
