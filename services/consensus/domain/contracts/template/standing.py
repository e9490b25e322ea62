"""Where a version of a template is in its life, as the regulatory chain keeps it (SM-2).

It stands under a key of its own, small, so that another chain can be shown it with a proof: status
and digest say whether a contract may be run by this very template.

    templates/standing/<id>/<version>
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from guqiao_sdk.proof.json_values import Json

TEMPLATES: Final = "templates"


class Status(StrEnum):
    """Where a version of a template is in its life. A draft and its review are not on chain yet."""

    PUBLISHED = "PUBLISHED"
    DEFINED = "DEFINED"
    FILED = "FILED"
    FILING_ACCEPTED = "FILING_ACCEPTED"
    FILING_RETURNED = "FILING_RETURNED"
    SUPERSEDED = "SUPERSEDED"
    RETIRED = "RETIRED"
    WITHDRAWN = "WITHDRAWN"


NONE: Final = "NONE"
"""Where a version is that nobody wrote yet."""
IN_FORCE: Final = frozenset({Status.PUBLISHED, Status.FILING_ACCEPTED})
"""From where contracts are deployed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Status and digest (hex) of a template; under which number it was filed, and why it was given
    back or ended, where it was.
    """

    status: Status
    digest: str
    filing_number: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The record."""
        return {
            "status": self.status.value,
            "digest": self.digest,
            "filing_number": self.filing_number,
            "reason": self.reason,
        }

    @staticmethod
    def from_json(value: Json) -> Standing:
        """Read a record; raises `ValueError` for any other value."""
        match value:
            case {
                "status": str(status),
                "digest": str(digest),
                "filing_number": str() | None as number,
                "reason": str() | None as reason,
                **rest,
            } if not rest:
                return Standing(Status(status), digest, number, reason)
        raise ValueError("not the standing of a template")

    def moved(self, status: Status, *, reason: str | None = None) -> Standing:
        """The same version, one step on."""
        return replace(self, status=status, reason=reason)


def standing_key(identifier: str, version: int) -> str:
    """The key in the namespace of `templates`."""
    return f"standing/{identifier}/{version:020d}"
