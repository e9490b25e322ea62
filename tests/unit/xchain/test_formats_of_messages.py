"""A message in a format that the regulatory chain does not take from its market goes no further,
and its sender is told why and what is in force: nobody has to ask beforehand what will be taken.
"""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts.packet_link import messages
from tests.unit.xchain.ledger_chain import sent_packets
from tests.unit.xchain.message_chains import CSRC, Messages, states

SHANDONG, BEIJING = "shandong", "beijing"
IN_FORCE = "guqiao-2"
USED = messages.MODEL_VERSION
TAKEN: dict[str, Json] = {"interface": "00" * 32, "from_ms": 0, "until": None}


def adopt(link: Messages, chain: str, used: Json) -> None:
    """As the contract `notices` keeps it: another version is in force, and how the used one is."""
    values = link[CSRC].state.values
    values[f"notices/formats/{chain}".encode()] = canonical_json(IN_FORCE)
    values[f"notices/format/{chain}/{IN_FORCE}".encode()] = canonical_json(TAKEN)
    if used is not None:
        values[f"notices/format/{chain}/{USED}".encode()] = canonical_json(used)


def written(link: Messages, source: str, to: str) -> Packet:
    receipt = link.write(source, to)
    assert receipt.accepted, receipt
    (packet,) = sent_packets(receipt)
    return packet


@pytest.mark.req("G2-14-6", "G2-03-1", "N0-07")
@pytest.mark.parametrize(
    ("used", "code"),
    [
        (None, "FORMAT_NOT_PERMITTED"),
        (TAKEN | {"from_ms": None}, "FORMAT_NOT_PERMITTED"),
        (TAKEN | {"until": "2020-01-01"}, "FORMAT_ENDED"),
        (TAKEN | {"until": "9999-12-31"}, ""),
    ],
)
def test_a_message_in_a_format_that_is_not_taken_ends_with_its_code_at_its_sender(
    used: Json, code: str
) -> None:
    link = Messages()
    adopt(link, SHANDONG, used)
    packet = written(link, SHANDONG, BEIJING)
    onward = link.carry([packet])
    answered = link.acknowledgement(packet)
    assert answered["code"] == code
    assert bool(onward) is not bool(code)
    assert states(link.bring_home(packet)) == ["REFUSED" if code else "RELAYED"]
    if code:
        detail = answered["detail"]
        assert isinstance(detail, dict)
        assert (detail["version"], detail["in_force"]) == (USED, IN_FORCE)
        stands = link.sent(SHANDONG, CSRC, messages.MESSAGE)
        assert (stands["state"], stands["code"]) == ("REFUSED", code)


@pytest.mark.req("G2-14-6")
def test_the_format_of_one_market_is_no_other_ones() -> None:
    link = Messages()
    adopt(link, SHANDONG, None)
    assert len(link.carry([written(link, BEIJING, SHANDONG)])) == 1
