"""Upgrade notices of the markets' chains on the regulatory chain, and their life cycle (SM-3).

An operator tells of an upgrade with its documents; the working days between notice and cut-over are
counted from the block time of the notice by the calendar of this chain (G2-14-3). Whether it breaks
is seen in the interface that is in force here and the one that the notice brings (G2-14-4). The
technical side of the CSRC has to pass the joint test; the cut-over is taken from the permitted day
on, and puts the new format of data objects in force (`notice/formats.py`).

    head/<chain>                 operator, latest notice, the interface in force
    notice/<chain>/<number>      a notice, and where it is in its life
    interface/<chain>/<digest>   a description, for ever
    window/<chain>               the window of a migration that is open (version 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.calendar import block_day
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.light_client_registration import known_trust
from services.consensus.domain.contracts.notice import formats
from services.consensus.domain.contracts.notice.form import (
    FIGURES,
    FILING,
    day,
    digest_of,
    read_figures,
    read_filing,
    read_reference,
)
from services.consensus.domain.contracts.notice.interface import read_interface
from services.consensus.domain.contracts.notice.records import (
    earliest_of,
    head_of,
    in_force,
    interface_of,
    move,
    named,
    old_until_of,
    own,
    own_head,
    plan,
    record_of,
    take_down,
)
from services.consensus.domain.contracts.notice.standing import (
    NOTICES,
    SETTLED,
    Kind,
    head_key,
    interface_key,
    working_days_of,
)
from services.consensus.domain.contracts.notice.switch import (
    received_of,
    require_continuity,
    require_new_object,
)
from services.consensus.domain.contracts.notice.window import (
    call_off,
    close_after,
    open_for,
    require_open,
)
from services.consensus.domain.contracts.packets_host import (
    require_members,
    require_role,
    rows,
    system_host,
    text,
)
from services.consensus.domain.contracts.signers import require_csrc, require_operator

NAME: Final = NOTICES
REASON_LENGTH_MAX: Final = 500
WORKING_DAYS_ASKED_MAX: Final = 250
REFERENCES_MAX: Final = 16
WINDOWS_FROM: Final = 2
"""The version that migrates within windows."""

DESCRIBED_FROM: Final = 3
"""The version that keeps with an ended format the interface that was in force with it last."""


@dataclass(frozen=True, slots=True)
class NoticesContract:
    """`notices`. Version 2 migrates a chain within a window that its notice opened, and only
    there; the register of chains says so meanwhile. Version 3 keeps what describes a format that
    ends, by which its last objects are judged.
    """

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """For the CSRC and for operators."""
        windows = self.version >= WINDOWS_FROM
        methods: dict[str, Method] = {
            "adopt": adopt,
            "file": file,
            "refile": refile,
            "ack": ack,
            "object": object_to,
            "replan": replan,
            "open_test": open_test,
            "pass_test": pass_test,
            "fail_test": fail_test,
            "schedule": partial(schedule, windows=windows),
            "compare": partial(compare, windows=windows),
            "waive": waive,
            "review": review,
            "cutover": partial(
                cutover, windows=windows, keeps_interface=self.version >= DESCRIBED_FROM
            ),
            "roll_back": roll_back,
            "verify": verify,
            "close": close,
            "cancel": partial(cancel, windows=windows),
        }
        return methods | {"open_window": open_window} if windows else methods


def adopt(host: Host, body: Mapping[str, Json]) -> None:
    """Take down the interface that a chain has when its notices begin, and who operates it. Until
    the first notice it may be done anew.
    """
    require_csrc(host)
    require_members(body, "", "chain operator interface")
    chain = text(body["chain"], "chain")
    operator = text(body["operator"], "operator", 128)
    interface = read_interface(body["interface"])
    _require_trusted(host, chain)
    head = host.get(head_key(chain))
    if head is not None:
        assert isinstance(head, dict), "the contract wrote it"
        if head["latest"]:
            raise Refusal("ILLEGAL_TRANSITION", state="ADOPTED", event="adopt")
        formats.forget(host, chain, str(head["model_version"]))
    facts = in_force(interface)
    host.put(head_key(chain), {"operator": operator, "latest": 0, **facts})
    host.put(interface_key(chain, interface.digest.hex()), interface.to_json())
    formats.permit(host, chain, interface)
    host.emit("notice.interface_adopted", {"chain": chain, "operator": operator, **facts})


def file(host: Host, body: Mapping[str, Json]) -> None:
    """Tell of an upgrade; the working days are counted from here."""
    require_operator(host)
    require_members(body, "", f"chain {FILING}")
    chain = text(body["chain"], "chain")
    head = own_head(host, chain)
    filing = read_filing(body)
    latest = head["latest"]
    if latest and record_of(host, chain, latest)["status"] not in SETTLED:
        raise Refusal("UPGRADE_NOTICE_OPEN", chain=chain, number=latest)
    host.put(head_key(chain), {**head, "latest": latest + 1})
    take_down(host, chain, latest + 1, head, filing, host.block_time_ms())


def refile(host: Host, body: Mapping[str, Json]) -> None:
    """File a notice anew after an objection. The days are counted anew where what it says changes,
    or where its date moves forward.
    """
    require_operator(host)
    record = own(host, body, "refile", *FILING.split())
    filing = read_filing(body)
    chain = record["chain"]
    is_same = (
        record["kind"] == filing.kind
        and record["documents"] == dict(filing.documents)
        and record["new"] == filing.interface.digest.hex()
        and filing.planned >= date.fromisoformat(record["planned"])
    )
    since = record["noticed_ms"] if is_same else host.block_time_ms()
    take_down(host, chain, record["number"], own_head(host, chain), filing, since)


def ack(host: Host, body: Mapping[str, Json]) -> None:
    """Acknowledge a notice; `working_days` may ask for more of them than its kind needs."""
    require_csrc(host)
    record = named(host, body, "ack", "working_days")
    least = working_days_of(Kind(record["kind"]), breaks=not record["compatible"])
    asked = body["working_days"]
    if asked is None:
        asked = least
    if type(asked) is not int or not least <= asked <= WORKING_DAYS_ASKED_MAX:
        fault = f"not an integer from {least} to {WORKING_DAYS_ASKED_MAX}"
        raise Refusal("BODY_MALFORMED", field="working_days", fault=fault)
    record["working_days"] = asked
    record["earliest"] = earliest_of(host, record).isoformat()
    told = {name: record[name] for name in ("working_days", "earliest")}
    move(host, record, "ack", "notice.acknowledged", **told)


def object_to(host: Host, body: Mapping[str, Json]) -> None:
    """Object to a notice, with the reason."""
    require_csrc(host)
    record = named(host, body, "object", "reason")
    record["reason"] = text(body["reason"], "reason", REASON_LENGTH_MAX)
    move(host, record, "object", "notice.objected", reason=record["reason"])


def replan(host: Host, body: Mapping[str, Json]) -> None:
    """Plan the cut-over for another day, which the working days have to allow."""
    require_operator(host)
    record = own(host, body, "replan", "planned")
    plan(host, record, day(body["planned"], "planned"))
    move(host, record, "replan", "notice.replanned", planned=record["planned"])


def open_test(host: Host, body: Mapping[str, Json]) -> None:
    """Open the window of the joint test."""
    require_role(host, roles.CSRC_TECH)
    record = named(host, body, "open_test")
    record["test_report"] = None
    move(host, record, "open_test", "notice.test_opened")


def pass_test(host: Host, body: Mapping[str, Json]) -> None:
    """Say that the joint test was passed, with the digest of its report."""
    _report(host, body, "pass_test", "notice.test_passed")


def fail_test(host: Host, body: Mapping[str, Json]) -> None:
    """Say that it was not."""
    _report(host, body, "fail_test", "notice.test_failed")


def schedule(host: Host, body: Mapping[str, Json], *, windows: bool) -> None:
    """Fix the day of the cut-over, and the last day of the old format where the format changes. A
    window that is open closes: the migration is put off.
    """
    require_operator(host)
    record = own(host, body, "schedule", "planned", "old_until")
    planned = day(body["planned"], "planned")
    plan(host, record, planned)
    record["old_until"] = old_until_of(record, body["old_until"], planned)
    record["continuity"] = None
    if windows:
        call_off(host, record)
    told = {name: record[name] for name in ("planned", "old_until")}
    move(host, record, "schedule", "notice.scheduled", **told)


def open_window(host: Host, body: Mapping[str, Json]) -> None:
    """Begin a migration as the operator: from the permitted day on, until the old format's last.
    `target` names another chain of the operator that takes over, or is null.
    """
    require_operator(host)
    record = own(host, body, "open_window", "target")
    target = None if body["target"] is None else text(body["target"], "target")
    if record["kind"] != Kind.MIGRATION:
        raise Refusal("ILLEGAL_TRANSITION", state=record["kind"], event="open_window")
    _permitted(host, record)
    record["continuity"] = None
    open_for(host, record, target)
    move(host, record, "open_window", "notice.window_opened", target=target)


def compare(host: Host, body: Mapping[str, Json], *, windows: bool) -> None:
    """Take down that a migration brought all data along, as the technical side of the CSRC found
    it on the chain before and on the one after; figures that differ are refused.
    """
    require_role(host, roles.CSRC_TECH)
    record = named(host, body, "compare", "before", "after")
    if record["kind"] != Kind.MIGRATION:
        raise Refusal("ILLEGAL_TRANSITION", state=record["kind"], event="compare")
    if windows:
        require_open(host, record)
    before, after = (read_figures(body[name], name) for name in ("before", "after"))
    odd = [name for name in FIGURES if before[name] != after[name]]
    if odd:
        first = odd[0]
        raise Refusal(
            "UPGRADE_DATA_DIFFERS", figure=first, before=before[first], after=after[first]
        )
    received = received_of(host, record["chain"])
    record["continuity"] = {**before, "received": received, "author": host.sender().did}
    move(host, record, "compare", "notice.data_compared", **before, received=received)


def cutover(host: Host, body: Mapping[str, Json], *, windows: bool, keeps_interface: bool) -> None:
    """Switch: from the permitted day on, after the joint test; in a migration with all data, within
    its window, which closes.
    """
    require_operator(host)
    record = own(host, body, "cutover")
    chain, old_until = record["chain"], record["old_until"]
    permitted = _permitted(host, record)
    if record["kind"] == Kind.MIGRATION:
        if windows:
            require_open(host, record)
        require_continuity(host, record)
        if windows:
            close_after(host, record)
    record["cutover_height"] = host.height()
    old = interface_of(host, chain, record["old"])
    new = interface_of(host, chain, record["new"])
    host.put(head_key(chain), {**head_of(host, chain), **in_force(new)})
    if old_until is not None:
        formats.end(host, chain, old, old_until, keeps_interface=keeps_interface)
        formats.permit(host, chain, new)
    told = {"permitted": permitted.isoformat(), "model_version": new.model_version}
    move(host, record, "cutover", "notice.cut_over", **told, old_until=old_until)


def roll_back(host: Host, body: Mapping[str, Json]) -> None:
    """Go back to the interface and format before, with the reason."""
    require_operator(host)
    record = own(host, body, "roll_back", "reason")
    chain = record["chain"]
    record["reason"] = text(body["reason"], "reason", REASON_LENGTH_MAX)
    old = interface_of(host, chain, record["old"])
    new = interface_of(host, chain, record["new"])
    host.put(head_key(chain), {**head_of(host, chain), **in_force(old)})
    if record["old_until"] is not None:
        formats.restore(host, chain, old=old.model_version, new=new.model_version)
    record |= {"old_until": None, "continuity": None, "cutover_height": None}
    move(host, record, "roll_back", "notice.rolled_back", reason=record["reason"])


def verify(host: Host, body: Mapping[str, Json]) -> None:
    """Name objects that arrived since the cut-over in the new format, and were found good."""
    require_role(host, roles.CSRC_TECH)
    record = named(host, body, "verify", "objects")
    references = rows(body["objects"], "objects", "object_id version", REFERENCES_MAX)
    if not references:
        raise Refusal("BODY_MALFORMED", field="objects", fault="none")
    version = interface_of(host, record["chain"], record["new"]).model_version
    for index, row in enumerate(references):
        object_id, number = read_reference(row, f"objects[{index}]")
        require_new_object(host, record, f"{object_id}/{number}", version)
    move(host, record, "verify", "notice.verified", objects=[dict(each) for each in references])


def waive(host: Host, body: Mapping[str, Json]) -> None:
    """Waive the working days of a security hotfix in an emergency, with the reason. The joint test
    stays, and what was waived is reviewed before the notice is closed.
    """
    require_csrc(host)
    record = named(host, body, "waive", "reason")
    if record["kind"] != Kind.SECURITY_HOTFIX or record["waiver"] is not None:
        state = "WAIVED" if record["waiver"] is not None else record["kind"]
        raise Refusal("ILLEGAL_TRANSITION", state=state, event="waive")
    record["waiver"] = text(body["reason"], "reason", REASON_LENGTH_MAX)
    record["earliest"] = earliest_of(host, record).isoformat()
    move(host, record, "waive", "notice.lead_waived", reason=record["waiver"])


def review(host: Host, body: Mapping[str, Json]) -> None:
    """Say that what was waived was reviewed, with the digest of the report."""
    require_csrc(host)
    record = named(host, body, "review", "report")
    if record["waiver"] is None:
        raise Refusal("ILLEGAL_TRANSITION", state="NOT_WAIVED", event="review")
    record["review"] = digest_of(body["report"], "report")
    move(host, record, "review", "notice.waiver_reviewed", report=record["review"])


def close(host: Host, body: Mapping[str, Json]) -> None:
    """End a notice for good; one whose working days were waived after that was reviewed."""
    require_csrc(host)
    record = named(host, body, "close")
    if record["waiver"] is not None and record["review"] is None:
        raise Refusal("UPGRADE_WAIVER_UNREVIEWED", chain=record["chain"], number=record["number"])
    move(host, record, "close", "notice.closed")


def cancel(host: Host, body: Mapping[str, Json], *, windows: bool) -> None:
    """Call an upgrade off before its cut-over, with the reason; a window that is open closes."""
    require_operator(host)
    record = own(host, body, "cancel", "reason")
    record["reason"] = text(body["reason"], "reason", REASON_LENGTH_MAX)
    if windows:
        call_off(host, record)
    move(host, record, "cancel", "notice.cancelled", reason=record["reason"])


def _permitted(host: Host, record: Mapping[str, Any]) -> date:
    """The first day of the switch; refuses a block before it, and one after the last day."""
    permitted = max(date.fromisoformat(record["planned"]), earliest_of(host, record))
    if block_day(host) < permitted:
        raise Refusal("UPGRADE_CUTOVER_EARLY", permitted=permitted.isoformat())
    old_until = record["old_until"]
    if old_until is not None and block_day(host) > date.fromisoformat(old_until):
        raise Refusal("UPGRADE_WINDOW_OVER", until=old_until)
    return permitted


def _report(host: Host, body: Mapping[str, Json], step: str, topic: str) -> None:
    require_role(host, roles.CSRC_TECH)
    record = named(host, body, step, "report")
    record["test_report"] = digest_of(body["report"], "report")
    move(host, record, step, topic, report=record["test_report"])


# --- Who -----------------------------------------------------------------------------------------


def _require_trusted(host: Host, chain: str) -> None:
    """Refuse a chain that this one does not follow."""
    if known_trust(system_host(host), chain) is None:
        raise Refusal("CLIENT_UNKNOWN", chain=chain)
