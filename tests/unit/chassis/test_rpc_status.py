"""Errors become rich statuses: every reason has its gRPC code, details are bounded, bugs say
nothing.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk import rules
from guqiao_sdk.errors import (
    ConflictError,
    DeniedError,
    ErrorFacts,
    FieldProblem,
    GuqiaoError,
    InvalidRequestError,
    RefusedError,
    ServerFailedError,
    error_from_rpc,
    error_from_status,
)
from services.chassis import errors
from services.chassis.errors import FieldViolation, Reason, ServiceError
from services.chassis.grpc_server import error_of_code, to_rpc_status
from services.chassis.grpc_server.grpc_errors import GRPC_CODES, STATUS_BYTES_MAX, grpc_code


def detail(status: status_pb2.Status, kind: Any) -> Any:
    for entry in status.details:
        if entry.TypeName() == kind.DESCRIPTOR.full_name:
            return kind.FromString(entry.value)
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name}")


def test_every_reason_has_its_own_grpc_code() -> None:
    assert set(GRPC_CODES) == set(Reason)
    assert len(set(GRPC_CODES.values())) == len(Reason)


@pytest.mark.parametrize("code", sorted(set(rules.catalogue()) - {"INTERNAL"}))
def test_every_code_of_the_catalogue_makes_an_error_with_its_status(code: str) -> None:
    status = to_rpc_status(error_of_code(code))
    assert grpc_code(status).name == rules.rule(code).grpc
    assert status.message.startswith(f"{code}: ")
    assert status.ByteSize() < STATUS_BYTES_MAX


def test_facts_reach_the_error_info() -> None:
    status = to_rpc_status(error_of_code("REQUEST_TOO_LARGE", size=5, size_max=4))
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.metadata["size"], info.metadata["size_max"]) == ("5", "4")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.UnavailableError("CHAIN_UNAVAILABLE"), True),
        (errors.ExhaustedError("QUEUE_FULL"), True),
        (errors.TooLargeError("REQUEST_TOO_LARGE"), False),
        (errors.ForbiddenError("METHOD_FORBIDDEN"), False),
    ],
)
def test_only_what_may_pass_later_says_when_to_retry(error: ServiceError, expected: bool) -> None:
    kinds = [entry.TypeName() for entry in to_rpc_status(error).details]
    assert ("google.rpc.RetryInfo" in kinds) is expected


def test_field_violations_become_a_bad_request() -> None:
    error = errors.InvalidError(
        "REQUEST_MALFORMED", violations=[FieldViolation("shares", "must be greater than zero")]
    )
    bad = detail(to_rpc_status(error), error_details_pb2.BadRequest)
    assert [(item.field, item.description) for item in bad.field_violations] == [
        ("shares", "must be greater than zero")
    ]


@given(
    facts=st.dictionaries(
        st.from_regex(r"[a-z_]{1,10}", fullmatch=True), st.text(max_size=2_000), max_size=40
    ),
    count=st.integers(0, 200),
)
def test_details_stay_below_the_limit_of_clients_whatever_they_are_made_of(
    facts: dict[str, str], count: int
) -> None:
    violations = [FieldViolation(f"rows[{number}].shares", "x" * 500) for number in range(count)]
    error = errors.InvalidError("REQUEST_MALFORMED", violations=violations)
    error.fields.update(facts)
    assert to_rpc_status(error, "0" * 32).ByteSize() <= STATUS_BYTES_MAX


def test_a_lone_surrogate_in_a_fact_does_not_break_the_telling() -> None:
    status = to_rpc_status(errors.NotFoundError("OBJECT_UNKNOWN", name="a\ud800b"))
    assert detail(status, error_details_pb2.ErrorInfo).metadata["name"] == "a?b"


@pytest.mark.parametrize("bug", [KeyError("secret"), ValueError("SELECT 1"), OSError("/etc/x")])
def test_a_bug_says_internal_and_the_trace_id_only(bug: Exception) -> None:
    status = to_rpc_status(bug, "ab" * 16)
    assert grpc_code(status) is grpc.StatusCode.INTERNAL
    assert str(bug).strip("'").encode() not in status.SerializeToString()
    assert detail(status, error_details_pb2.RequestInfo).request_id == "ab" * 16


def test_an_error_whose_code_is_in_no_catalogue_is_a_bug() -> None:
    with pytest.raises(rules.UnknownCodeError):
        to_rpc_status(errors.NotFoundError("NO_SUCH_CODE"))


def test_the_client_reads_back_what_the_service_said() -> None:
    sent = errors.ConflictError("REQUEST_ID_REUSED", request_id="r-1")
    received = error_from_status(to_rpc_status(sent, "cd" * 16))
    assert isinstance(received, ConflictError)
    assert received.code == "REQUEST_ID_REUSED"
    assert received.fields["request_id"] == "r-1"
    assert "请求号" in received.zh
    assert "request id" in received.en
    assert received.trace_id == "cd" * 16
    assert received.retry_after_seconds is None


def test_the_client_reads_retry_and_field_problems() -> None:
    away = error_from_status(to_rpc_status(errors.UnavailableError("CHAIN_UNAVAILABLE")))
    assert away.retry_after_seconds == 1.0
    invalid = error_from_status(
        to_rpc_status(
            errors.InvalidError("REQUEST_MALFORMED", violations=[FieldViolation("a", "b")])
        )
    )
    assert isinstance(invalid, InvalidRequestError)
    assert invalid.facts.field_problems == (FieldProblem("a", "b"),)


def test_a_status_of_another_domain_gives_no_code_of_ours() -> None:
    status = to_rpc_status(errors.FailedPreconditionError("SHARES_RESTRICTED"))
    info = detail(status, error_details_pb2.ErrorInfo)
    info.domain = "example.org"
    status.details[0].Pack(info)
    received = error_from_status(status)
    assert isinstance(received, RefusedError)
    assert received.code == ""


@given(st.binary(max_size=200), st.integers(-5, 40))
def test_any_details_give_an_error(raw: bytes, number: int) -> None:
    status = status_pb2.Status(code=number, message="m")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=raw)
    assert isinstance(error_from_status(status), GuqiaoError)


def test_a_message_that_grpc_itself_refuses_is_told_with_its_sizes() -> None:
    """No service of ours has seen it, so the transport's own words are all that there is."""
    raw = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="SERVER: Received message larger than max (5242885 vs. 4259840)",
    )
    error = error_from_rpc(raw)
    assert error.code == "REQUEST_TOO_LARGE"
    for text in (error.en, error.zh):
        assert "5242885" in text
        assert "4259840" in text


def test_an_error_without_texts_still_says_something() -> None:
    assert str(ServerFailedError(ErrorFacts(code="", message="gone"))) == "gone"


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.DiskFullError("full"),
        asyncpg.PostgresIOError("unreadable"),
    ],
    ids=repr,
)
def test_a_database_that_hangs_is_away_or_ill_is_told_as_such(error: Exception) -> None:
    """asyncpg gives up a command at a server that hangs with a plain `TimeoutError`."""
    status = to_rpc_status(error)
    assert grpc_code(status) is grpc.StatusCode.UNAVAILABLE
    assert detail(status, error_details_pb2.ErrorInfo).reason == "DATABASE_UNAVAILABLE"


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("code", "facts", "told"),
    [
        ("KEY_REVOKED", {"did": "did:rem:shandong:m", "key": "k1"}, "KEY_REVOKED"),
        ("KEY_NOT_VALID", {"did": "did:rem:shandong:m", "key": "k1"}, "KEY_NOT_VALID"),
        ("IDENTITY_DEACTIVATED", {"did": "did:rem:shandong:m"}, "IDENTITY_DEACTIVATED"),
        ("ORGANISATION_MISMATCH", {"did": "x", "organisation": "y"}, "ORGANISATION_MISMATCH"),
        ("ORGANISATION_MISMATCH", {"organisation": "of our own certificate"}, "INTERNAL"),
        ("KEY_REVOKED", {"did": "did:rem:shandong:registry", "key_id": "k1"}, "INTERNAL"),
    ],
)
def test_a_caller_is_told_of_the_keys_of_its_transaction_and_not_of_ours(
    code: str, facts: dict[str, str], told: str
) -> None:
    status = to_rpc_status(DeniedError(ErrorFacts(code, code, fields=facts)))
    assert detail(status, error_details_pb2.ErrorInfo).reason == told
