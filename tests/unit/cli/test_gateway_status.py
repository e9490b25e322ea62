"""`guqiao gateway status` shows when revocation lists end, and what to do before they do."""

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
    monkeypatch.setattr(gateways, "_asked", lambda data, domain, ask: link)


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
