"""The largest rosters and issues on the real ledger, and their parts on the regulatory chain."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.object_parts import join_parts
from guqiao_sdk.proof.packet import PACKET_PAYLOAD_BYTES_MAX, Packet
from guqiao_sdk.proof.receipt import EVENTS_MAX, Receipt
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.register.contract import OPERATIONS, RegisterContract
from tests.plugins.market_ledger import MARKET_ROLES
from tests.unit.contracts.changed_rules import constant
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_market import (
    company_registration,
    company_row,
    entry,
    evidence,
    investor_row,
    market_body,
    opening,
    product_code,
    product_row,
    registration,
)
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, sent_packets

ENTRIES_MAX = constant("ENTRIES_MAX")
ACCOUNTS = 100
NATURES = ENTRIES_MAX // ACCOUNTS
KEYS = FakeKeys()


def execute(chain: LedgerChain, *calls: tuple[str, dict[str, Any]]) -> tuple[Receipt, ...]:
    """One block of calls of the register, all of which must be accepted."""
    time = "2025-09-01T10:00:00+08:00"
    block = chain.execute(
        *(chain.transaction("register", *call, business_time=time) for call in calls)
    )
    for receipt in block.receipts:
        assert receipt.accepted, (receipt.code, receipt.detail)
    return block.receipts


@cache
def largest() -> tuple[Receipt, Receipt]:
    """The receipts of the largest roster and, on it, of the largest issue."""
    chain = LedgerChain(
        "shandong",
        KEYS,
        destination="csrc",
        remotes={"csrc": Replicas(KEYS, "csrc").set.hash()},
        roles=MARKET_ROLES,
        contracts=[RegisterContract(version=1, operations=tuple(OPERATIONS))],
        historic_import=True,
    )
    market = market_body()
    market["share_natures"] = {
        f"{number:02}": {"label": "股", "forms": ["joint_stock"]} for number in range(NATURES)
    }
    execute(
        chain,
        ("configure_market", market),
        ("put_companies", {"companies": [company_row(1)]}),
        ("put_products", {"products": [product_row(1, registered_shares=ENTRIES_MAX)]}),
        ("put_investors", {"investors": [investor_row(number) for number in range(ACCOUNTS)]}),
        *(("open_account", opening(number)) for number in range(ACCOUNTS)),
        ("register_company", company_registration(1)),
    )
    places = [
        (f"Q{account:09}", f"{nature:02}")
        for account in range(ACCOUNTS)
        for nature in range(NATURES)
    ]
    roster = [entry(account, 1, nature=nature) for account, nature in places]
    (registered,) = execute(
        chain, ("initial_registration", registration(*roster, total_shares=ENTRIES_MAX))
    )
    issue = {
        "product_code": product_code(1),
        **{"total_before": ENTRIES_MAX, "total_after": 2 * ENTRIES_MAX},
        "entries": [
            {"account": account, "nature": nature, "shares": 1, "restricted_until": None}
            for account, nature in places
        ],
        "evidence": evidence("capital_increase"),
    }
    (increased,) = execute(chain, ("capital_increase", issue))
    return registered, increased


@pytest.mark.req("N0-17", "N0-07")
@pytest.mark.parametrize("which", [0, 1])
def test_the_ledger_takes_the_largest_that_the_register_takes_and_the_regulator_every_part(
    which: int,
) -> None:
    receipt, regulator = largest()[which], MemoryHost()
    assert Receipt.decode(receipt.encode()) == receipt
    assert ENTRIES_MAX < len(receipt.events) <= EVENTS_MAX
    packets = sent_packets(receipt)
    assert all(len(packet.payload) <= PACKET_PAYLOAD_BYTES_MAX for packet in packets)
    for packet in packets:
        answer = objects.record_object(regulator, packet, 1)
        assert (answer["code"], answer["transaction_id"]) == ("", receipt.transaction_id.hex())
    whole: Any = join_parts([json.loads(packet.payload) for packet in packets])
    information = whole["registration_information"]
    rows = (
        information["roll_records"]["register_shareholders"]
        if which == 0
        else information["registration_rights"]["basic_information_rights"]
    )
    assert len(rows) == ENTRIES_MAX


def recorded(payloads: list[Any]) -> str:
    """What the regulatory chain says of the last of some packets."""
    host = MemoryHost()
    code = ""
    for sequence, value in enumerate(payloads, start=1):
        packet = Packet("shandong", "csrc", "data_object", sequence, canonical_json(value))
        try:
            objects.record_object(host, packet, 1)
            code = ""
        except Refusal as refusal:
            code = f"{refusal.code} {refusal.fields['field']}"
    return code


@pytest.mark.req("N0-07")
def test_a_part_that_is_not_what_its_id_says_or_has_no_first_part_here_is_refused() -> None:
    first, second, third, *_ = (json.loads(packet.payload) for packet in sent_packets(largest()[0]))
    assert recorded([first, second]) == ""
    assert recorded([first, second, third]) == ""
    refused = "SCHEMA_FAILED header.metadata.part"
    assert recorded([second]) == refused

    def changed(value: Any, **facts: Any) -> Any:
        copy = json.loads(json.dumps(value))
        copy["header"]["metadata"]["part"].update(facts)
        return copy

    assert recorded([first, changed(second, number=3)]) == refused
    assert recorded([first, changed(second, count=9)]) == refused
    assert recorded([first, changed(second, body_digest="00")]) == refused
    assert recorded([first, changed(second, of="shandong:subject:" + "0" * 64)]) == refused
    assert recorded([changed(first, number=0)]) == refused
    nameless = json.loads(json.dumps(second))
    del nameless["header"]["metadata"]["part"]
    assert recorded([first, nameless]) == refused
