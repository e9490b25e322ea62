"""The notice that an upgrade needs which breaks who relies on the contract (SM-3, G2-14-4).

Whoever operates a market tells the regulatory chain twenty working days ahead, by the contract
`notices` there. The upgrade brings that notice, proven from the regulatory chain's certified state,
and the change list whose digest the notice holds: it names this contract, the form that it has and
the one that it will have. So does each approval, without the list. What counts is the day of this
chain's block. The regulatory chain itself owes nobody a notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.deployment_template import proven_value, regulator_of
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.notice.standing import (
    NOTICES,
    Kind,
    Status,
    notice_key,
    working_days_of,
)
from services.consensus.domain.contracts.packets_host import (
    natural,
    require_members,
    system_host,
    this_chain,
)

NOTICE: Final = "notice"
IN_FORCE: Final = frozenset({Status.SCHEDULED, Status.CUTOVER, Status.VERIFIED})
"""From the scheduled day on until the notice is settled."""
CHANGE_LIST_BYTES_MAX: Final = 65_536
CHANGE_LIST_DEPTH_MAX: Final = 8
_MEMBERS: Final = "header certificate notice proof"


@dataclass(frozen=True, slots=True)
class NamedNotice:
    """Which notice an upgrade rests on: its number, and the digest of its change list in hex."""

    number: int
    change_list: str

    def to_json(self) -> dict[str, Json]:
        """As proposals and events have it."""
        return {"number": self.number, "change_list": self.change_list}


def require_notice(host: Host, value: Json, entry: Mapping[str, Json], breaking: int) -> Json:
    """The notice of an upgrade with so many breaking changes, as a fact to be kept, None where none
    is asked for; raises `Refusal`. `entry` is what the change list has to say of the upgrade.
    """
    if not breaking or regulator_of(host) is None:
        if value is not None:
            raise _malformed(NOTICE, "none is asked for")
        return None
    if value is None:
        raise Refusal("UPGRADE_NOTICE_MISSING", contract=entry["contract"], breaking=breaking)
    if not isinstance(value, dict):
        raise _malformed(NOTICE, "not an object")
    require_members(value, "notice.", f"{_MEMBERS} change_list")
    named = _proven(host, {name: value[name] for name in _MEMBERS.split()})
    _require_listed(value["change_list"], entry, named)
    return named.to_json()


def require_same_notice(host: Host, value: Json, kept: Json) -> None:
    """Refuse an approval that does not prove that the notice of its proposal is in force still."""
    if kept is None:
        if value is not None:
            raise _malformed(NOTICE, "none is asked for")
        return
    if not isinstance(value, dict):
        raise _malformed(NOTICE, "not an object")
    require_members(value, "notice.", _MEMBERS)
    named = _proven(host, value)
    if named.to_json() != kept:
        raise _other(named.number, "not the notice of the proposal")


@dataclass(frozen=True, slots=True)
class ProvenNotice:
    """What counts of a notice's record. `permitted` is the first day of the cut-over, `old_until`
    the last day of the old format, None where the format stays.
    """

    named: NamedNotice
    status: Status
    kind: Kind
    working_days: int
    is_waived: bool
    permitted: date
    old_until: date | None


def read_notice(value: Json) -> ProvenNotice:
    """Read a record of the contract `notices`; raises `Refusal`: it is another chain's word, and of
    whichever release that runs.
    """
    match value:
        case {
            "number": int(number),
            "status": str(status),
            "kind": str(kind),
            "working_days": int(working_days),
            "waiver": str() | None as waiver,
            "planned": str(planned),
            "earliest": str(earliest),
            "old_until": str() | None as until,
            "documents": {"change_list": str(change_list)},
        }:
            try:
                return ProvenNotice(
                    NamedNotice(natural(number, "notice.notice.number"), change_list),
                    Status(status),
                    Kind(kind),
                    working_days,
                    waiver is not None,
                    max(map(date.fromisoformat, (planned, earliest))),
                    None if until is None else date.fromisoformat(until),
                )
            except ValueError as error:
                raise _malformed("notice.notice", str(error)[:200]) from None
    raise _malformed("notice.notice", "not a notice")


def _proven(host: Host, proof: Mapping[str, Json]) -> NamedNotice:
    regulator, chain = regulator_of(host), this_chain(host)
    assert regulator is not None, "a market was asked"
    notice = read_notice(proof["notice"])
    number = notice.named.number
    proven_value(
        system_host(host),
        regulator,
        proof,
        member="notice",
        key=f"{NOTICES}/{notice_key(chain, number)}",
        piece=f"notice {number} of {chain}",
        too_old="UPGRADE_NOTICE_OLD",
    )
    _require_in_force(host, notice)
    return notice.named


def _require_in_force(host: Host, notice: ProvenNotice) -> None:
    if notice.status not in IN_FORCE:
        raise Refusal("ILLEGAL_TRANSITION", state=notice.status.value, event="upgrade")
    least = working_days_of(Kind.INCOMPATIBLE, breaks=True)
    if not notice.is_waived and notice.working_days < least:
        why = f"{notice.kind.value}: {notice.working_days} working days"
        raise _other(notice.named.number, why)
    today, until = block_day(host), notice.old_until
    if today < notice.permitted:
        raise Refusal("UPGRADE_CUTOVER_EARLY", permitted=notice.permitted.isoformat())
    if notice.status is Status.SCHEDULED and until is not None and today > until:
        raise Refusal("UPGRADE_WINDOW_OVER", until=until.isoformat())


def _require_listed(value: Json, entry: Mapping[str, Json], named: NamedNotice) -> None:
    if not isinstance(value, str):
        raise _malformed("notice.change_list", "not the file as text")
    content = value.encode()
    if sm3(content).hex() != named.change_list:
        raise _other(named.number, "another change list")
    if dict(entry) not in read_change_list(content):
        raise _other(named.number, "its change list does not name this upgrade")


def read_change_list(content: bytes) -> list[Json]:
    """The upgrades that a change list names, none where it has no such member; raises `Refusal` for
    what is no JSON.
    """
    try:
        found = parse_json_strict(
            content, depth_max=CHANGE_LIST_DEPTH_MAX, size_max=CHANGE_LIST_BYTES_MAX
        )
    except JsonError as error:
        raise _malformed("notice.change_list", error.fault.value) from None
    listed = found.get("contracts") if isinstance(found, dict) else None
    return listed if isinstance(listed, list) else []


def _other(number: int, why: str) -> Refusal:
    return Refusal("UPGRADE_NOTICE_OTHER", number=number, why=why)


def _malformed(field: str, fault: str) -> Refusal:
    return Refusal("BODY_MALFORMED", field=field, fault=fault)
