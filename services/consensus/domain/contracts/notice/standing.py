"""Where a notice is in its life (SM-3), and what each kind of it asks for.

What is not listed is ILLEGAL_TRANSITION. A draft, and one that is drafted anew after an objection,
is not on chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

NOTICES: Final = "notices"
NONE: Final = "NONE"
"""Where a notice is that nobody filed yet."""


class Kind(StrEnum):
    """What is upgraded."""

    INTERFACE = "INTERFACE"
    """Of an interface, and nobody who relies on it notices."""
    INCOMPATIBLE = "INCOMPATIBLE"
    """Of an interface or a contract that the regulatory side relies on."""
    MIGRATION = "MIGRATION"
    """Of the chain as a whole."""
    SECURITY_HOTFIX = "SECURITY_HOTFIX"
    """What closes a hole: it waits as long as what it changes, unless the CSRC waives that."""


class Status(StrEnum):
    """Where a notice is in its life."""

    NOTIFIED = "NOTIFIED"
    OBJECTED = "OBJECTED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    JOINT_TESTING = "JOINT_TESTING"
    TEST_FAILED = "TEST_FAILED"
    TEST_PASSED = "TEST_PASSED"
    SCHEDULED = "SCHEDULED"
    CUTOVER = "CUTOVER"
    ROLLED_BACK = "ROLLED_BACK"
    VERIFIED = "VERIFIED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"


_WORKING_DAYS: Final = {Kind.INTERFACE: 5, Kind.INCOMPATIBLE: 20, Kind.MIGRATION: 20}
DOCUMENTS: Final = {
    Kind.INTERFACE: ("change_list", "change_note", "rollback_plan"),
    Kind.INCOMPATIBLE: ("change_list", "explanation", "rollback_plan"),
    Kind.MIGRATION: ("change_list", "data_migration_plan", "rollback_plan", "upgrade_plan"),
    Kind.SECURITY_HOTFIX: ("change_list", "rollback_plan", "security_note"),
}
"""What comes with a notice, each by its SM3 digest."""

_OPEN: Final = (
    Status.NOTIFIED,
    Status.ACKNOWLEDGED,
    Status.JOINT_TESTING,
    Status.TEST_FAILED,
    Status.TEST_PASSED,
)
TRANSITIONS: Final[Mapping[str, Mapping[str, Status]]] = {
    "file": {NONE: Status.NOTIFIED},
    "refile": {Status.OBJECTED: Status.NOTIFIED},
    "ack": {Status.NOTIFIED: Status.ACKNOWLEDGED},
    "object": {Status.NOTIFIED: Status.OBJECTED},
    "replan": {each: each for each in _OPEN},
    "open_test": {
        Status.ACKNOWLEDGED: Status.JOINT_TESTING,
        Status.TEST_FAILED: Status.JOINT_TESTING,
        Status.ROLLED_BACK: Status.JOINT_TESTING,
    },
    "pass_test": {Status.JOINT_TESTING: Status.TEST_PASSED},
    "fail_test": {Status.JOINT_TESTING: Status.TEST_FAILED},
    "schedule": {
        Status.TEST_PASSED: Status.SCHEDULED,
        Status.SCHEDULED: Status.SCHEDULED,
    },
    "open_window": {Status.SCHEDULED: Status.SCHEDULED},
    "compare": {Status.SCHEDULED: Status.SCHEDULED},
    "waive": {each: each for each in (*_OPEN[1:], Status.SCHEDULED)},
    "review": {each: each for each in (Status.CUTOVER, Status.VERIFIED)},
    "cutover": {Status.SCHEDULED: Status.CUTOVER},
    "roll_back": {Status.CUTOVER: Status.ROLLED_BACK},
    "verify": {Status.CUTOVER: Status.VERIFIED},
    "close": {Status.VERIFIED: Status.CLOSED},
    "cancel": {each: Status.CANCELLED for each in (*_OPEN, Status.OBJECTED, Status.SCHEDULED)},
}
SETTLED: Final = frozenset({Status.CLOSED, Status.CANCELLED})
"""After which a chain may file its next notice."""


def working_days_of(kind: Kind, *, breaks: bool) -> int:
    """How many have to pass between a notice and its cut-over (requirements section 7)."""
    if kind is Kind.SECURITY_HOTFIX:
        kind = Kind.INCOMPATIBLE if breaks else Kind.INTERFACE
    return _WORKING_DAYS[kind]


def notice_key(chain: str, number: int) -> str:
    """The key of a notice in the namespace of `notices`."""
    return f"notice/{chain}/{number:020d}"


def head_key(chain: str) -> str:
    """The key of what is known of a chain: its latest notice, and the interface in force."""
    return f"head/{chain}"


def interface_key(chain: str, digest: str) -> str:
    """The key of a description that was adopted or that a notice brought."""
    return f"interface/{chain}/{digest}"
