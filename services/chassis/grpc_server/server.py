"""A grpc.aio server that denies by default.

It takes services as generated code registers them, wraps every method in the guard, and refuses to
start unless each has its policy row. Plain gRPC binds to loopback or a Unix socket only: other
machines come in through the GM tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from guqiao_sdk.signing import Audience, system_time_ms
from services.chassis.errors import FailedPreconditionError
from services.chassis.grpc_server.audit import LogAudit
from services.chassis.grpc_server.bytes_held import BytesHeld
from services.chassis.grpc_server.guard import Guard
from services.chassis.grpc_server.limits import ServerLimits
from services.chassis.grpc_server.open_calls import OpenCalls
from services.chassis.grpc_server.policy import ANY_ROLE, Policy, check_policies
from services.chassis.grpc_server.ports import (
    AuditSink,
    KeyDirectory,
    NonceStore,
    PeerLookup,
    Verifier,
)
from services.chassis.grpc_server.rate import RateLimiter
from services.chassis.grpc_server.refusals import RpcRefusals
from services.chassis.grpc_server.request_signature import SignatureVerifier
from services.chassis.grpc_server.wrapping import Handler, Wrapper
from services.chassis.telemetry import Telemetry

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
REFLECTION_SERVICE: Final = "grpc.reflection.v1alpha.ServerReflection"
_OPEN_SERVICES: Final = (HEALTH_SERVICE, REFLECTION_SERVICE)


class NonLoopbackAddressError(ValueError):
    """Plain gRPC on an address that other machines can reach."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"plain gRPC may not listen on {address}: bind 127.0.0.1, ::1 or a Unix socket, "
            "and let other machines in through the GM tunnel"
        )
        self.address = address


def build_server(
    *,
    domain: str,
    service: str,
    policies: Mapping[str, Policy],
    keys: KeyDirectory,
    nonces: NonceStore,
    verifier: Verifier,
    telemetry: Telemetry,
    audit: AuditSink | None = None,
    peers: PeerLookup | None = None,
    limits: ServerLimits | None = None,
    development: bool = False,
    now_ms: Callable[[], int] = system_time_ms,
) -> GrpcServer:
    """A server for the audience (domain, service). Register services on it, bind it, start it."""
    limits = limits if limits is not None else ServerLimits()
    guard = Guard(
        verifier=SignatureVerifier(Audience(domain, service), keys, nonces, verifier),
        audit=audit if audit is not None else LogAudit(),
        peers=peers,
        limiter=RateLimiter(rate_per_second=limits.rate_per_second, burst=limits.rate_burst),
        limits=limits,
        open_calls=OpenCalls(limits),
        bytes_held=BytesHeld(limits),
        now_ms=now_ms,
    )
    duration = telemetry.metrics.histogram(
        "guqiao_rpc_server_duration_seconds", "Time to answer a call", ("method", "code")
    )
    return GrpcServer(
        Wrapper(guard, telemetry.tracer, duration, RpcRefusals(telemetry.metrics)),
        policies,
        limits,
        development=development,
    )


class GrpcServer(grpc.aio.Server):
    """The server that `build_server` gives; generated `add_XServicer_to_server` functions take it
    as any other.
    """

    def __init__(
        self,
        wrapper: Wrapper,
        policies: Mapping[str, Policy],
        limits: ServerLimits,
        *,
        development: bool,
    ) -> None:
        self._wrapper = wrapper
        self._policies = dict(policies)
        self._development = development
        self._services: dict[str, Mapping[str, Handler]] = {}
        self._announced: set[str] = set()
        self._server = grpc.aio.server(
            options=limits.channel_options(), maximum_concurrent_rpcs=limits.concurrent_rpcs_max
        )
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(  # type: ignore[no-untyped-call]
            self._health, self
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Take a service's methods. They are wrapped when the server starts."""
        assert service_name not in self._services, f"{service_name} is registered twice"
        self._services[service_name] = method_handlers

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Take the announcement of a service, whose methods generated code registers by name."""
        for handler in generic_rpc_handlers:
            assert isinstance(handler, grpc.ServiceRpcHandler), "methods are registered by name"
            self._announced.add(handler.service_name())

    def add_insecure_port(self, address: str) -> int:
        """Bind `127.0.0.1:port`, `[::1]:port` or `unix:path`; returns the port. Another address is
        refused.
        """
        if not _is_local(address):
            raise NonLoopbackAddressError(address)
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            port = address.rpartition(":")[2]
            raise FailedPreconditionError("PORT_IN_USE", port=port, address=address) from error

    def add_secure_port(self, address: str, server_credentials: object) -> int:
        """Not offered: gRPC knows no SM cipher suites, the GM tunnel does this work."""
        raise NonLoopbackAddressError(address)

    async def start(self) -> None:
        """Check that every method has its policy row, then serve."""
        if self._development:
            self._add_reflection()
        missing = self._announced - self._services.keys()
        assert not missing, f"generated code did not register the methods of {sorted(missing)}"
        table = self._policy_table()
        methods = {
            f"/{name}/{method}": handler
            for name, handlers in self._services.items()
            for method, handler in handlers.items()
        }
        check_policies(methods, table)
        wrapped = {
            method: self._wrapper.wrap(method, handler, table[method])
            for method, handler in methods.items()
        }
        self._server.add_generic_rpc_handlers((_Router(wrapped, self._wrapper),))
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Say NOT_SERVING, take no new calls, let running ones finish within `grace` seconds, then
        cancel them.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc's own signature
        """Wait until the server has stopped."""
        return await self._server.wait_for_termination(timeout)

    async def set_serving(self, service: str, *, serving: bool) -> None:
        """What the gRPC health service answers for `service` ("" for the whole server)."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    def _policy_table(self) -> dict[str, Policy | None]:
        """The rows of the services, and our own: health and reflection, open in development, else
        any known key.
        """
        own: Policy | None = None if self._development else Policy(ANY_ROLE)
        table: dict[str, Policy | None] = dict(self._policies)
        for service in _OPEN_SERVICES:
            for method in self._services.get(service, ()):
                table[f"/{service}/{method}"] = own
        return table

    def _add_reflection(self) -> None:
        from grpc_reflection.v1alpha import reflection  # Development only, so loaded only then.

        names = [*self._services, REFLECTION_SERVICE]
        reflection.enable_server_reflection(names, self)  # type: ignore[no-untyped-call]


class _Router(grpc.GenericRpcHandler):
    """Finds the wrapped handler of a method, or the one that says METHOD_UNKNOWN."""

    def __init__(self, wrapped: Mapping[str, Handler], wrapper: Wrapper) -> None:
        self._wrapped = wrapped
        self._wrapper = wrapper

    def service(self, handler_call_details: Any) -> Handler:
        """Called by gRPC for each call."""
        method: str = handler_call_details.method
        return self._wrapped.get(method) or self._wrapper.unknown(method)


def _is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # A name may resolve to anything.
