"""`guqiao report` shows why an object was refused and what to do, and has two persons sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.receipt import Outcome
from guqiaoctl.commands import reports
from tests.unit.cli.running import Command, command_of

pytestmark = pytest.mark.req("N0-42")

OBJECT_ID = f"shandong:subject:{'ab' * 32}"
REFUSED = pb.Refusal(
    source_chain="shandong",
    packet_sequence=7,
    object_id=OBJECT_ID,
    version=0,
    code="SCHEMA_FAILED",
    detail=b'{"fault":"missing","field":"body.subject_layer"}',
    state="REFUSED",
)
UNREAD = pb.Refusal(packet_sequence=8, code="SOURCE_MISSING", detail=b"{}", state="ACCEPTED")


@dataclass
class Chain:
    """Takes down who submits what."""

    code: str = ""
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def submit(self, network: object, chain: str, call: Any, **who: Any) -> Any:
        self.calls.append((chain, *call, who))
        outcome = Outcome.REFUSED if self.code else Outcome.APPLIED
        detail: Mapping[str, Any] = {"state": "ACCEPTED", "event": "resubmit"}
        return TransactionResult(b"\xab" * 32, outcome, self.code, dict(detail), b"", 9, 0, b"")


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    found = Chain()
    monkeypatch.setattr(reports, "load_network", lambda data: None)
    monkeypatch.setattr(reports, "submit", found.submit)

    async def sent(network: object, sequence: int) -> bytes:
        return b'{"sent":%d}' % sequence

    monkeypatch.setattr(reports, "_sent_under", sent)
    return found


@pytest.fixture
def report(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    async def refused(network: object, domain: str, *, only_open: bool) -> list[pb.Refusal]:
        return [REFUSED] if only_open else [REFUSED, UNREAD]

    monkeypatch.setattr(reports, "_refused", refused)
    return command_of("report", monkeypatch, capsys)


@pytest.mark.parametrize(
    ("language", "remedy"),
    [("en", "Correct it as the cross-chain data specification says"), ("zh", "按跨链数据规范改正")],
)
def test_what_was_refused_is_shown_with_its_field_and_remedy(
    report: Command, language: str, remedy: str
) -> None:
    told = report("ls", language=language)
    text = told.out + told.err
    assert told.code == 0
    assert "body.subject_layer" in text
    assert OBJECT_ID in text
    assert remedy in text
    assert "SOURCE_MISSING" in text


def test_only_what_is_open_is_listed_if_asked(report: Command) -> None:
    rows = report("ls", "-o", "json").json["refused"]
    assert [(row["packet"], row["version"]) for row in rows] == [(7, 0), (8, None)]
    assert (rows[1]["object_id"], rows[1]["field"]) == (None, None)
    assert len(report("ls", "--open", "-o", "json").json["refused"]) == 1


def test_it_is_sent_again_by_maker_and_checker(report: Command, chain: Chain) -> None:
    assert report("resubmit", "7", "-o", "json").json == {
        "height": 9,
        "transaction": "ab" * 32,
    }
    body = {"sequence": 7, "payload": '{"sent":7}', "body": None}
    signers = {"maker": "maker", "checker": "checker"}
    assert chain.calls == [("shandong", "packets", "resubmit_object", body, signers)]


def test_it_is_sent_again_with_a_corrected_body(
    report: Command, chain: Chain, tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"subject": {"n": 2}}')
    assert report("resubmit", "7", "--body", str(file)).code == 0
    assert chain.calls[0][3]["body"] == {"subject": {"n": 2}}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1.5}'])
def test_a_body_that_is_none_is_refused(
    report: Command, chain: Chain, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "body.json"
    file.write_text(content)
    told = report("resubmit", "7", "--body", str(file))
    assert told.code == 2
    assert "REQUEST_MALFORMED" in told.err
    assert chain.calls == []


def test_what_was_taken_is_corrected_with_the_reason(
    report: Command, chain: Chain, tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"n": null}')
    line = ("amend", "3", "update", "--version", "1", "--remark", "typo", "--body", str(file))
    assert report(*line).code == 0
    assert report("amend", "3", "delete", "--version", "2", "--remark", "typo").code == 0
    update, deletion = (call[3] for call in chain.calls)
    assert update == {
        "sequence": 3,
        "operation": "update",
        "version": 1,
        "body": {"n": None},
        "remark": "typo",
    }
    assert (deletion["operation"], deletion["body"]) == ("delete", {})


def test_what_the_chain_refuses_is_told_with_its_code(report: Command, chain: Chain) -> None:
    chain.code = "ILLEGAL_TRANSITION"
    told = report("resubmit", "7")
    assert told.code != 0
    assert "ILLEGAL_TRANSITION" in told.err
