"""The report of an examination: canonical JSON, signed with SM2 by whoever examined.

It names every check of every node, so that one with a check left out is no report. The signature
covers every value; whoever reads it decides by the issuer's key whom he believes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.conformance.findings import (
    BETWEEN,
    OF_A_NODE,
    Check,
    Finding,
    Result,
)
from guqiao_sdk.conformance.suite import Examination
from guqiao_sdk.proof.canonical import tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import SIGNATURE_BYTES, Verify
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.proof.quorum import PUBLIC_KEY_BYTES

FORMAT: Final = "guqiao-conformance/1"
SUITE: Final = "JR/T 0314 node RPC/1"
"""The list of checks and its version."""
REPORT_BYTES_MAX: Final = 512 * 1024
ENDPOINTS_MAX: Final = 16
CHECKS_MAX: Final = len(OF_A_NODE) * ENDPOINTS_MAX + len(BETWEEN)
FACTS_MAX: Final = 8
TEXT_LENGTH_MAX: Final = 512
_PIECE: Final = "conformance report"
_CODE: Final = "CONFORMANCE_REPORT_INVALID"
_DEPTH_MAX: Final = 6
_CODE_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_NAME: Final = re.compile(r"[a-z_]{1,32}")
_DID: Final = re.compile(r"did:rem:[a-z]{2,20}:[A-Za-z0-9._-]{1,64}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00")


@dataclass(frozen=True, slots=True)
class Examiner:
    """Who examined and signs, as whom the nodes were read, when (RFC 3339, seconds, +08:00), and
    with which version of this software.
    """

    did: str
    key_id: str
    public_key: bytes
    reader_did: str
    began_at: str
    ended_at: str
    software_version: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report whose signature holds."""

    examiner: Examiner
    chain_id: str
    genesis_hash: bytes
    registration_digest: str
    common_height: int
    endpoints: tuple[Mapping[str, Json], ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every check was passed."""
        return all(each.result is Result.PASSED for each in self.findings)


def encode_report(
    examination: Examination, examiner: Examiner, sign: Callable[[bytes], bytes]
) -> bytes:
    """The signed report; `sign` is the examiner's key."""
    subject = examination.subject
    members: dict[str, Json] = {
        "format": FORMAT,
        "suite": SUITE,
        "chain_id": subject.trust.chain_id,
        "genesis_hash": subject.trust.genesis_hash.hex(),
        "registration_digest": subject.registration_digest,
        "common_height": examination.common_height,
        "endpoints": [
            {
                "url": each.url,
                "replica": each.replica,
                "transport": each.transport,
                "height": examination.heights.get(each.url, 0),
            }
            for each in examination.endpoints
        ],
        "checks": [_finding_to_json(each) for each in examination.findings],
        "passed": examination.passed,
        "began_at": examiner.began_at,
        "ended_at": examiner.ended_at,
        "software_version": examiner.software_version,
        "reader": examiner.reader_did,
        "issuer": {
            "did": examiner.did,
            "key_id": examiner.key_id,
            "public_key": examiner.public_key.hex(),
        },
    }
    return canonical_json({**members, "signature": sign(_sign_bytes(members)).hex()})


def parse_report(data: bytes, verify: Verify, issuer_key: bytes | None = None) -> Report:
    """Read a report strictly and check its signature, or raise `ProofError`.

    With `issuer_key` it must be signed with that key. Without it the report vouches for itself:
    whoever reads it should be shown the issuer.
    """
    members = _parse(data)
    issuer = _READ.members(members["issuer"], "issuer", "did key_id public_key")
    key = _READ.hex(issuer["public_key"], "issuer.public_key", PUBLIC_KEY_BYTES)
    if issuer_key is not None and key != issuer_key:
        raise _refusal("it is signed with another key than the issuer's")
    unsigned = {name: value for name, value in members.items() if name != "signature"}
    signature = _READ.hex(members["signature"], "signature", SIGNATURE_BYTES)
    if not verify(key, _sign_bytes(unsigned), signature):
        raise _refusal("the issuer's signature does not hold")
    registration = members["registration_digest"]
    endpoints = tuple(
        _endpoint(each, f"endpoints[{at}]")
        for at, each in enumerate(_READ.array(members["endpoints"], "endpoints", ENDPOINTS_MAX))
    )
    report = Report(
        examiner=Examiner(
            did=_READ.match(_DID, issuer["did"], "issuer.did"),
            key_id=_text(issuer["key_id"], "issuer.key_id"),
            public_key=key,
            reader_did=_READ.match(_DID, members["reader"], "reader"),
            began_at=_READ.match(_TIME, members["began_at"], "began_at"),
            ended_at=_READ.match(_TIME, members["ended_at"], "ended_at"),
            software_version=_text(members["software_version"], "software_version"),
        ),
        chain_id=_text(members["chain_id"], "chain_id"),
        genesis_hash=_READ.hex(members["genesis_hash"], "genesis_hash", 32),
        registration_digest=""
        if registration == ""
        else _READ.hex(registration, "registration_digest", 32).hex(),
        common_height=_READ.natural(members["common_height"], "common_height"),
        endpoints=endpoints,
        findings=_findings(members["checks"], [str(each["url"]) for each in endpoints]),
    )
    if members["passed"] is not report.passed:
        raise _refusal("it says of itself another result than its checks have")
    return report


def _parse(data: bytes) -> Mapping[str, Json]:
    try:
        value = parse_json_strict(data, depth_max=_DEPTH_MAX, size_max=REPORT_BYTES_MAX)
    except JsonError as error:
        raise _refusal(f"not strict JSON: {error}") from error
    wanted = (
        "format suite chain_id genesis_hash registration_digest common_height endpoints checks "
        "passed began_at ended_at software_version reader issuer signature"
    )
    members = _READ.members(value, "the file", wanted)
    _READ.array(
        members["checks"], "checks", CHECKS_MAX
    )  # Before anything is done with all of them.
    if (members["format"], members["suite"]) != (FORMAT, SUITE):
        raise _refusal(f"its format is not {FORMAT}")
    if canonical_json(dict(members)) != data:
        raise _refusal("it is not written as canonical JSON")
    return members


def _findings(value: Json, urls: list[str]) -> tuple[Finding, ...]:
    """Every check of every node, in order, and those between nodes: none more, none less."""
    due = [(url, check) for url in urls for check in OF_A_NODE] + [("", each) for each in BETWEEN]
    rows = _READ.array(value, "checks", CHECKS_MAX)
    found = tuple(_finding(each, f"checks[{at}]") for at, each in enumerate(rows))
    if [(each.node, each.check) for each in found] != due:
        raise _refusal("it does not have every check of every node, each once")
    return found


def _finding(value: Json, name: str) -> Finding:
    members = _READ.members(value, name, "check node result code facts")
    check, result = members["check"], members["result"]
    if check not in list(Check) or result not in list(Result):
        raise _refusal(f"{name} is no check or has no result")
    facts = members["facts"]
    if not isinstance(facts, dict) or len(facts) > FACTS_MAX:
        raise _refusal(f"{name}.facts is not an object of {FACTS_MAX} members at most")
    is_passed = result == Result.PASSED
    if is_passed != (members["code"] == "") or (is_passed and facts):
        raise _refusal(f"{name} says why it was passed, or not why it was not")
    return Finding(
        check=Check(str(check)),
        node=_text(members["node"], f"{name}.node") if members["node"] else "",
        result=Result(str(result)),
        code="" if is_passed else _READ.match(_CODE_NAME, members["code"], f"{name}.code"),
        facts={
            _READ.match(_NAME, key, f"{name}.facts"): _text(each, f"{name}.facts.{key}", 0)
            for key, each in facts.items()
        },
    )


def _finding_to_json(finding: Finding) -> Json:
    return {
        "check": finding.check.value,
        "node": finding.node,
        "result": finding.result.value,
        "code": finding.code,
        "facts": dict[str, Json](finding.facts),
    }


def _endpoint(value: Json, name: str) -> Mapping[str, Json]:
    members = _READ.members(value, name, "url replica transport height")
    _text(members["url"], f"{name}.url")
    _text(members["transport"], f"{name}.transport")
    if members["replica"] is not None:
        _READ.natural(members["replica"], f"{name}.replica")
    _READ.natural(members["height"], f"{name}.height")
    return members


def _sign_bytes(members: Mapping[str, Json]) -> bytes:
    return tagged("guqiao/conformance-report/1", canonical_json(dict(members)))


def _text(value: Json, name: str, least: int = 1) -> str:
    if not isinstance(value, str) or not least <= len(value) <= TEXT_LENGTH_MAX:
        raise _refusal(f"{name} is not a text of {least} to {TEXT_LENGTH_MAX} characters")
    return value


def _refusal(detail: str) -> ProofError:
    return ProofError(_PIECE, detail, _CODE)


_READ: Final = MemberReader(_refusal)
