"""What `notices` keeps, and how a notice is judged and moved on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.working_days import CHINA, CalendarYearUnknownError
from services.consensus.domain.contracts.calendar import working_days
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.notice import formats
from services.consensus.domain.contracts.notice.form import Filing, day
from services.consensus.domain.contracts.notice.interface import (
    Change,
    Interface,
    changes,
    changes_objects,
    read_interface,
)
from services.consensus.domain.contracts.notice.standing import (
    TRANSITIONS,
    Kind,
    Status,
    head_key,
    interface_key,
    notice_key,
    working_days_of,
)
from services.consensus.domain.contracts.packets_host import (
    natural,
    require_members,
    system_host,
    text,
)

CHANGES_TOLD_MAX: Final = 20
"""In a notice, those that break first; whoever has both descriptions finds them all."""
FILED: Final = (
    *("noticed_ms", "planned", "earliest", "working_days", "documents", "old", "new"),
    *("compatible", "change_count"),
)
"""What the event of a filing tells of the record."""
_LATER: Final = (
    *("reason", "test_report", "old_until", "continuity", "cutover_height", "waiver", "review"),
)
"""What later steps write down."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def head_of(host: Host, chain: str) -> dict[str, Any]:
    """What is known of a chain; refuses one whose interface nobody adopted."""
    head = host.get(head_key(chain))
    if head is None:
        raise Refusal("UPGRADE_INTERFACE_UNKNOWN", chain=chain)
    assert isinstance(head, dict), "the contract wrote it"
    return head


def own_head(host: Host, chain: str) -> dict[str, Any]:
    """The same for the organisation that operates the chain."""
    head = head_of(host, chain)
    if head["operator"] != host.sender().organisation:
        raise Refusal("UPGRADE_CHAIN_NOT_OWN", chain=chain, operator=head["operator"])
    return head


def record_of(host: Host, chain: str, number: int) -> dict[str, Any]:
    """A notice by its number."""
    record = host.get(notice_key(chain, number))
    if record is None:
        raise Refusal("UPGRADE_NOTICE_UNKNOWN", chain=chain, number=number)
    assert isinstance(record, dict), "the contract wrote it"
    return record


def named(host: Host, body: Mapping[str, Json], step: str, *more: str) -> dict[str, Any]:
    """The notice that a body names, in a status from which the step may be taken."""
    require_members(body, "", " ".join(("chain", "number", *more)))
    chain, number = text(body["chain"], "chain"), natural(body["number"], "number")
    record = record_of(host, chain, number)
    if record["status"] not in TRANSITIONS[step]:
        raise Refusal("ILLEGAL_TRANSITION", state=record["status"], event=step)
    return record


def own(host: Host, body: Mapping[str, Json], step: str, *more: str) -> dict[str, Any]:
    """The same for the operator of the chain."""
    record = named(host, body, step, *more)
    own_head(host, record["chain"])
    return record


def interface_of(host: Host, chain: str, digest: str) -> Interface:
    """A description that was adopted or filed."""
    return read_interface(host.get(interface_key(chain, digest)))


def in_force(interface: Interface) -> dict[str, Json]:
    """What the head of a chain says of its interface."""
    return {"interface": interface.digest.hex(), "model_version": interface.model_version}


def earliest_of(host: Host, record: Mapping[str, Any]) -> date:
    """The first day after the working days of a notice, by the calendar as it is now; its own day
    where they were waived.
    """
    moment = _EPOCH + timedelta(milliseconds=record["noticed_ms"])
    noticed = moment.astimezone(CHINA).date()
    if record["waiver"] is not None:
        return noticed
    try:
        calendar = working_days(system_host(host))
        return calendar.after(noticed, record["working_days"]).earliest
    except CalendarYearUnknownError as error:
        raise Refusal(error.code, year=error.year) from None


def plan(host: Host, record: dict[str, Any], planned: date) -> None:
    """Plan the cut-over for a day; refuses one before the working days have passed."""
    earliest = earliest_of(host, record)
    if planned < earliest:
        raise Refusal(
            "UPGRADE_LEAD_TOO_SHORT",
            earliest=earliest.isoformat(),
            planned=planned.isoformat(),
            working_days=record["working_days"],
        )
    record |= {"planned": planned.isoformat(), "earliest": earliest.isoformat()}


def old_until_of(record: Mapping[str, Any], value: Json, planned: date) -> str | None:
    """The last day of the old format: there is one exactly where the format changes."""
    if (value is None) is record["changes_format"]:
        fault = "missing" if record["changes_format"] else "the format does not change"
        raise Refusal("BODY_MALFORMED", field="old_until", fault=fault)
    if value is None:
        return None
    until = day(value, "old_until")
    if until < planned:
        raise Refusal("BODY_MALFORMED", field="old_until", fault="before the cut-over")
    return until.isoformat()


def take_down(
    host: Host, chain: str, number: int, head: Mapping[str, Any], filing: Filing, noticed_ms: int
) -> None:
    """Judge what is filed against the interface in force, and write it down."""
    if filing.old != head["interface"]:
        raise Refusal("UPGRADE_BASE_OTHER", chain=chain, in_force=head["interface"])
    new = filing.interface
    found = changes(interface_of(host, chain, filing.old), new)
    _require_class(filing, found)
    changes_format = new.model_version != head["model_version"]
    _require_version(host, chain, new, found, changes_format=changes_format)
    told: list[Json] = [each.to_json() for each in found[:CHANGES_TOLD_MAX]]
    breaks = any(each.is_breaking for each in found)
    sender = host.sender()
    record: dict[str, Any] = {
        "chain": chain,
        "number": number,
        "kind": filing.kind.value,
        "status": Status.NOTIFIED.value,
        "organisation": sender.organisation,
        "author": sender.did,
        "noticed_ms": noticed_ms,
        "working_days": working_days_of(filing.kind, breaks=breaks),
        "documents": dict(filing.documents),
        "old": filing.old,
        "new": new.digest.hex(),
        "model_version": new.model_version,
        "changes_format": changes_format,
        "compatible": not breaks,
        "change_count": len(found),
        "changes": told,
        **dict.fromkeys(_LATER),
    }
    plan(host, record, filing.planned)
    host.put(interface_key(chain, record["new"]), new.to_json())
    _write(host, record, "notice.filed", **{name: record[name] for name in FILED})


def _require_class(filing: Filing, found: Sequence[Change]) -> None:
    """Refuse what breaks and was filed as compatible (G2-14-4)."""
    breaking = [each for each in found if each.is_breaking]
    if breaking and filing.kind is Kind.INTERFACE:
        first = breaking[0]
        raise Refusal(
            "UPGRADE_MISCLASSIFIED", place=first.place, rule=first.rule, count=len(breaking)
        )


def _require_version(
    host: Host, chain: str, new: Interface, found: Sequence[Change], *, changes_format: bool
) -> None:
    """Refuse a format that could not be told from another by its version."""
    if not changes_format and changes_objects(found):
        raise Refusal("UPGRADE_MODEL_VERSION_SAME", version=new.model_version)
    if changes_format and formats.is_taken(host, chain, new):
        raise Refusal("UPGRADE_MODEL_VERSION_TAKEN", version=new.model_version)


def move(host: Host, record: dict[str, Any], step: str, topic: str, **more: Json) -> None:
    """Take a step and write the notice down."""
    record["status"] = TRANSITIONS[step][record["status"]].value
    _write(host, record, topic, **more)


def _write(host: Host, record: dict[str, Any], topic: str, **more: Json) -> None:
    record["height"] = host.height()
    record["transaction_id"] = host.transaction_id()
    host.put(notice_key(record["chain"], record["number"]), record)
    facts = {name: record[name] for name in ("chain", "number", "kind", "status")}
    host.emit(topic, {**facts, **more})
