"""What an upgrade changes for others: of the contract's interface, and of its template.

Both are compared as they are (G2-14-4). A template says what no form shows: who may read a field,
who signs a step, what has to be announced. The chain knows the template in force by its digest, so
an upgrade to another one brings the former along.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.deployed import NamedTemplate
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.template.changes import changes
from services.consensus.domain.contracts.template.model import Template
from services.consensus.domain.contracts.template_checks import require_template

CHANGES_TOLD_MAX: Final = 32
REFUSAL_CHANGES_MAX: Final = 8
FORMER_TEMPLATE: Final = "former_template"


class Change(Protocol):
    """A difference of an interface or of a template."""

    @property
    def is_breaking(self) -> bool:
        """Whether who relies on the old version notices."""
        ...

    def to_json(self) -> dict[str, Json]:
        """For receipts and for tools."""
        ...


@dataclass(frozen=True, slots=True)
class Differences:
    """All changes of one kind, those that break first."""

    changes: Sequence[Change]

    @property
    def breaking(self) -> int:
        """How many break."""
        return sum(each.is_breaking for each in self.changes)

    def told(self) -> list[Json]:
        """The first of them, for the record."""
        return [each.to_json() for each in self.changes[:CHANGES_TOLD_MAX]]


def require_class(contract: str, differences: Differences, claimed: Json) -> None:
    """Refuse what breaks and was told as compatible."""
    if type(claimed) is not bool:
        raise Refusal("BODY_MALFORMED", field="compatible", fault="neither true nor false")
    if claimed and differences.breaking:
        raise Refusal(
            "UPGRADE_MISCLASSIFIED",
            contract=contract,
            breaking=differences.breaking,
            changes=differences.told()[:REFUSAL_CHANGES_MAX],
        )


def template_differences(
    before: NamedTemplate | None, former: Json, template: Template, formats: Collection[str]
) -> Differences:
    """What differs between the template that a contract runs by and the one of its next version;
    raises `Refusal`. `former` is the first of both, null where they are the same, or where the
    contract has none yet.
    """
    if before is None or before.digest == template.digest.hex():
        if former is not None:
            raise _malformed("the template does not change")
        return Differences(())
    if former is None:
        raise _malformed(f"missing: {before.id}@{before.version}")
    found = require_template(former, formats)
    if found.digest.hex() != before.digest:
        raise _malformed(f"not {before.id}@{before.version}, by which the contract runs")
    return Differences(changes(found, template))


def _malformed(fault: str) -> Refusal:
    return Refusal("BODY_MALFORMED", field=FORMER_TEMPLATE, fault=fault)
