"""The server denies by default, keeps its limits, records every call and tells errors without
telling secrets.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from guqiao_sdk.channel import open_channel
from services.chassis.errors import ServiceError, UnavailableError
from services.chassis.grpc_server import (
    NonLoopbackAddressError,
    Policy,
    PolicyIncompleteError,
    ServerLimits,
    StreamItems,
    build_server,
)
from services.chassis.grpc_server.ports import Decision
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry import open_telemetry
from tests.integration.chassis.kit import (
    DID,
    DOMAIN,
    KEY_ID,
    NAME,
    ORGANISATION,
    POLICIES,
    SERVICE,
    Keys,
    Nonces,
    TestService,
    World,
    code_of,
    key_record,
    path,
    raw_channel,
    send,
    serving,
    signed,
    status_of,
)

ECHO = path("Echo")


async def call(world: World, method: str, message: bytes = b"body", **options: Any) -> bytes:
    return await send(world.target, method, message, signed(world, method, message), **options)


async def refused(world: World, method: str, message: bytes = b"body") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(world, method, message)
    return caught.value


def unstarted(policies: dict[str, Policy], handlers: dict[str, Any] | None = None) -> Any:
    telemetry = open_telemetry(TelemetrySettings(), domain=DOMAIN, service=SERVICE)
    server = build_server(
        domain=DOMAIN,
        service=SERVICE,
        policies=policies,
        keys=Keys(),
        nonces=Nonces(),
        verifier=_NoVerifier(),
        telemetry=telemetry,
    )
    server.add_registered_method_handlers(NAME, handlers or TestService().handlers())
    return server


class _NoVerifier:
    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return False


@pytest.mark.req("G2-17-3")
async def test_a_method_without_a_policy_row_keeps_the_server_from_starting() -> None:
    policies = {method: row for method, row in POLICIES.items() if method != ECHO}
    with pytest.raises(PolicyIncompleteError) as caught:
        await unstarted(policies).start()
    assert caught.value.problems == (f"{ECHO} has no policy row",)


async def test_a_policy_row_without_a_method_keeps_the_server_from_starting() -> None:
    with pytest.raises(PolicyIncompleteError, match=r"/x\.v1\.X/Gone names no method"):
        await unstarted({**POLICIES, "/x.v1.X/Gone": Policy.of("auditor")}).start()


async def test_a_client_stream_that_does_not_say_how_its_items_are_signed_is_refused() -> None:
    policies = {**POLICIES, path("Gather"): Policy.of("operator_maker")}
    with pytest.raises(PolicyIncompleteError, match="its row must say stream_items"):
        await unstarted(policies).start()
    policies = {**POLICIES, ECHO: Policy.of("operator_maker", stream_items=StreamItems.SIGNED)}
    with pytest.raises(PolicyIncompleteError, match="its row must not say stream_items"):
        await unstarted(policies).start()


async def test_all_problems_of_the_policy_table_are_named_at_once() -> None:
    with pytest.raises(PolicyIncompleteError) as caught:
        await unstarted({}).start()
    assert len(caught.value.problems) == len(POLICIES)


@pytest.mark.req("G2-17-2")
@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "localhost:0", "example.org:50051", ":0", "*:0"],
)
async def test_plain_grpc_does_not_listen_where_other_machines_reach_it(address: str) -> None:
    with pytest.raises(NonLoopbackAddressError):
        unstarted(POLICIES).add_insecure_port(address)


async def test_plain_grpc_listens_on_a_unix_socket(tmp_path: Path) -> None:
    async with serving() as world:
        world.server.add_insecure_port(f"unix:{tmp_path}/s")


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as caught:
            unstarted(POLICIES).add_insecure_port(f"127.0.0.1:{port}")
    assert caught.value.code == "PORT_IN_USE"
    assert caught.value.fields["port"] == str(port)


@pytest.mark.req("G2-17-3")
async def test_a_caller_without_the_role_is_refused() -> None:
    async with serving() as world:
        error = await refused(world, path("Restricted"))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert code_of(error) == "ROLE_MISSING"


@pytest.mark.req("G2-17-3")
async def test_every_role_reaches_exactly_the_methods_of_its_rows() -> None:
    """The whole matrix of roles and methods, one call each."""
    roles = ["operator_maker", "csrc_tech", "auditor"]
    async with serving() as world:
        for role in roles:
            world.keys.records[DID, KEY_ID] = key_record(world.private, roles=frozenset({role}))
            for method in (ECHO, path("Restricted")):
                if role in POLICIES[method].roles:
                    assert (await call(world, method)).endswith(b"body")
                else:
                    assert code_of(await refused(world, method)) == "ROLE_MISSING"


async def test_an_unknown_method_is_refused_and_recorded() -> None:
    async with serving() as world:
        error = await refused(world, path("DropAll"))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert code_of(error) == "METHOD_UNKNOWN"
        assert [record.code for record in world.audit.records] == ["METHOD_UNKNOWN"]
        assert b"DropAll" not in world.telemetry.metrics.render()


@pytest.mark.req("G2-16-1")
async def test_a_message_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    async with serving(limits=ServerLimits(message_bytes_max=10_000)) as world:
        assert await call(world, path("Fit"), b"x" * 10_000) == b"10000"
        error = await refused(world, path("Fit"), b"x" * 10_001)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(error) == "REQUEST_TOO_LARGE"


@pytest.mark.req("G2-16-1")
async def test_no_message_of_a_stream_is_above_the_methods_limit() -> None:
    """The transport's own limit leaves room for envelopes: the method's is kept beside it."""
    async with serving(limits=ServerLimits(message_bytes_max=10_000)) as world:
        method = path("Gather")
        async with raw_channel(world.target) as channel:
            gather = channel.stream_unary(method)
            whole = gather(iter([b"x" * 10_000]), metadata=signed(world, method, b""))
            assert len(await whole) == 10_000
            items = iter([b"x", b"x" * 10_001])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await gather(items, metadata=signed(world, method, b""))
            assert code_of(caught.value) == "REQUEST_TOO_LARGE"


async def test_a_message_far_above_the_limit_is_cut_by_the_transport() -> None:
    async with serving(limits=ServerLimits(message_bytes_max=10_000)) as world:
        error = await refused(world, ECHO, b"x" * 1_000_000)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_above_the_limit_is_refused() -> None:
    async with serving(limits=ServerLimits(metadata_bytes_max=4_096)) as world:
        metadata = (*signed(world, ECHO, b"body"), ("padding", "x" * 8_192))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(world.target, ECHO, b"body", metadata)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_more_calls_at_once_than_allowed_are_refused() -> None:
    async with serving(limits=ServerLimits(concurrent_rpcs_max=1)) as world:
        hanging = asyncio.create_task(call(world, path("Hang")))
        await asyncio.wait_for(world.service.entered.wait(), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(world, ECHO)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        hanging.cancel()


async def test_one_busy_identity_is_slowed_down_and_told_when_to_come_back() -> None:
    async with serving(limits=ServerLimits(rate_per_second=0.001, rate_burst=2)) as world:
        await call(world, ECHO)
        await call(world, ECHO)
        error = await refused(world, ECHO)
        assert code_of(error) == "RATE_LIMITED"
        names = [detail.TypeName() for detail in status_of(error).details]
        assert "google.rpc.RetryInfo" in names
        world.keys.records["did:rem:shandong:SD000002", KEY_ID] = key_record(world.private)
        other = signed(world, ECHO, b"body", did="did:rem:shandong:SD000002")
        assert (await send(world.target, ECHO, b"body", other)).endswith(b"body")


async def test_the_server_imposes_a_deadline_when_the_client_gives_none() -> None:
    async with serving(limits=ServerLimits(deadline_default_seconds=0.05)) as world:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(world, path("Hang"), timeout=None)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert code_of(caught.value) == "OUTCOME_UNKNOWN"
        await asyncio.wait_for(world.service.left.wait(), 10)


async def test_a_deadline_longer_than_allowed_is_cut() -> None:
    async with serving(limits=ServerLimits(deadline_max_seconds=0.05)) as world:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(world, path("Hang"), timeout=60)
        assert code_of(caught.value) == "OUTCOME_UNKNOWN"


async def test_cancelling_a_call_ends_its_handler() -> None:
    async with serving() as world:
        running = asyncio.create_task(call(world, path("Hang")))
        await asyncio.wait_for(world.service.entered.wait(), 10)
        running.cancel()
        await asyncio.wait_for(world.service.left.wait(), 10)


async def test_an_idle_client_stream_is_closed() -> None:
    async with serving(limits=ServerLimits(stream_idle_seconds=0.05)) as world:
        method = path("Gather")
        async with raw_channel(world.target) as channel:
            stream = channel.stream_unary(method)(metadata=signed(world, method, b""))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream
            assert code_of(caught.value) == "STREAM_IDLE"


async def test_a_server_stream_is_sent_in_order() -> None:
    async with serving() as world:
        channel: Any = open_channel(world.target, world.signer())
        async with channel:
            numbers = [item async for item in channel.unary_stream(path("Count"))(b"3")]
            assert numbers == [b"0", b"1", b"2"]


@pytest.mark.req("G2-09-6")
@pytest.mark.parametrize(
    ("change", "code"),
    [({"revoked": True}, "KEY_REVOKED"), ({"roles": frozenset({"observer"})}, "ROLE_MISSING")],
)
async def test_an_open_stream_is_cut_when_its_caller_may_no_longer_call_even_while_it_is_idle(
    change: dict[str, Any], code: str
) -> None:
    async with serving(limits=ServerLimits(key_recheck_seconds=0.01)) as world:
        method = path("Gather")
        async with raw_channel(world.target) as channel:
            stream = channel.stream_unary(method)(metadata=signed(world, method, b""))
            await stream.write(b"first")
            await _until(lambda: bool(world.audit.records))
            world.keys.records[DID, KEY_ID] = key_record(world.private, **change)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream
            assert code_of(caught.value) == code


async def test_an_open_stream_of_a_good_key_outlives_many_looks_at_it() -> None:
    async with serving(limits=ServerLimits(key_recheck_seconds=0.001)) as world:
        looks = 0
        find = world.keys.find

        async def counted(did: str, key_id: str) -> Any:
            nonlocal looks
            looks += 1
            return await find(did, key_id)

        world.keys.find = counted  # type: ignore[method-assign]
        method = path("Gather")
        async with raw_channel(world.target) as channel:
            stream = channel.stream_unary(method)(metadata=signed(world, method, b""))
            await stream.write(b"a")
            await _until(lambda: looks > 5)
            await stream.write(b"b")
            await stream.done_writing()
            assert await stream == b"a,b"


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0)


@pytest.mark.req("G2-01-1")
async def test_an_error_carries_its_rule_basis_texts_and_help() -> None:
    async with serving() as world:
        error = await refused(world, path("Fail"), b"ab12")
        assert error.code() is grpc.StatusCode.NOT_FOUND
        details = {detail.TypeName(): detail for detail in status_of(error).details}
        info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"].value)
        assert (info.reason, info.domain) == ("TRANSACTION_UNKNOWN", "guqiao")
        assert info.metadata["transaction_id"] == "ab12"
        assert info.metadata["rule_id"] == "G2-20-2"
        assert "第二十条" in info.metadata["article"]
        assert "征求意见稿" in info.metadata["basis"]
        texts = [
            error_details_pb2.LocalizedMessage.FromString(detail.value)
            for detail in status_of(error).details
            if detail.TypeName() == "google.rpc.LocalizedMessage"
        ]
        assert [text.locale for text in texts] == ["zh-CN", "en"]
        assert "没有此交易" in texts[0].message
        help_ = error_details_pb2.Help.FromString(details["google.rpc.Help"].value)
        assert help_.links[0].url == "docs/errors.md#transaction_unknown"
        request = error_details_pb2.RequestInfo.FromString(details["google.rpc.RequestInfo"].value)
        assert len(request.request_id) == 32


async def test_a_response_that_cannot_be_serialized_tells_nothing_either() -> None:
    async with serving() as world:
        error = await refused(world, path("Unserializable"))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert code_of(error) == "INTERNAL"
        assert "canary" not in repr(error)


async def test_a_handler_may_write_its_stream_itself() -> None:
    async with serving() as world:
        channel: Any = open_channel(world.target, world.signer())
        async with channel:
            numbers = [item async for item in channel.unary_stream(path("Write"))(b"3")]
            assert numbers == [b"0", b"1", b"2"]


async def test_a_bug_in_a_handler_tells_the_caller_nothing_but_a_trace_id() -> None:
    async with serving() as world:
        with structlog.testing.capture_logs() as logs:
            error = await refused(world, path("Bug"))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert code_of(error) == "INTERNAL"
        told = status_of(error).SerializeToString() + repr(error).encode()
        for inner in (b"SELECT", b"accounts", b"canary", b"KeyError", b"Traceback"):
            assert inner not in told
        failure = next(entry for entry in logs if entry["event"] == "rpc.failed")
        assert "canary" in repr(failure["exc_info"])
        assert failure["trace_id"].encode() in told


@pytest.mark.req("G2-19-2")
async def test_every_call_is_on_record_allowed_or_refused_and_with_the_code_it_ended_with() -> None:
    async with serving() as world:
        await call(world, ECHO)
        await refused(world, path("Restricted"))
        await refused(world, path("Fail"))
        allowed, denied, failing, failed = world.audit.records
        assert (allowed.decision, allowed.code, allowed.method) == (Decision.ALLOWED, "", ECHO)
        who = allowed.did, allowed.organisation, allowed.roles, len(allowed.request_digest)
        assert who == (DID, ORGANISATION, ("operator_maker",), 64)
        assert (denied.decision, denied.code) == (Decision.REFUSED, "ROLE_MISSING")
        assert (failed.decision, failed.code) == (Decision.ENDED, "TRANSACTION_UNKNOWN")
        let_in = replace(failed, decision=Decision.ALLOWED, code="", time_ms=failing.time_ms)
        assert failing == let_in, "the same call, by the same caller"


@pytest.mark.req("G2-19-2")
async def test_without_an_audit_record_no_call_is_let_through() -> None:
    async with serving() as world:
        world.audit.broken = True
        assert code_of(await refused(world, ECHO)) == "AUDIT_UNAVAILABLE"
        assert code_of(await refused(world, path("Restricted"))) == "ROLE_MISSING"


async def test_an_unavailable_key_directory_is_an_error_that_may_be_retried() -> None:
    async with serving() as world:

        class Away:
            async def find(self, did: str, key_id: str) -> None:
                raise UnavailableError("DATABASE_UNAVAILABLE")

        world.keys.find = Away().find  # type: ignore[method-assign]
        error = await refused(world, ECHO)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert code_of(error) == "DATABASE_UNAVAILABLE"


@pytest.mark.parametrize("development", [True, False])
async def test_reflection_and_unsigned_health_exist_in_development_only(development: bool) -> None:
    reflect = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    async with serving(development=development) as world, raw_channel(world.target) as channel:
        answers = channel.stream_stream(reflect)(iter([question]))
        if development:
            [raw] = [item async for item in answers]
            listed = reflection_pb2.ServerReflectionResponse.FromString(raw)
            names = [entry.name for entry in listed.list_services_response.service]
            assert NAME in names
            answer = await send(world.target, "/grpc.health.v1.Health/Check", b"")
            serving_now = health_pb2.HealthCheckResponse.SERVING
            assert health_pb2.HealthCheckResponse.FromString(answer).status == serving_now
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [item async for item in answers]
            assert code_of(caught.value) == "METHOD_UNKNOWN"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(world.target, "/grpc.health.v1.Health/Check", b"")
            assert code_of(caught.value) == "REQUEST_UNSIGNED"


async def test_health_answers_any_registered_key_and_follows_what_the_service_says() -> None:
    method = "/grpc.health.v1.Health/Check"
    async with serving() as world:
        answer = health_pb2.HealthCheckResponse.FromString(await call(world, method, b""))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await world.server.set_serving("", serving=False)
        answer = health_pb2.HealthCheckResponse.FromString(await call(world, method, b""))
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_stopping_lets_running_calls_finish() -> None:
    async with serving() as world:
        channel: Any = open_channel(world.target, world.signer())
        async with channel:
            stream = channel.stream_unary(path("Gather"))
            release = asyncio.Event()

            async def items() -> Any:
                yield b"a"
                await release.wait()
                yield b"b"

            running = asyncio.ensure_future(stream(items()))
            await _until(lambda: bool(world.audit.records))
            stopping = asyncio.create_task(world.server.stop(30))
            release.set()
            assert await asyncio.wait_for(running, 10) == b"a,b"
            await asyncio.wait_for(stopping, 10)


async def test_calls_are_measured_by_method_and_code() -> None:
    async with serving() as world:
        await call(world, ECHO)
        await refused(world, path("Fail"))
        name = "guqiao_rpc_server_duration_seconds_count"
        wanted = [
            f'{name}{{code="OK",method="{ECHO}"}} 1.0',
            f'{name}{{code="NOT_FOUND",method="{path("Fail")}"}} 1.0',
        ]

        def measured() -> bool:  # The caller may have its answer before it is counted.
            text = world.telemetry.metrics.render().decode()
            return all(line in text for line in wanted)

        await _until(measured)


def test_the_limits_reach_the_transport() -> None:
    limits = ServerLimits(
        message_bytes_max=1_000, metadata_bytes_max=2_000, streams_per_connection_max=3
    )
    options = dict(limits.channel_options())
    assert options["grpc.max_concurrent_streams"] == 3
    assert options["grpc.max_metadata_size"] == 2_000
    assert options["grpc.max_send_message_length"] == 1_000
    assert options["grpc.max_receive_message_length"] >= 1_000
    assert options["grpc.http2.bdp_probe"] == 0
    assert options["grpc.http2.lookahead_bytes"] == 64 * 1024
    longer = ServerLimits(message_bytes_max=1_000, answer_bytes_max=9_000_000)
    options = dict(longer.channel_options())
    assert options["grpc.max_send_message_length"] == 9_000_000
    assert options["grpc.max_receive_message_length"] < 9_000_000
