"""`guqiao gateway status` shows when revocation lists end and how old the light client is, and what
to do about either. Of each observed chain it shows how far it is recorded, and what its nodes were
found to be.
"""

from __future__ import annotations

from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiaoctl.commands import gateways
from tests.unit.cli.running import Command, command_of

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


@pytest.mark.req("G2-19-5")
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


@pytest.mark.req("G2-19-5")
def test_a_list_with_time_left_asks_for_nothing(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(monkeypatch, ends_soon=False)
    told = gateway("status", "--domain", "csrc")
    assert "ab" * 32 in told.out
    assert "CRL_ENDS_SOON" not in told.out + told.err


def holds(monkeypatch: pytest.MonkeyPatch, **held: Any) -> None:
    link = pb.GetLinkResponse(light_client=pb.FollowedClient(period_seconds=1_209_600, **held))
    answers = link, pb.ListObservedChainsResponse()
    monkeypatch.setattr(gateways, "_asked", lambda data, domain, ask: answers)


@pytest.mark.req("G2-16-4", "G2-10-3")
@pytest.mark.parametrize(
    ("code", "remedy", "remedy_zh"),
    [
        ("CLIENT_AGES", "Headers then come by themselves", "区块头自动更新"),
        ("CLIENT_STALE", "compare the height", "核对"),
        ("CLIENT_FROZEN", "replace it together", "共同更换"),
    ],
)
def test_a_light_client_that_people_must_look_at_is_shown_with_its_remedy(
    gateway: Command, monkeypatch: pytest.MonkeyPatch, code: str, remedy: str, remedy_zh: str
) -> None:
    digest, block = b"\xab" * 32, {"height": 7, "block_time_ms": ENDS_MS}
    holds(monkeypatch, header_hash=digest, age_seconds=700_000, code=code, **block)
    english = gateway("status", "--domain", "csrc")
    chinese = gateway("status", "--domain", "shandong", language="zh")
    assert "height 7 of 2025-08-24T01:46:40.000+00:00, age 700000 s of a" in english.out
    assert "period of 1209600 s" in english.out
    assert "高度 7（2025-08-24T01:46:40.000+00:00），已 700000 秒，信任期 1209600 秒" in chinese.out
    assert f"header {digest.hex()}" in english.out
    assert f"区块头 {digest.hex()}" in chinese.out
    for told, words in ((english, remedy), (chinese, remedy_zh)):
        assert code in told.out + told.err
        assert words in told.out + told.err
    assert gateway("status", "--domain", "csrc", "-o", "json").json["light_client"] == {
        "height": 7,
        "header_hash": digest.hex(),
        "block_time": "2025-08-24T01:46:40.000+00:00",
        "age_seconds": 700_000,
        "period_seconds": 1_209_600,
        "code": code,
    }


def test_a_young_light_client_asks_for_nothing(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, height=7, block_time_ms=ENDS_MS, age_seconds=5)
    told = gateway("status", "--domain", "csrc")
    assert "age 5 s" in told.out
    assert "CLIENT_" not in told.out + told.err


def test_a_light_client_without_a_header_and_one_that_nobody_looked_at(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch)
    assert "no header yet" in gateway("status", "--domain", "csrc").out
    assert "尚无区块头" in gateway("status", "--domain", "csrc", language="zh").out
    held = gateway("status", "--domain", "csrc", "-o", "json").json["light_client"]
    assert (held["height"], held["block_time"], held["age_seconds"]) == (0, "", 0)
    shows(monkeypatch, ends_soon=False)
    assert "light client" not in gateway("status", "--domain", "csrc").out
    assert gateway("status", "--domain", "csrc", "-o", "json").json["light_client"] is None


def test_a_code_of_a_later_gateway_is_shown_as_it_is(
    gateway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, height=7, block_time_ms=ENDS_MS, code="CLIENT_WEARY")
    told = gateway("status", "--domain", "csrc")
    assert "CLIENT_WEARY" in told.out + told.err


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
