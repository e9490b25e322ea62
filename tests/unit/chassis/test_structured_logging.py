"""Logs are one JSON record a line whatever is logged, and hold no personal datum and no secret."""

from __future__ import annotations

import io
import json
import logging as standard_logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.logging import REDACTED, configure_logging, redact, render_line
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry import current_trace_id, open_telemetry

# Made up, with check digits that are right, so that they look like the real thing.
RESIDENT_ID = "11010519491231002X"
MOBILE = "13800138000"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = standard_logging.getLogger()
    handlers, level = root.handlers, root.level
    output = io.StringIO()
    configure_logging(domain="shandong", service="registry", stream=output)
    yield output
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_json_with_event_service_time_and_level(stream: io.StringIO) -> None:
    structlog.get_logger("registry").info("roster.read", height=7)
    [record] = records(stream)
    assert record["event"] == "roster.read"
    assert record["height"] == 7
    assert (record["domain"], record["service"], record["level"]) == (
        "shandong",
        "registry",
        "info",
    )
    assert record["time"].endswith("Z")


def test_records_below_the_level_are_dropped(stream: io.StringIO) -> None:
    structlog.get_logger("registry").debug("detail.seen")
    assert stream.getvalue() == ""


def test_what_libraries_log_is_json_too(stream: io.StringIO) -> None:
    standard_logging.getLogger("asyncio").warning("took %s s", 3)
    [record] = records(stream)
    assert record["event"] == "took 3 s"
    assert record["logger"] == "asyncio"


def test_a_record_inside_a_span_names_its_trace(stream: io.StringIO) -> None:
    telemetry = open_telemetry(TelemetrySettings(), domain="d", service="s")
    with telemetry.tracer.start_as_current_span("work"):
        structlog.get_logger("x").info("work.done")
        expected = current_trace_id()
    assert records(stream)[0]["trace_id"] == expected
    structlog.get_logger("x").info("rest.done")
    assert "trace_id" not in records(stream)[1]


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\r\nb", 'a"}\n{"event": "forged"', "\x1b[31mred", "a\u2028b", "a\u0085b", "\x9b31m"],
)
def test_no_text_breaks_out_of_its_line(stream: io.StringIO, text: str) -> None:
    structlog.get_logger("x").info("value.read", value=text)
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert len(written.splitlines()) == 1
    assert all(character >= " " for character in written.rstrip("\n"))
    assert records(stream)[0]["value"] == text


@given(st.text(), st.text())
def test_any_text_gives_one_line_that_reads_back(event: str, value: str) -> None:
    line = render_line(None, "info", {"event": event, "value": value})
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"event": event, "value": value}


@pytest.mark.req("N0-35")
@pytest.mark.parametrize(
    "fields",
    [
        {"id_number": RESIDENT_ID},
        {"holder": {"id_number": "x", "phone": MOBILE}},
        {"rows": [{"bank_account": "6222020000000000000"}]},
        {"note": f"the holder {RESIDENT_ID} called"},
        {"note": f"call {MOBILE}, now"},
        {"number": int(MOBILE)},
        {"holder_phone": "010-1"},
        {"password": "hunter2"},
        {"db_password": "hunter2"},
        {"private_key": b"canary"},
        {"Authorization": "Bearer hunter2"},
    ],
)
def test_personal_data_and_secrets_never_reach_the_log(
    stream: io.StringIO, fields: dict[str, Any]
) -> None:
    structlog.get_logger("x").info("holder.read", **fields)
    written = stream.getvalue()
    for secret in (RESIDENT_ID, MOBILE, "6222020000000000000", "hunter2", "canary", "010-1"):
        assert secret not in written
    assert REDACTED in written


@pytest.mark.req("N0-35")
def test_a_traceback_keeps_its_line_and_loses_personal_data(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"no such holder {RESIDENT_ID}")
    except ValueError as error:
        structlog.get_logger("x").error("holder.failed", exc_info=error)
    [record] = records(stream)
    assert "ValueError" in record["exception"]
    assert RESIDENT_ID not in stream.getvalue()


@given(st.text(alphabet="0123456789abcdefX, ", max_size=30), st.text(max_size=20))
def test_a_resident_id_is_found_wherever_it_stands(before: str, after: str) -> None:
    text = f"{before} {RESIDENT_ID} {after}"
    assert RESIDENT_ID not in redact(None, "info", {"event": text})["event"]


def test_digests_heights_and_times_are_not_mistaken_for_personal_data() -> None:
    event = {"event": "block.made", "digest": "1" * 64, "time_ms": 1_700_000_000_000, "height": 9}
    assert redact(None, "info", dict(event)) == event


def test_deep_and_long_values_are_cut() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"a": deep}
    assert "too deep" in json.dumps(redact(None, "info", {"event": "x", "deep": deep}))
    long = redact(None, "info", {"event": "x" * 100_000})["event"]
    assert len(long) < 20_000
    assert long.endswith("[cut, 100000 characters]")
