"""Reports of conformance tests, which people pass on, and what a chain's events say of objects."""

from __future__ import annotations

from functools import cache
from typing import Final

from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.conformance.findings import BETWEEN, OF_A_NODE, Check, Finding, Result
from guqiao_sdk.conformance.port import Endpoint, Subject, Unreachable
from guqiao_sdk.conformance.report import Examiner, encode_report, parse_report
from guqiao_sdk.conformance.suite import Examination
from guqiao_sdk.proof.data_object import SENT, object_named
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import Event
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, or_malformed
from tests.unit.proof.proof_keys import FakeKeys, Replicas

URL: Final = "tlcp://10.3.0.1:8443"
DID: Final = "did:rem:csrc:91100000MA0000000X"
KEYS: Final = FakeKeys()


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    sent: Json = {"payload": {"header": {"content": {"object_id": "shandong:1", "version": 2}}}}
    return (
        Target(
            "conformance report", lambda data: parse_report(data, lambda *_: True), (ProofError,),
            [_report()], mutations.of_json,
        ),
        Target(
            "object that an event names",
            or_malformed(lambda data: object_named(Event(SENT, data))), MALFORMED,
            [canonical_json(sent)], mutations.of_json,
        ),
    )  # fmt: skip


@cache
def _report() -> bytes:
    """Of one node, in which every result occurs; short, for every check stands in it."""
    away = Unreachable("CONFORMANCE_LINK_FAILED", {"detail": "away"})
    trust = ChainTrust("shandong", bytes(32), Replicas(KEYS).set)
    findings = [Finding(check, URL, Result.PASSED) for check in OF_A_NODE[:-1]]
    needed = {"needed": Check.LINK.value}
    findings += [
        Finding(OF_A_NODE[-1], URL, Result.NOT_CHECKED, "CONFORMANCE_DEPENDS", needed),
        Finding(BETWEEN[0], "", Result.FAILED, "CONFORMANCE_ANSWER_WRONG", {"what": "x"}),
        *(Finding(check, "", Result.PASSED) for check in BETWEEN[1:]),
    ]
    made = Examination(
        subject=Subject(trust, "SM2-SM3-SM4", "ab" * 32),
        endpoints=(Endpoint(URL, 0, "test", away),),
        findings=tuple(findings),
        heights={URL: 5},
        common_height=5,
    )
    examiner = Examiner(
        did=f"{DID}.tech",
        key_id="k1",
        public_key=KEYS.public_key(DID),
        reader_did=f"{DID}.gateway",
        began_at="2026-01-05T09:30:00+08:00",
        ended_at="2026-01-05T09:31:00+08:00",
        software_version="1",
    )
    return encode_report(made, examiner, lambda message: KEYS.sign(DID, message))
