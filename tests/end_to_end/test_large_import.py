"""A dataset of large rosters and long texts through the command line: outcomes and roster to the
byte, and every data object anchored whole.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from guqiao.registry.v1 import registry_service_pb2 as registry
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import OneMachine, wait_until
from tests.unit.contracts.market_generator import RandomDataset, write_dataset
from tests.unit.contracts.market_reference import Reference
from tests.unit.contracts.register_market import (
    EVIDENCE_REQUIRED,
    as_csv,
    company_row,
    dataset_days,
    entry,
    evidence,
    market_body,
    product_code,
    product_row,
)

pytestmark = [pytest.mark.end_to_end]
ACCOUNTS, NATURES = 20, 100
ENTRIES = ACCOUNTS * NATURES
LONG = "长" * 5_000
ROSTER_HEADER = (
    "account,product_code,nature,total,available,pledged,frozen,pledged_and_frozen,"
    "confirmed,restricted_until"
)


def large_dataset() -> RandomDataset:
    """Twenty accounts of a hundred natures: rosters of two thousand, of which one is right."""
    market = market_body()
    forms = {"label": "股", "forms": ["joint_stock"]}
    market["share_natures"] = {f"{number:03}": forms for number in range(NATURES)}
    market |= {
        "format": "guqiao-market-dataset/1",
        "dataset_id": "large",
        "profile": "x",
        "seed": 1,
    }
    investors = [
        {
            **{"investor_ref": f"I{n}", "investor_code": f"S{n:09}", "kind": "S"},
            **{"name": LONG, "id_type": "product_record", "id_number": f"S{n}{LONG}"},
            **{"suitability": "QUALIFIED", "suitability_valid_to": "", "counted_holders": 1},
        }
        for n in range(ACCOUNTS)
    ]
    products = [product_row(n, company_ref="C1", registered_shares=ENTRIES) for n in range(1, 3)]
    products[0]["name"] = "名" * 60_000
    return RandomDataset(
        market, [company_row(1)], investors, products, dataset_days(), events(roster())
    )


def roster() -> list[dict[str, Any]]:
    return [
        entry(f"S{account:09}", 1, nature=f"{nature:03}")
        for account in range(ACCOUNTS)
        for nature in range(NATURES)
    ]


def events(whole: list[dict[str, Any]]) -> list[dict[str, Any]]:
    calls: list[tuple[str, dict[str, Any]]] = [
        *(("open_account", {"investor_ref": f"I{n}"}) for n in range(ACCOUNTS)),
        ("open_account", {"investor_ref": LONG}),
        ("register_company", {"company_ref": "C1"}),
        ("initial_registration", registration(1, whole)),
        ("initial_registration", registration(2, [*whole, whole[0]])),
        ("initial_registration", registration(2, [*whole[1:], entry(LONG, 1)])),
        ("initial_registration", registration(1, whole)),
    ]
    return [
        {
            **{"seq": seq, "time": "2025-09-01T10:00:00+08:00", "type": kind},
            **{"request_id": str(uuid.UUID(int=seq)), **members, "evidence": evidence(kind)},
        }
        for seq, (kind, members) in enumerate(calls, start=1)
    ]


def registration(product: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"product_code": product_code(product), "total_shares": ENTRIES, "roster": entries}


@pytest.mark.req("N0-16", "N0-17", "N0-07")
def test_large_rosters_and_long_texts_have_the_outcome_of_the_rules_and_are_anchored_whole(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    made = large_dataset()
    write_dataset(made, tmp_path / "market")
    reference = Reference(
        made.market, made.companies, made.investors, made.products, made.trading_days
    )
    codes = [reference.process(event) for event in made.events]
    rows = [
        (event["seq"], "rejected" if code else "accepted", code)
        for event, code in zip(made.events, codes, strict=True)
    ]
    assert set(EVIDENCE_REQUIRED) > {"open_account"}
    assert {*codes} == {"", "INVESTOR_UNKNOWN", *REFUSED}
    answer = one_machine.must(
        "import", tmp_path / "market", "--results", tmp_path / "results.csv", "-o", "json"
    )
    assert answer.json()["accepted"] == ACCOUNTS + 2
    expected = as_csv("seq,status,code", rows)
    assert (tmp_path / "results.csv").read_bytes() == expected
    wanted = as_csv(ROSTER_HEADER, reference.roster()).decode()
    wait_until("the roster", lambda: one_machine.must("register", "roster").out == wanted)
    accepted = codes.count("")
    wait_until(
        "every object anchored",
        lambda: asyncio.run(anchored(one_machine.network)) == accepted,
    )
    found = one_machine.must("tx", "find", made.events[ACCOUNTS + 2]["request_id"], "-o", "json")
    assert found.json()["anchored"]
    bundle = tmp_path / "roster.gqb"
    one_machine.must("tx", "proof", found.json()["transaction"], "--to", bundle)
    trust = one_machine.network.layout.trust
    verdict = one_machine.must("verify", bundle, "--trust", trust, "-o", "json").json()
    assert verdict["data_object_parts"] > 2
    assert verdict["anchor"] != "none"


REFUSED = ("ROSTER_ENTRY_DUPLICATE", "ACCOUNT_UNKNOWN", "PRODUCT_ALREADY_REGISTERED")


async def anchored(network: Network) -> int:
    """How many operations the registry calls anchored."""
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_service(network, provider, maker, MARKET, "registry") as channel:
        status = await RegistryServiceStub(channel).GetStatus(registry.GetStatusRequest())
        return int(status.anchored)
