"""By which description the objects of a format are judged, from one upgrade to the next."""

from __future__ import annotations

from typing import Any

import pytest

from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.formats import described_part, require_format
from services.consensus.domain.contracts.notice.standing import Kind
from tests.unit.contracts.notice_market import (
    CHAIN,
    GOOD,
    OLD,
    OPTIONAL,
    OWNER,
    NoticesHost,
    at,
    digest,
    filing,
    interface,
    must,
    regulator,
)

WITH_NOTE = interface("guqiao-1", subject_note=OPTIONAL)
BROKEN = interface("guqiao-2", subject_layer=None, subject_note=OPTIONAL)


def fields_of(host: NoticesHost, version: str) -> set[str]:
    """The fields by which a subject of that format is judged now."""
    require_format(host, CHAIN, version)
    found = described_part(host, CHAIN, version, "subject")
    assert found is not None
    return set(found)


def names(described: dict[str, Any]) -> set[str]:
    return set(described["parts"]["object.subject"]["fields"])


def steps(host: NoticesHost, number: int, *methods: str, **changes: Any) -> None:
    for method in methods:
        given = dict(GOOD.get(method, {}))
        must(host, method, number=number, **(given | changes if method == "schedule" else given))


def upgraded_twice(version: int) -> NoticesHost:
    """A compatible upgrade that added a field, and then one to another format."""
    host = regulator("2025-09-01T10:00")
    host.notices_version = version
    must(host, "adopt", operator=OWNER, interface=OLD)
    must(host, "file", **filing(Kind.INTERFACE, interface=WITH_NOTE, planned="2025-09-10"))
    tested = ("ack", "open_test", "pass_test", "schedule")
    steps(host, 1, *tested, planned="2025-09-10", old_until=None)
    at(host, "2025-09-10T00:00")
    assert fields_of(host, "guqiao-1") == names(OLD)
    steps(host, 1, "cutover")
    assert fields_of(host, "guqiao-1") == names(WITH_NOTE)
    at(host, "2025-09-11T00:00")
    arrived: Any = {
        "source": CHAIN,
        "received_height": host.block_height,
        "object": {"header": {"model": {"version": "guqiao-1"}}},
    }
    host.elsewhere["objects", "o/0"] = arrived
    must(host, "verify", number=1, objects=[{"object_id": "o", "version": 0}])
    steps(host, 1, "close")
    at(host, "2025-09-15T10:00")
    old = digest(WITH_NOTE)
    must(host, "file", **filing(Kind.INCOMPATIBLE, interface=BROKEN, old=old))
    steps(host, 2, *tested)
    at(host, "2025-10-18T00:00")
    steps(host, 2, "cutover")
    return host


@pytest.mark.req("G2-14-6", "N0-42")
def test_an_ended_format_is_described_by_what_was_in_force_with_it_last() -> None:
    host = upgraded_twice(3)
    assert fields_of(host, "guqiao-2") == names(BROKEN)
    assert fields_of(host, "guqiao-1") == names(WITH_NOTE)
    at(host, "2025-11-01T00:00")
    with pytest.raises(Refusal, match="FORMAT_ENDED"):
        fields_of(host, "guqiao-1")


def test_earlier_versions_of_notices_keep_what_a_format_began_with() -> None:
    """Chains that began with them replay as they were."""
    host = upgraded_twice(2)
    assert fields_of(host, "guqiao-2") == names(BROKEN)
    assert fields_of(host, "guqiao-1") == names(OLD)


@pytest.mark.req("G2-14-6")
def test_after_a_roll_back_the_old_description_is_in_force_again() -> None:
    host = upgraded_twice(3)
    must(host, "roll_back", number=2, reason="x")
    assert fields_of(host, "guqiao-1") == names(WITH_NOTE)
    with pytest.raises(Refusal, match="FORMAT_NOT_PERMITTED"):
        fields_of(host, "guqiao-2")


def test_a_market_that_adopted_nothing_is_judged_by_nothing() -> None:
    assert described_part(regulator(), CHAIN, "guqiao-1", "subject") is None


def test_a_type_that_is_not_described_is_refused_by_its_field() -> None:
    host = upgraded_twice(3)
    with pytest.raises(Refusal) as caught:
        described_part(host, CHAIN, "guqiao-2", "block")
    assert caught.value.fields["field"] == "header.content.type"
