"""A conformance report is signed whole: nothing of it can be changed, left out or put in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from guqiao_sdk.conformance.findings import OF_A_NODE, Check, Result
from guqiao_sdk.conformance.port import Bounds, Endpoint, Unreachable
from guqiao_sdk.conformance.report import Examiner, Report, encode_report, parse_report
from guqiao_sdk.conformance.suite import Examination, examine
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiao_sdk.proof.canonical import tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.quorum import PUBLIC_KEY_BYTES
from tests.unit.conformance.honest_node import KEYS, HonestNode, make_chain, subject_of

PROVIDER = open_provider()
KEY = PROVIDER.keygen()
DID = "did:rem:csrc:91100000MA0000000X"
EXAMINER = Examiner(
    did=f"{DID}.tech",
    key_id="k1",
    public_key=KEY.public_key,
    reader_did=f"{DID}.gateway",
    began_at="2026-01-05T09:30:00+08:00",
    ended_at="2026-01-05T09:31:00+08:00",
    software_version="1",
)
URLS = ("tlcp://10.3.0.1:8443", "tlcp://10.3.0.2:8443")

pytestmark = pytest.mark.req("G2-06-4", "T2-16")


async def examination(*, is_whole: bool = True) -> Examination:
    chain = make_chain()
    second = HonestNode(chain, 1) if is_whole else Unreachable("CONFORMANCE_LINK_FAILED", {})
    endpoints = [
        Endpoint(URLS[0], 0, "test", HonestNode(chain, 0)),
        Endpoint(URLS[1], 1, "test", second),
    ]
    return await examine(
        subject_of(chain, registration_digest="ab" * 32), endpoints, KEYS.verify, Bounds()
    )


def signed(made: Examination, key: PrivateKey = KEY) -> bytes:
    return encode_report(made, EXAMINER, lambda message: PROVIDER.sign(key, message))


def signed_anew(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The report after a change, signed as its issuer would have."""
    members = json.loads(data)
    change(members)
    del members["signature"]
    message = tagged("guqiao/conformance-report/1", canonical_json(members))
    return canonical_json({**members, "signature": PROVIDER.sign(KEY, message).hex()})


def read(data: bytes) -> Report:
    return parse_report(data, PROVIDER.verify)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_report_says_what_was_found_and_by_whom(is_whole: bool) -> None:
    made = await examination(is_whole=is_whole)
    report = parse_report(signed(made), PROVIDER.verify, KEY.public_key)
    assert report.passed is made.passed is is_whole
    assert report.findings == made.findings
    assert (report.examiner, report.chain_id) == (EXAMINER, "shandong")
    assert (report.registration_digest, report.common_height) == ("ab" * 32, 5)
    assert [each["url"] for each in report.endpoints] == list(URLS)
    assert [each["height"] for each in report.endpoints] == [5, 5 if is_whole else 0]


async def test_no_value_can_be_changed_under_the_signature() -> None:
    data = signed(await examination(is_whole=False))
    for name, value in json.loads(data).items():
        if name == "signature":
            continue
        changed = json.loads(data)
        changed[name] = not value if isinstance(value, bool) else [value]
        with pytest.raises(ProofError):
            read(canonical_json(changed))
    passed = json.loads(data)
    for each in passed["checks"]:
        each.update(result="PASSED", code="", facts={})
    with pytest.raises(ProofError, match="signature does not hold"):
        read(canonical_json({**passed, "passed": True}))


async def test_another_key_than_the_issuers_is_not_believed() -> None:
    data = signed(await examination(), PROVIDER.keygen())
    with pytest.raises(ProofError, match="signature does not hold"):
        read(data)
    other = b"\x04" + bytes(PUBLIC_KEY_BYTES - 1)
    with pytest.raises(ProofError, match="another key"):
        parse_report(signed(await examination()), PROVIDER.verify, other)


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("every check of every node", lambda members: members["checks"].pop()),
    ("every check of every node", lambda members: members["checks"].pop(3)),
    ("every check of every node", lambda members: members["checks"].append(members["checks"][0])),
    ("every check of every node", lambda members: members["endpoints"].pop()),
    ("another result", lambda members: members.update(passed=True)),
    ("has no result", lambda members: members["checks"][0].update(result="MAYBE")),
    ("has no result", lambda members: members["checks"][0].update(check=[])),
    ("not why it was not", lambda members: members["checks"][0].update(result="FAILED")),
    ("says why it was passed", lambda members: members["checks"][0].update(facts={"a": "b"})),
    ("exactly the members", lambda members: members.update(more=1)),
    ("exactly the members", lambda members: members["issuer"].pop("did")),
    ("its format", lambda members: members.update(suite="another")),
    ("integer", lambda members: members.update(common_height=-1)),
    ("form", lambda members: members.update(ended_at="yesterday")),
]


@pytest.mark.parametrize(("why", "change"), CHANGES)
async def test_a_report_of_another_form_is_none_though_it_is_signed(
    why: str, change: Callable[[dict[str, Any]], object]
) -> None:
    data = signed(await examination(is_whole=False))
    with pytest.raises(ProofError, match=why) as refused:
        read(signed_anew(data, change))
    assert refused.value.code == "CONFORMANCE_REPORT_INVALID"


async def test_a_report_is_written_in_one_way() -> None:
    data = signed(await examination())
    for other in (json.dumps(json.loads(data)).encode(), b"[]", b"", data[:-1], data + b"{}"):
        with pytest.raises(ProofError) as refused:
            read(other)
        assert refused.value.code == "CONFORMANCE_REPORT_INVALID"


async def test_what_was_not_checked_is_not_passed() -> None:
    made = await examination(is_whole=False)
    results = {each.check: each.result for each in made.findings if each.node == URLS[1]}
    assert results.pop(Check.LINK) is Result.FAILED
    assert set(results.values()) == {Result.NOT_CHECKED}
    assert len(results) == len(OF_A_NODE) - 1
    assert not read(signed(made)).passed
