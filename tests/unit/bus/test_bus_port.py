"""The bus port's pure parts: what an event may be, where a key goes, which failures pass."""

from __future__ import annotations

import asyncpg
import pytest
from aiokafka import errors as kafka_errors
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from pydantic import TypeAdapter, ValidationError

from services.chassis.bus import (
    BusEvent,
    BusSettings,
    EventRefusedError,
    PoisonError,
    TopicMissingError,
    TransientError,
    new_event,
)
from services.chassis.bus.kafka_failures import PERMANENT, translated
from services.chassis.bus.port import (
    EVENT_BYTES_MAX,
    HEADER_CHARACTERS_MAX,
    HEADERS_MAX,
    checked,
    partition_of,
)
from services.chassis.bus.settings import KafkaBusSettings, PostgresBusSettings
from services.chassis.bus.transient import Backoff, is_transient


@pytest.mark.parametrize(("key", "partition"), [("", 0), ("shandong", 0), ("股权-001", 4)])
def test_the_partition_of_a_key_never_changes(key: str, partition: int) -> None:
    """Recorded once: another value would send a key's next events past its earlier ones."""
    assert partition_of(key, 12) == partition


@given(st.text(st.characters(codec="utf-8")), st.integers(min_value=1, max_value=64))
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_an_event_gets_an_id_of_its_own_or_keeps_the_one_given() -> None:
    assert new_event("t", "k", b"").event_id != new_event("t", "k", b"").event_id
    assert new_event("t", "k", b"", event_id="shandong/7").event_id == "shandong/7"


def test_an_event_carries_the_trace_that_made_it() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("command") as span:
        event = new_event("t", "k", b"")
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert event.headers["traceparent"].split("-")[1] == trace_id
    assert "traceparent" not in new_event("t", "k", b"").headers


GOOD = BusEvent("t", "k", b"x", {"event-id": "1"})


@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        (BusEvent("t", "k", bytes(EVENT_BYTES_MAX + 1), GOOD.headers), "bytes"),
        (BusEvent("t", "k", b"", {}), "event-id"),
        (BusEvent("t", "k", b"", {"event-id": ""}), "event-id"),
        (BusEvent("t", "k" * (HEADER_CHARACTERS_MAX + 1), b"", GOOD.headers), "key"),
        (BusEvent("t", "k\x00", b"", GOOD.headers), "NUL"),
        (BusEvent("t", "k", b"", {"event-id": "1", "a\x00": ""}), "NUL"),
        (BusEvent("t", "k", b"", {"event-id": "1" * (HEADER_CHARACTERS_MAX + 1)}), "event-id"),
        (
            BusEvent(
                "t", "k", b"", {"event-id": "1"} | dict.fromkeys(map(str, range(HEADERS_MAX)), "")
            ),
            "headers",
        ),
    ],
)
def test_an_event_that_an_adapter_could_not_carry_is_refused(spoilt: BusEvent, cause: str) -> None:
    assert checked(GOOD) is GOOD
    with pytest.raises(EventRefusedError, match=cause):
        checked(spoilt)


@given(st.integers(min_value=1, max_value=40))
def test_waits_double_up_to_their_bound_and_start_small_after_progress(attempts: int) -> None:
    backoff = Backoff(0.05, 5.0)
    waits = [backoff.next_seconds() for _ in range(attempts)]
    assert waits == [min(0.05 * 2**number, 5.0) for number in range(attempts)]
    backoff.reset()
    assert backoff.next_seconds() == 0.05


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        TransientError(),
        TopicMissingError("t"),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CrashShutdownError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.DiskFullError(),
        asyncpg.PostgresIOError(),
        asyncpg.InternalServerError(),
        asyncpg.DataCorruptedError(),
        asyncpg.IndexCorruptedError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.SerializationError(),
        asyncpg.QueryCanceledError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is ..."),
    ],
)
def test_what_is_away_or_in_the_way_is_waited_for(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        PoisonError(),
        ValueError(),
        KeyError(),
        asyncpg.UniqueViolationError(),
        asyncpg.UndefinedTableError(),
        asyncpg.InterfaceError("the server expects 1 argument"),
        AssertionError(),
    ],
)
def test_what_the_event_or_the_code_is_to_blame_for_is_not(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.KafkaConnectionError(),
        kafka_errors.KafkaTimeoutError(),
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.OutOfOrderSequenceNumber(),
        kafka_errors.NotEnoughReplicasError(),
    ],
)
def test_kafkas_passing_failures_become_transient(error: Exception) -> None:
    with pytest.raises(TransientError), translated():
        raise error


@pytest.mark.parametrize("kind", PERMANENT)
def test_kafkas_lasting_failures_stay_themselves(kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, translated():
        raise kind()
    assert not is_transient(raised.value)


def test_settings_name_the_adapter_and_refuse_what_is_half() -> None:
    adapter: TypeAdapter[PostgresBusSettings | KafkaBusSettings] = TypeAdapter(BusSettings)
    parsed = adapter.validate_python({"kind": "kafka", "bootstrap": "127.0.0.1:9092"})
    assert isinstance(parsed, KafkaBusSettings)
    log = adapter.validate_python(
        {"kind": "postgres", "database": {"url": "postgresql://u:secret@127.0.0.1/bus"}}
    )
    assert isinstance(log, PostgresBusSettings)
    assert "secret" not in repr(log)
    for half in (
        {"kind": "kafka", "bootstrap": "b", "certificate_file": "c.pem", "ca_file": "ca.pem"},
        {"kind": "kafka", "bootstrap": "b", "certificate_file": "c.pem", "key_file": "k.pem"},
        {"kind": "redis", "bootstrap": "b"},
        {"kind": "postgres"},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(half)
