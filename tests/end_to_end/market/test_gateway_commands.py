"""`guqiao gateway`: how the link stands, what went over it, and what was set aside."""

from __future__ import annotations

import pytest

from tests.end_to_end.harness import wait_until
from tests.end_to_end.market.conftest import Market

pytestmark = [pytest.mark.end_to_end, pytest.mark.req("G2-16-2", "G2-19-4")]


def test_the_link_and_its_packets_are_shown_from_both_ends(market: Market, transfer: str) -> None:
    run = market.machine.must

    def is_through() -> bool:
        link = run("gateway", "status", "-o", "json").json()
        return bool(link["sent"] == link["acknowledged"] > 0)

    wait_until("everything is acknowledged", is_through)
    link = run("gateway", "status", "-o", "json").json()
    assert (link["chain"], link["remote"], link["parked"]) == ("shandong", "csrc", 0)
    other = run("gateway", "status", "--domain", "csrc", "-o", "json").json()
    assert other["received"] == link["sent"]
    for domain in ("shandong", "csrc"):
        shown = ("gateway", "status", "--domain", domain, "-o", "json")

        def is_followed(shown: tuple[str, ...] = shown) -> bool:
            held = run(*shown).json()["light_client"]
            return held is not None and held["height"] > 0

        wait_until(f"the light client of {domain} has a header", is_followed)
        held = run(*shown).json()["light_client"]
        assert (len(held["header_hash"]), held["code"]) == (64, "")
        assert held["age_seconds"] < held["period_seconds"] == 14 * 86_400

    listed = run("gateway", "messages", "--limit", 1_000_000, "-o", "json").json()["packets"]
    assert len(listed) >= link["sent"]
    assert [each["packet"] for each in listed[:2]] == ["data_object/1", "data_object/2"]
    assert transfer in {each["transaction"] for each in listed}
    first = run("gateway", "messages", "--limit", 1, "-o", "json").json()["packets"]
    assert first == listed[:1]
    assert not run("gateway", "messages", "--state", "sent", "-o", "json").json()["packets"]
    assert "data_object/1" in run("gateway", "messages").out
    assert run("gateway", "parked", "ls", "-o", "json").json() == {"packets": []}


@pytest.mark.parametrize(
    ("packet", "code", "error"),
    [
        ("data_object/1", 3, "PACKET_NOT_PARKED"),
        ("data_object", 2, "REQUEST_MALFORMED"),
        ("/1", 2, "REQUEST_MALFORMED"),
        ("data_object/one", 2, "REQUEST_MALFORMED"),
    ],
)
def test_only_what_is_set_aside_is_delivered_again(
    market: Market, packet: str, code: int, error: str
) -> None:
    refused = market.machine.run("gateway", "parked", "replay", packet)
    assert (refused.code, refused.error) == (code, error), refused.err
