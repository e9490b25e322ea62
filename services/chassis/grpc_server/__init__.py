"""The gRPC server of every service: deny by default, SM2-signed requests, stated limits, rich
errors.

A service's `app.py` calls `build_server`, registers its generated servicers on the result, binds
it to loopback and starts it. Handlers read `caller()` and raise `ServiceError`; they never abort a
call themselves.
"""

from services.chassis.grpc_server.grpc_errors import error_of_code, to_rpc_status
from services.chassis.grpc_server.identity import Caller, caller
from services.chassis.grpc_server.limits import ServerLimits
from services.chassis.grpc_server.policy import (
    ANY_ROLE,
    Policy,
    PolicyIncompleteError,
    StreamItems,
)
from services.chassis.grpc_server.refusals import RpcRefusals
from services.chassis.grpc_server.server import GrpcServer, NonLoopbackAddressError, build_server

__all__ = [
    "ANY_ROLE",
    "Caller",
    "GrpcServer",
    "NonLoopbackAddressError",
    "Policy",
    "PolicyIncompleteError",
    "RpcRefusals",
    "ServerLimits",
    "StreamItems",
    "build_server",
    "caller",
    "error_of_code",
    "to_rpc_status",
]
