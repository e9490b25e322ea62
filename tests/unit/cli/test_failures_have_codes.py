"""What no service could say has a code, a remedy and both languages all the same."""

from __future__ import annotations

import errno
from pathlib import Path

import asyncpg
import pytest

from guqiao_sdk.errors import (
    ErrorFacts,
    GuqiaoError,
    OutcomeUnknownError,
    ServerFailedError,
    UnavailableError,
)
from guqiao_sdk.rules import messages
from guqiaoctl.commands.calls import code_of, failure_of
from guqiaoctl.commands.importing import (
    _import_failed,
    _reference_request_id,
    refuse_other_chain,
)
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_UNAVAILABLE, CliError
from guqiaoctl.foreseen import foreseen
from guqiaoctl.supervisor.supervisor import StartError
from services.chassis.postgres.errors import DiskFullError as ServerDiskFullError
from services.consensus.store.errors import DiskFullError as StoreDiskFullError


@pytest.mark.parametrize(
    ("kind", "code", "exit_code"),
    [
        (UnavailableError, "SERVICE_UNAVAILABLE", EXIT_UNAVAILABLE),
        (OutcomeUnknownError, "OUTCOME_UNKNOWN", EXIT_UNAVAILABLE),
        (ServerFailedError, "INTERNAL", EXIT_CONFLICT),
    ],
)
def test_an_error_of_the_transport_has_a_code(
    kind: type[GuqiaoError], code: str, exit_code: int
) -> None:
    error = kind(ErrorFacts(code="", message="connection refused"))
    failure = failure_of(error)
    assert (failure.code, failure.exit_code) == (code, exit_code)
    (text_en, remedy_en), (text_zh, remedy_zh) = failure.texts["en"], failure.texts["zh"]
    assert text_en
    assert remedy_en
    assert any("一" <= character <= "鿿" for character in text_zh + remedy_zh)


def test_a_service_that_is_away_is_named_by_what_the_transport_said() -> None:
    error = UnavailableError(ErrorFacts(code="", message="127.0.0.1:1: connection refused"))
    assert "127.0.0.1:1: connection refused" in failure_of(error).texts["en"][0]
    assert "127.0.0.1:1: connection refused" in failure_of(error).texts["zh"][0]


def test_a_code_that_a_service_gave_is_kept() -> None:
    assert code_of(UnavailableError(ErrorFacts(code="CHAIN_UNAVAILABLE", message=""))) == (
        "CHAIN_UNAVAILABLE"
    )


def test_an_import_is_to_be_repeated_only_where_that_can_help() -> None:
    assert "repeat" in _import_failed("SERVICE_UNAVAILABLE", "x").texts["en"][1]
    for code in ("REFERENCE_CONFLICT", "REQUEST_ID_REUSED"):
        failure = _import_failed(code, "x")
        assert "repeat the same import" not in failure.texts["en"][1]
        assert failure.exit_code == EXIT_CONFLICT


def test_reference_rows_are_the_same_request_in_every_dataset_and_others_another() -> None:
    """The dataset's id is identification only (docs/market-dataset.md section 1)."""
    rows = {"companies": [{"company_ref": "C1"}]}
    first = _reference_request_id("put_companies", rows)
    assert first == _reference_request_id("put_companies", {"companies": [{"company_ref": "C1"}]})
    assert first != _reference_request_id("put_companies", {"companies": [{"company_ref": "C2"}]})
    assert first != _reference_request_id("put_products", rows)


def test_a_dataset_of_another_chain_is_refused_and_names_both() -> None:
    refuse_other_chain("shandong", "shandong")
    with pytest.raises(CliError, match=r"CHAIN_MISMATCH.*'qingdao'.*'shandong'") as refused:
        refuse_other_chain("qingdao", "shandong")
    assert refused.value.exit_code == EXIT_CONFLICT


def test_a_process_that_refused_to_start_and_said_its_remedy_has_it_once() -> None:
    remedy = messages("DATA_FOLDER_OTHER_NETWORK").remedy_en
    line = f"DATA_FOLDER_OTHER_NETWORK: a belongs to b. {remedy}"
    failure = foreseen(StartError("csrc-0", ("ended", "退出"), ["{}", line], EXIT_CONFLICT))
    assert failure is not None
    assert (failure.code, failure.exit_code) == ("DATA_FOLDER_OTHER_NETWORK", EXIT_CONFLICT)
    assert failure.texts["en"] == ("csrc-0 ended: a belongs to b", remedy)
    assert failure.texts["zh"][0] == "csrc-0 退出：a belongs to b"


def replica_refused() -> StartError:
    """A replica had too little space to start with; its line is as processes end with one."""
    error = StoreDiskFullError(Path("data"), free_bytes=1, reserve_bytes=2)
    line = f"{error}. {messages('DISK_FULL').remedy_en}"
    return StartError("csrc-0", ("ended", "退出"), [line], EXIT_UNAVAILABLE)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(
    "error",
    [
        replica_refused(),
        ServerDiskFullError(Path("postgres")),
        OSError(errno.ENOSPC, "No space left on device", "settings.toml"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_that_ended_the_start_is_not_said_to_pass_by_itself(error: Exception) -> None:
    """The network is down then, and its replicas too: somebody has to start it again."""
    failure = foreseen(error)
    assert failure is not None
    assert failure.code == "DISK_FULL"
    (text_en, remedy_en), (text_zh, remedy_zh) = failure.texts["en"], failure.texts["zh"]
    for text in (text_en, text_zh):
        assert "by itself" not in text
    assert remedy_en.endswith("; start again what has stopped.")
    assert "A replica that still runs" in remedy_en
    assert remedy_zh.endswith("已停止的请重新启动。")


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncpg.DiskFullError("could not extend file: No space left on device"), "DISK_FULL"),
        (
            asyncpg.ConnectionDoesNotExistError("closed: FATAL: No space left on device"),
            "DISK_FULL",
        ),
        (asyncpg.CannotConnectNowError("starting up"), "DATABASE_UNAVAILABLE"),
        (asyncpg.InterfaceError("connection is closed"), "DATABASE_UNAVAILABLE"),
    ],
    ids=repr,
)
def test_a_database_without_room_or_away_is_one_message_with_its_code(
    error: Exception, code: str
) -> None:
    """Also where it comes out of groups of tasks, as when a network is brought up."""
    failure = foreseen(ExceptionGroup("tasks", [ExceptionGroup("inner", [error])]))
    assert failure is not None
    assert (failure.code, failure.exit_code) == (code, EXIT_UNAVAILABLE)
    assert all(text and remedy for text, remedy in failure.texts.values())


def test_a_mistake_in_a_statement_is_a_bug_and_keeps_its_traceback() -> None:
    assert foreseen(asyncpg.UndefinedTableError("relation does not exist")) is None
