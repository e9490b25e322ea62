"""confirm_holding: the holder proves its right, and the position may move from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register.checks import Check, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import open_operation, read_evidence
from services.consensus.domain.contracts.register.operations import target
from services.consensus.domain.contracts.register.operations.target import Target, find_target


def confirm_holding(host: Host, body: Mapping[str, Json]) -> None:
    """Set the position's confirmation."""
    operation = open_operation(host, "confirm_holding")
    members = Members(body)
    account, product_code = members.text("account"), members.text("product_code")
    nature, evidence = members.text("nature"), read_evidence(members)
    members.finish()
    found = find_target(
        operation, evidence, account=account, product_code=product_code, nature=nature
    )
    try_checks(_Case(found), CHECKS)
    assert found.position is not None
    changes = found.changes()
    changes.set_position(account, nature, replace(found.position, confirmed=True))
    detail: dict[str, Json] = {"account": account, "product_code": product_code, "nature": nature}
    found.finish(changes, detail)


@dataclass(frozen=True, slots=True)
class _Case:
    target: Target


CHECKS: Final[tuple[Check[_Case], ...]] = (
    ("EVIDENCE_MISSING", target.evidence_missing),
    ("PRODUCT_UNKNOWN", target.product_unknown),
    ("ACCOUNT_UNKNOWN", target.account_unknown),
    ("ACCOUNT_NOT_OPEN", target.account_not_open),
    ("HOLDING_UNKNOWN", lambda case: fails_if(case.target.position is None)),
    (
        "HOLDING_ALREADY_CONFIRMED",
        lambda case: fails_if(case.target.position is not None and case.target.position.confirmed),
    ),
)
