"""Failures as a client sees them: classes by what to do about it, each with the code, the facts
and both texts.

They are read from the `google.rpc.Status` that a guqiao service sends. A failure that carries none
(a broken connection, a proxy's answer) becomes the class of its gRPC status with an empty code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from guqiao_sdk.rules import messages

STATUS_METADATA_KEY: Final = "grpc-status-details-bin"
ERROR_DOMAIN: Final = "guqiao"
_TOO_LARGE: Final = "message larger than max"
"""How gRPC itself words the refusal of a message above the server's or our own limit."""
_SIZES: Final = re.compile(r"\(([0-9]+) vs\. ([0-9]+)\)")


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the request that breaks a rule, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What a status says. Texts are empty when the other side sent none; `retry_after_seconds`
    None: do not.
    """

    code: str
    message: str
    zh: str = ""
    en: str = ""
    fields: Mapping[str, str] | None = None
    field_problems: tuple[FieldProblem, ...] = ()
    retry_after_seconds: float | None = None
    trace_id: str = ""


class GuqiaoError(Exception):
    """Base of every failure of a call. `code` is what `guqiao explain` takes."""

    def __init__(self, facts: ErrorFacts) -> None:
        super().__init__(facts.zh or facts.message or facts.code)
        self.facts = facts
        self.code = facts.code
        self.fields = dict(facts.fields or {})
        self.zh = facts.zh
        self.en = facts.en
        self.retry_after_seconds = facts.retry_after_seconds
        self.trace_id = facts.trace_id


class InvalidRequestError(GuqiaoError):
    """The request itself is wrong."""


class NotFoundError(GuqiaoError):
    """What the request names does not exist."""


class ConflictError(GuqiaoError):
    """It exists already with another content, or the world changed meanwhile."""


class DeniedError(GuqiaoError):
    """The caller may not do this, or did not show who it is."""


class RefusedError(GuqiaoError):
    """A rule of the market or the state of things forbids it."""


class ExhaustedError(GuqiaoError):
    """A limit is reached."""


class UnavailableError(GuqiaoError):
    """The service is away; the same request may pass later."""


class OutcomeUnknownError(GuqiaoError):
    """Time ran out; ask with the same request id before doing anything else."""


class ServerFailedError(GuqiaoError):
    """The service failed, or answered what makes no sense; tell the operators the trace id."""


_CLASSES: Final[dict[grpc.StatusCode, type[GuqiaoError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
    grpc.StatusCode.UNAUTHENTICATED: DeniedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutcomeUnknownError,
    grpc.StatusCode.CANCELLED: OutcomeUnknownError,
}


def error_from_rpc(error: grpc.aio.AioRpcError) -> GuqiaoError:
    """The error of a failed call."""
    status = _status_of(error)
    if status is None:
        details = error.details() or error.code().name
        facts = ErrorFacts(code="", message=details)
        if _TOO_LARGE in details:  # Refused before any service of ours could say so.
            sizes = _SIZES.search(details)
            fields = dict(zip(("size", "size_max"), sizes.groups(), strict=True)) if sizes else {}
            texts = messages("REQUEST_TOO_LARGE", **fields)
            facts = ErrorFacts(
                "REQUEST_TOO_LARGE", details, zh=texts.zh, en=texts.en, fields=fields
            )
        return _CLASSES.get(error.code(), ServerFailedError)(facts)
    return error_from_status(status)


def said_by_a_service(error: grpc.aio.AioRpcError) -> bool:
    """Whether a service of ours gave this error, and not the transport on the way to it."""
    return _status_of(error) is not None


def error_from_status(status: status_pb2.Status) -> GuqiaoError:
    """The error of a status, such as one that an item of a stream carries."""
    by_number = {code.value[0]: code for code in grpc.StatusCode}
    code = by_number.get(status.code, grpc.StatusCode.UNKNOWN)
    try:
        facts = _facts(status)
    except DecodeError:
        return ServerFailedError(ErrorFacts(code="", message=status.message))
    return _CLASSES.get(code, ServerFailedError)(facts)


def error_from_bytes(encoded: bytes) -> GuqiaoError:
    """The error of a status in its protobuf bytes; one that is none makes no sense, and says so."""
    try:
        return error_from_status(status_pb2.Status.FromString(encoded))
    except DecodeError:
        return ServerFailedError(ErrorFacts(code="", message="no google.rpc.Status"))


@contextmanager
def guqiao_errors() -> Iterator[None]:
    """Within this block a failed call raises `GuqiaoError` instead of gRPC's own error."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_METADATA_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            # Details that contradict the call's own status are not believed.
            return status if status.code == error.code().value[0] else None
    return None


def _facts(status: status_pb2.Status) -> ErrorFacts:
    info = error_details_pb2.ErrorInfo()
    request, bad = error_details_pb2.RequestInfo(), error_details_pb2.BadRequest()
    texts: dict[str, str] = {}
    retry_after: float | None = None
    for detail in status.details:
        match detail.TypeName():
            case "google.rpc.LocalizedMessage":
                text = error_details_pb2.LocalizedMessage.FromString(detail.value)
                texts[text.locale] = text.message
            case "google.rpc.RetryInfo":
                retry = error_details_pb2.RetryInfo.FromString(detail.value)
                retry_after = retry.retry_delay.ToMilliseconds() / 1_000
            case "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
            case "google.rpc.RequestInfo":
                request = error_details_pb2.RequestInfo.FromString(detail.value)
            case "google.rpc.BadRequest":
                bad = error_details_pb2.BadRequest.FromString(detail.value)
    ours = info.domain == ERROR_DOMAIN
    return ErrorFacts(
        code=info.reason if ours else "",
        message=status.message,
        zh=texts.get("zh-CN", ""),
        en=texts.get("en", ""),
        fields=dict(info.metadata),
        field_problems=tuple(
            FieldProblem(problem.field, problem.description) for problem in bad.field_violations
        ),
        retry_after_seconds=retry_after,
        trace_id=request.request_id,
    )
