"""register_company: a company of the catalogue enters the market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import data_objects, state
from services.consensus.domain.contracts.register.checks import (
    Check,
    Facts,
    evidence_missing,
    fails_if,
    try_checks,
    uscc_invalid,
)
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import Company, text


def register_company(host: Host, body: Mapping[str, Json]) -> None:
    """Register the company of a row."""
    operation = open_operation(host, "register_company")
    members = Members(body)
    company_ref, evidence = members.text("company_ref"), read_evidence(members)
    members.finish()
    row = state.find_row(host, "company_row", company_ref)
    try_checks(_Case(operation, evidence, company_ref, row), CHECKS)
    assert row is not None
    company = Company(
        company_ref=company_ref,
        uscc=text(row["uscc"]),
        form=text(row["form"]),
        object_id=data_objects.object_id(operation, "subject"),
    )
    state.put_company(host, company)
    host.emit("register.company_registered", {**row, "time": operation.time})
    described = data_objects.subject(row, operation, evidence)
    data_objects.send(operation, "subject", {"subject_information": described})


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    company_ref: str
    row: dict[str, Json] | None

    def member(self, name: str) -> str:
        assert self.row is not None
        return text(self.row[name])


def _out_of_province(case: _Case) -> Facts | None:
    region, market = case.member("region"), case.operation.market
    outside = not region.startswith(market.region_prefix)
    excluded = any(region.startswith(prefix) for prefix in market.excluded_region_prefixes)
    return fails_if(outside or excluded, region=region, region_prefix=market.region_prefix)


def _duplicate(case: _Case) -> Facts | None:
    uscc = case.member("uscc")
    return fails_if(state.is_uscc_registered(case.operation.host, uscc), uscc=uscc)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    (
        "EVIDENCE_MISSING",
        lambda case: evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    ("COMPANY_UNKNOWN", lambda case: fails_if(case.row is None, company_ref=case.company_ref)),
    ("USCC_INVALID", lambda case: uscc_invalid(case.member("uscc"))),
    ("ISSUER_OUT_OF_PROVINCE", _out_of_province),
    ("COMPANY_DUPLICATE", _duplicate),
)
