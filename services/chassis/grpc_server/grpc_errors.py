"""Turns an error into `google.rpc.Status`, once, for whole calls and for single items of a stream
alike.

The details follow the error contract: ErrorInfo (code, rule, article, basis, facts),
LocalizedMessage in zh-CN and en, BadRequest for fields, RetryInfo where a retry may help, Help
with the place in docs/errors.md, RequestInfo with the trace id. What a chain answered through our
client keeps its code; a database that is away is said to be so. Anything else that is not a
`ServiceError` is a bug of ours: the caller learns INTERNAL and the trace id, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import asyncpg
import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from guqiao_sdk import rules
from guqiao_sdk.errors import DeniedError, GuqiaoError, ServerFailedError
from services.chassis import errors
from services.chassis.bus.transient import is_transient
from services.chassis.errors import Fact, Reason, ServiceError, causes

ERROR_DOMAIN: Final = "guqiao"
HELP_PAGE: Final = "docs/errors.md"
STATUS_METADATA_KEY: Final = "grpc-status-details-bin"

# Trailing metadata must pass clients whose limit is 8 KiB, base64 included.
STATUS_BYTES_MAX: Final = 5_000
ADVICE_BYTES: Final = 100  # kept free for RetryInfo
PACKED_BYTES_MAX: Final = 100  # what packing adds to a detail: its type's name and lengths
FACT_BYTES_MAX: Final = 200
FACTS_MAX: Final = 16
VIOLATIONS_MAX: Final = 16

GRPC_CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Reason.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.ABORTED: grpc.StatusCode.ABORTED,
    Reason.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_OF_DATABASE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,  # A server that hangs: asyncpg gives up a command after its time.
)

# What a chain denies of the transaction that a caller signed, not of our request that carried it.
_OF_TRANSACTIONS: Final = frozenset(
    {
        *("ALG_NOT_GM", "IDENTITY_DEACTIVATED", "SENDER_UNKNOWN", "TRANSACTION_SIGNATURE_INVALID"),
        *("KEY_MISMATCH", "KEY_NOT_VALID"),
    }
)
_SIGNERS_KEY: Final = "key"
"""The fact that a chain gives of a signer's key, and no guard of a request's."""

_CLASSES: Final[dict[str, type[ServiceError]]] = {
    GRPC_CODES[kind.reason].name: kind
    for kind in (
        errors.InvalidError,
        errors.NotFoundError,
        errors.ConflictError,
        errors.ForbiddenError,
        errors.UnauthenticatedError,
        errors.ExhaustedError,
        errors.UnavailableError,
        errors.UnimplementedError,
        errors.AbortedError,
        errors.FailedPreconditionError,
        errors.DeadlineError,
    )
}


def error_of_code(code: str, /, **fields: Fact) -> ServiceError:
    """The error for a code that arrived as data, such as the refusal in a receipt; the catalogue
    gives its kind.
    """
    error = _CLASSES[rules.rule(code).grpc](code)
    error.fields.update(fields)
    return error


def seen_by_caller(error: Exception) -> Exception:
    """The error that a caller is told: a dependency's own where the caller can act on it."""
    for cause in causes(error):
        told = _seen(cause)
        if isinstance(told, ServiceError):
            return told
    return error


def _seen(error: BaseException) -> BaseException:
    match error:
        case ServiceError():
            return error
        case DeniedError() | ServerFailedError() if not _is_of_transaction(error):
            return error  # Our own rights, or nonsense: nothing that this caller could mend.
        case GuqiaoError() if error.code in rules.catalogue():
            return error_of_code(error.code, **error.fields)
        case GuqiaoError() if not error.code:
            return errors.UnavailableError("CHAIN_UNAVAILABLE", cause=str(error)[:FACT_BYTES_MAX])
        case asyncpg.CharacterNotInRepertoireError():
            return errors.InvalidError("REQUEST_MALFORMED", detail="a NUL character in a text")
        case _ if isinstance(error, _OF_DATABASE) and is_transient(error):
            return errors.UnavailableError("DATABASE_UNAVAILABLE")
    return error


def _is_of_transaction(error: GuqiaoError) -> bool:
    if error.code == "ORGANISATION_MISMATCH":
        return "did" in error.fields  # A guard tells only the organisation.
    return error.code in _OF_TRANSACTIONS or _SIGNERS_KEY in error.fields


def to_rpc_status(error: Exception, trace_id: str = "") -> status_pb2.Status:
    """The full status of `error`: what a call ends with, or what an item of a stream carries."""
    error = seen_by_caller(error)
    if isinstance(error, ServiceError):
        fields = {name: _text(value) for name, value in list(error.fields.items())[:FACTS_MAX]}
        number = _grpc_number(GRPC_CODES[error.reason].name)
        status = _status(number, error.code, fields, trace_id)
        while status.ByteSize() > STATUS_BYTES_MAX - ADVICE_BYTES and fields:
            fields.popitem()
            status = _status(number, error.code, fields, trace_id)
        _add_advice(status, error)
        return status
    return _status(_grpc_number("INTERNAL"), "INTERNAL", {"trace_id": trace_id}, trace_id)


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC status code of a status."""
    return grpc.StatusCode[code_pb2.Code.Name(code_pb2.Code.ValueType(status.code))]


def _status(number: int, code: str, fields: dict[str, str], trace_id: str) -> status_pb2.Status:
    entry = rules.rule(code)
    texts = rules.messages(code, **fields)
    status = status_pb2.Status(code=number, message=f"{code}: {texts.en}")
    _pack(
        status,
        [
            error_details_pb2.ErrorInfo(
                reason=code,
                domain=ERROR_DOMAIN,
                metadata={
                    **fields,
                    "rule_id": ",".join(entry.rule_id),
                    "article": entry.article,
                    "basis": "; ".join(entry.basis),
                },
            ),
            error_details_pb2.LocalizedMessage(
                locale="zh-CN", message=f"{texts.zh}{texts.remedy_zh}"
            ),
            error_details_pb2.LocalizedMessage(
                locale="en", message=f"{texts.en} {texts.remedy_en}"
            ),
            error_details_pb2.Help(
                links=[
                    error_details_pb2.Help.Link(
                        description=f"guqiao explain {code}", url=f"{HELP_PAGE}#{code.lower()}"
                    )
                ]
            ),
        ],
    )
    if trace_id:
        _pack(status, [error_details_pb2.RequestInfo(request_id=trace_id)])
    return status


def _add_advice(status: status_pb2.Status, error: ServiceError) -> None:
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_seconds * 1_000))
        _pack(status, [retry])
    bad_request = error_details_pb2.BadRequest()
    for violation in error.violations[:VIOLATIONS_MAX]:
        entry = bad_request.field_violations.add()
        entry.field = _text(violation.field)
        entry.description = _text(violation.description)
    while bad_request.field_violations and (
        status.ByteSize() + bad_request.ByteSize() + PACKED_BYTES_MAX > STATUS_BYTES_MAX
    ):
        del bad_request.field_violations[-1]
    if bad_request.field_violations:
        _pack(status, [bad_request])


def _pack(status: status_pb2.Status, details: Iterable[Message]) -> None:
    for detail in details:
        status.details.add().Pack(detail)


def _grpc_number(name: str) -> int:
    number: int = code_pb2.Code.Value(name)
    return number


def _text(value: Fact) -> str:
    text = "" if value is None else str(value)
    # A lone surrogate cannot be encoded, and an error must never fail to be told.
    raw = text.encode("utf-8", "replace")[:FACT_BYTES_MAX]
    return raw.decode("utf-8", "ignore")  # The cut may have split the last character.
