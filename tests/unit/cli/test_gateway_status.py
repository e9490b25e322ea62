"""`guqiao gateway status` shows when revocation lists end, and what to do before they do. Of each
observed chain it shows how far it is recorded, and what its nodes were found to be.
"""

from __future__ import annotations

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiaoctl.commands import gateways
from tests.unit.cli.running import Command, command_of

pytestmark = pytest.mark.req("G2-19-5")

ENDS_MS = 1_756_000_000_000


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("gateway", monkeypatch, capsys)


def shows(monkeypatch: pytest.MonkeyPatch, *, ends_soon: bool) -> None:
    listed = pb.PublishedRevocationList(
        authority="ab" * 32, number="7", next_update_ms=ENDS_MS, ends_soon=ends_soon
    )
    link = pb.GetLinkResponse(sent=3, revocation_lists=[listed])
    answers = link, pb.ListObservedChainsResponse()
    monkeypatch.setattr(gateways, "_asked", lambda data, domain, ask: answers)


def test_a_list_that_ends_soon_is_shown_with_its_remedy(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(monkeypatch, ends_soon=True)
    english = gateway("status", "--domain", "csrc")
    chinese = gateway("status", "--domain", "csrc", language="zh")
    assert (english.code, "2025-08-24" in english.out) == (0, True)
    for told in (english, chinese):
        text = told.out + told.err
        assert "CRL_ENDS_SOON" in text
        assert "guqiao chain publish-crl --from" in text
    assert "吊销列表" in chinese.out
    told_json = gateway("status", "--domain", "csrc", "-o", "json").json
    assert told_json["sent"] == 3
    [listed] = told_json["revocation_lists"]
    assert (listed["authority"], listed["ends_soon"]) == ("ab" * 32, True)


def test_a_list_with_time_left_asks_for_nothing(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(monkeypatch, ends_soon=False)
    told = gateway("status", "--domain", "csrc")
    assert "ab" * 32 in told.out
    assert "CRL_ENDS_SOON" not in told.out + told.err


@pytest.mark.req("T2-14", "G2-07-3")
def test_observed_chains_are_shown_with_each_of_their_nodes(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = pb.ObservedNode(
        name="10.0.0.2:20200", state=pb.OBSERVED_NODE_STATE_DIVERGES, height=9, detail="no\x1b[2J"
    )
    chain = pb.ObservedChain(
        chain_id="zhejiang",
        status="FROZEN",
        generation=1,
        height=7,
        header_hash=b"\x07" * 32,
        recorded_height=40,
        last_error="follow: CLIENT_FROZEN",
        nodes=[node],
    )
    answers = pb.GetLinkResponse(), pb.ListObservedChainsResponse(chains=[chain])
    monkeypatch.setattr(gateways, "_asked", lambda data, domain, ask: answers)
    told = gateway("status", "--domain", "csrc")
    for text in ("zhejiang", "FROZEN", "CLIENT_FROZEN", "10.0.0.2:20200", "diverges", "07" * 32):
        assert text in told.out
    assert "\x1b" not in told.out, "what a node says moves no cursor"
    assert "被观察链" in gateway("status", "--domain", "csrc", language="zh").out
    [shown] = gateway("status", "--domain", "csrc", "-o", "json").json["observed"]
    assert (shown["height"], shown["recorded_height"], shown["header_hash"]) == (7, 40, "07" * 32)
    assert shown["nodes"] == [
        {"name": "10.0.0.2:20200", "state": "diverges", "height": 9, "detail": "no\x1b[2J"}
    ]
