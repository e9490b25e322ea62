"""Failures a caller is meant to see: one base class, a closed set of reasons, a symbolic code
each.

The code is the key of the rule catalogue (`guqiao_sdk/rules/catalogue.json`), which holds the
texts in Chinese and English; an error carries only the code and the facts. Any other exception is
a bug and reaches callers as INTERNAL. Domains import this module, so it imports nothing but the
language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

Fact: TypeAlias = str | int | bool | None

RETRY_AFTER_SECONDS: Final = 1.0


class Reason(StrEnum):
    """What the caller may do about it. `grpc_errors.py` maps each to one gRPC status code."""

    INVALID = "invalid"  # Fix the request.
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # It exists already, with another content.
    FORBIDDEN = "forbidden"  # Ask for the right.
    UNAUTHENTICATED = "unauthenticated"  # Sign the request with a key that is valid.
    EXHAUSTED = "exhausted"  # Send less, or later.
    UNAVAILABLE = "unavailable"  # Retry, with backoff.
    UNIMPLEMENTED = "unimplemented"
    ABORTED = "aborted"  # The world changed: read again, then decide.
    FAILED_PRECONDITION = "failed_precondition"  # Change the state first.
    DEADLINE_EXCEEDED = "deadline_exceeded"  # Ask for the outcome before repeating.


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that breaks a rule, and what is wrong with it."""

    field: str
    description: str


class ServiceError(Exception):
    """Base of every failure a caller is meant to see. Raise one of the subclasses below, or one of
    your own.

    `fields` are the facts that the catalogue's texts name in braces. They reach the caller: no
    secret, no personal datum.
    """

    reason: ClassVar[Reason]
    retry_after_seconds: ClassVar[float | None] = None

    def __init__(
        self, code: str, /, *, violations: Sequence[FieldViolation] = (), **fields: Fact
    ) -> None:
        facts = ", ".join(f"{name}={value}" for name, value in fields.items())
        super().__init__(f"{code}: {facts}" if facts else code)
        self.code = code
        self.fields = fields
        self.violations = tuple(violations)


class InvalidError(ServiceError):
    """The request itself is wrong."""

    reason = Reason.INVALID


class NotFoundError(ServiceError):
    """What the request names does not exist."""

    reason = Reason.NOT_FOUND


class ConflictError(ServiceError):
    """It exists already, and differs."""

    reason = Reason.CONFLICT


class ForbiddenError(ServiceError):
    """The caller is known and may not do this."""

    reason = Reason.FORBIDDEN


class UnauthenticatedError(ServiceError):
    """It is not shown who asks."""

    reason = Reason.UNAUTHENTICATED


class ExhaustedError(ServiceError):
    """A limit is reached; less or later may pass."""

    reason = Reason.EXHAUSTED
    retry_after_seconds = RETRY_AFTER_SECONDS


class TooLargeError(ServiceError):
    """A size limit is passed; the same request will never pass."""

    reason = Reason.EXHAUSTED


class UnavailableError(ServiceError):
    """Something this service depends on is away; the same request may pass later."""

    reason = Reason.UNAVAILABLE
    retry_after_seconds = RETRY_AFTER_SECONDS


class UnimplementedError(ServiceError):
    """The operation does not exist here."""

    reason = Reason.UNIMPLEMENTED


class AbortedError(ServiceError):
    """The world changed meanwhile: read again, then decide."""

    reason = Reason.ABORTED
    retry_after_seconds = RETRY_AFTER_SECONDS


class FailedPreconditionError(ServiceError):
    """The state of things forbids it; repeating without a change is useless."""

    reason = Reason.FAILED_PRECONDITION


class DeadlineError(ServiceError):
    """Time ran out; whether it took effect is unknown until asked."""

    reason = Reason.DEADLINE_EXCEEDED


def causes(error: BaseException) -> list[BaseException]:
    """The errors in a group, whatever its depth; an error that is no group, itself."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in causes(inner)]
    return [error]
