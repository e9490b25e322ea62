"""A small market on a memory host, and the words that tests of the register speak.

The market follows shared/data's parameters. Companies C1 (joint stock) and C2 (limited), products
P1 and P2 of 1,000 shares, investors with codes Q1... as a test asks for them.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from guqiao_sdk.market_dataset import DatasetEvent, MarketDataset, RowProblem
from guqiao_sdk.market_reader import read_dataset
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.register_keys import part_of_key, unkey
from services.consensus.domain.contracts.register.contract import REGISTER_V3, RegisterContract
from services.consensus.domain.contracts.register.records import (
    positions_from_json,
    product_from_json,
)
from services.consensus.domain.contracts.register.recount import recount
from tests.unit.contracts.memory_host import MemoryHost, Outcome

DATA = Path(__file__).parents[3] / "data"
DIGEST = "ab" * 32
DAY = "2025-09-01"
OF_THE_ENGINE = ("CONTRACT_", "REGISTER_INVARIANT_")
"""Codes by which an error in the rules would show, whatever a body says."""

EVIDENCE_REQUIRED: dict[str, list[str]] = {
    "register_company": ["custody_agreement", "business_licence"],
    "open_account": ["identity_check"],
    "initial_registration": ["shareholder_register", "articles_of_association"],
    "confirm_holding": ["holding_certificate"],
    "transfer.agreement": ["transfer_agreement"],
    "transfer.inheritance": ["inheritance_certificate"],
    "transfer.gift": ["gift_contract"],
    "transfer.judicial": ["court_ruling"],
    "pledge": ["pledge_contract", "pledge_registration_notice"],
    "release_pledge": ["release_application"],
    "freeze": ["assistance_notice"],
    "unfreeze": ["assistance_notice"],
    "deduct": ["court_ruling", "assistance_notice"],
    "capital_increase": ["shareholder_resolution"],
    "dividend": ["shareholder_resolution"],
    "close_account": ["closing_application"],
}


def identity_digest(id_type: str, id_number: str) -> str:
    """Stand in for the allotment service's keyed digest."""
    return hashlib.sha256(f"test key|{id_type}|{id_number}".encode()).hexdigest()


def dataset(name: str) -> MarketDataset:
    """Read a dataset of data/ that must be well formed."""
    read = read_dataset(DATA / name)
    assert isinstance(read, MarketDataset), read
    return read


def loaded_host(market: MarketDataset, contract: RegisterContract = REGISTER_V3) -> MemoryHost:
    """Return a host in historic import with the dataset's reference data on it."""
    host = MemoryHost()
    host.put("parameters", {"historic_import": True})
    for method, body in market.reference_calls(identity_digest):
        assert host.run(contract, method, body).code is None, method
    return host


class RequestIdentity:
    """Section 3 of the format, which is the real host's duty: one outcome a request id."""

    def __init__(self) -> None:
        self._bound: dict[str, tuple[bytes, str | None]] = {}
        self.outcomes: list[Outcome] = []

    def process(self, host: MemoryHost, contract: RegisterContract, event: DatasetEvent) -> str:
        """Return the code of an event, empty where it is accepted."""
        body = canonical_json({**event.body, "type": event.type})
        if event.request_id in self._bound:
            earlier, code = self._bound[event.request_id]
            return (code or "") if earlier == body else "REQUEST_ID_REUSED"
        outcome = host.run(contract, event.type, event.body, time=event.time)
        self._bound[event.request_id] = (body, outcome.code)
        self.outcomes.append(outcome)
        return outcome.code or ""


def outcomes_of(market: MarketDataset, host: MemoryHost) -> list[Outcome]:
    """Process every event; return what each executed call left behind."""
    identity = RequestIdentity()
    for event in market.events:
        identity.process(host, REGISTER_V3, event)
    return identity.outcomes


def as_csv(header: str, rows: Iterable[Iterable[object]]) -> bytes:
    """Write rows as the format's section 11 says."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return text.getvalue().encode()


def roster_csv(host: MemoryHost) -> bytes:
    """Return expected/roster.csv as the state says."""
    rows: list[list[object]] = []
    codes = {part_of_key(code): code for code in product_codes(host)}
    for key, value in host.scan("holding/", 1_000_000):
        product, account = codes[key.split("/")[1]], unkey(key)[2]
        for nature, held in positions_from_json(value).items():
            amounts = (held.total, held.available, held.pledged, held.frozen, held.overlap)
            confirmed = "true" if held.confirmed else "false"
            rows.append([account, product, nature, *amounts, confirmed, held.restricted_until])
    rows.sort(key=lambda row: [str(part) for part in row[:3]])
    header = (
        "account,product_code,nature,total,available,pledged,frozen,pledged_and_frozen,"
        "confirmed,restricted_until"
    )
    return as_csv(header, rows)


def product_codes(host: MemoryHost) -> list[str]:
    """Return the codes of the registered products."""
    return [product_from_json(value).code for _, value in host.scan("product/", 1_000_000)]


def evidence(event_key: str) -> list[Json]:
    """Return the evidence that an event needs."""
    return [{"kind": kind, "digest": DIGEST} for kind in EVIDENCE_REQUIRED[event_key]]


class Market:
    """A market under test. Every call checks the invariants by a full recount afterwards."""

    def __init__(self, *, contract: RegisterContract = REGISTER_V3, holder_cap: int = 200) -> None:
        self.contract = contract
        self.host = MemoryHost()
        self.host.put("parameters", {"historic_import": True})
        self.day = DAY
        self.do("configure_market", market_body(holder_cap=holder_cap))
        days = [day for day in dataset_days() if day.startswith("2025")]
        self.do("put_trading_days", {"year": 2025, "days": days})
        self.do("put_companies", {"companies": [company_row(1), company_row(2, form="limited")]})
        self.do("put_products", {"products": [product_row(1), product_row(2)]})

    def run(self, method: str, body: dict[str, Any]) -> Outcome:
        """Execute a call on the market's day."""
        outcome = self.host.run(self.contract, method, body, time=f"{self.day}T10:00:00+08:00")
        assert recount(self.host) == []
        assert not (outcome.code or "").startswith(OF_THE_ENGINE), (outcome.code, outcome.fields)
        return outcome

    def do(self, method: str, body: dict[str, Any]) -> Outcome:
        """Execute a call that must be accepted."""
        outcome = self.run(method, body)
        assert outcome.code is None, (outcome.code, outcome.fields)
        return outcome

    def code(self, method: str, body: dict[str, Any]) -> str | None:
        """Execute a call and return its code; a refusal must leave no trace at all."""
        before = dict(self.host.store)
        outcome = self.run(method, body)
        if outcome.code is not None:
            assert self.host.store == before
            assert (outcome.events, outcome.packets) == ([], [])
        return outcome.code

    def investor(self, number: int, **changes: Any) -> str:
        """Put an investor row; return the investor code."""
        row = investor_row(number, **changes)
        self.do("put_investors", {"investors": [row]})
        return str(row["investor_code"])

    def account(self, number: int, **changes: Any) -> str:
        """Put an investor row and open its account; return the investor code."""
        code = self.investor(number, **changes)
        self.do("open_account", opening(number))
        return code

    def register(self, *roster: dict[str, Any], product: int = 1) -> None:
        """Register company and product with a roster that must be accepted."""
        self.do("register_company", company_registration(product))
        self.do("initial_registration", registration(*roster, product=product))

    def position(self, account: str, nature: str = "51", product: int = 1) -> dict[str, Any] | None:
        """Return a stored position."""
        holding: Any = self.host.get(f"holding/{product_code(product)}/{account}")
        found: dict[str, Any] | None = (holding or {"positions": {}})["positions"].get(nature)
        return found

    def poke(self, key: str, **members: Any) -> None:
        """Change members of a stored record, as if the past had been another."""
        stored: Any = self.host.get(key)
        self.host.put(key, {**stored, **members})

    def poke_position(self, account: str, **members: Any) -> None:
        """Change members of a stored position of nature 51."""
        holding: Any = self.host.get(f"holding/{product_code(1)}/{account}")
        holding["positions"]["51"].update(members)
        self.host.put(f"holding/{product_code(1)}/{account}", holding)

    def total(self, account: str, nature: str = "51") -> int:
        """Return the shares of a position."""
        position = self.position(account, nature)
        return 0 if position is None else int(position["total"])


def dataset_days() -> list[str]:
    return (DATA / "market-basic" / "trading_days.txt").read_text().split()


def market_body(**rules: int) -> dict[str, Any]:
    return {
        "market_code": "SD",
        "chain_name": "shandong",
        "operator": "演示中心（演示）",
        "currency": "156",
        "period_start": "2025-09-01",
        "period_end": "2025-12-31",
        "rules": {
            "region_prefix": "37",
            "excluded_region_prefixes": ["3702"],
            "holder_cap": 200,
            "min_interval_trading_days": 5,
            "calendar": "XSHG",
            "dividend_rounding": "half_up_to_fen",
            **rules,
        },
        "share_natures": {
            "51": {"label": "托管股", "forms": ["joint_stock"]},
            "41": {"label": "特限股", "forms": ["joint_stock"]},
            "61": {"label": "有限公司股", "forms": ["limited"]},
        },
        "evidence_required": deepcopy(EVIDENCE_REQUIRED),
    }


USCCS = ("91370199MA9900001C", "91370199MA990001X4", "91370199MA99000284")


def company_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "company_ref": f"C{number}",
        "company_code": f"SD90000{number}G",
        "name": f"演示公司{number}（演示）",
        "uscc": USCCS[(number - 1) % len(USCCS)],
        "region": "370102",
        "form": "joint_stock",
        "scale": "small",
        "industry": "C",
        "layer": "G",
        "registered_capital_fen": 100_000,
        "established_on": "2010-01-01",
    }
    return {**row, **changes}


def product_code(number: int) -> str:
    return f"SD90000{number}G.ESVTFR2501"


def product_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "product_code": product_code(number),
        "company_ref": f"C{number}",
        "name": f"演示公司{number}股权（演示）",
        "short_name": "演示股权",
        "currency": "156",
        "par_value_fen": 100,
        "registered_shares": 1_000,
    }
    return {**row, **changes}


def investor_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "investor_ref": f"I{number}",
        "investor_code": f"Q{number:09}",
        "kind": "Q",
        "id_type": "resident_id",
        "identity_digest": identity_digest("resident_id", str(number)),
        "identity_valid_from": "2025-01-01",
        "suitability": "QUALIFIED",
        "suitability_valid_to": None,
        "counted_holders": 1,
    }
    return {**row, **changes}


def opening(number: int, **changes: Any) -> dict[str, Any]:
    return {"investor_ref": f"I{number}", "evidence": evidence("open_account"), **changes}


def company_registration(number: int, **changes: Any) -> dict[str, Any]:
    return {"company_ref": f"C{number}", "evidence": evidence("register_company"), **changes}


def entry(account: str, shares: int, **changes: Any) -> dict[str, Any]:
    row = {"nature": "51", "confirmed": True, "restricted_until": None}
    return {**row, "account": account, "shares": shares, **changes}


def registration(*roster: dict[str, Any], product: int = 1, **changes: Any) -> dict[str, Any]:
    body = {
        "product_code": product_code(product),
        "total_shares": 1_000,
        "roster": [*roster],
        "evidence": evidence("initial_registration"),
    }
    return {**body, **changes}


def sale(
    seller: str, buyer: str, shares: int, *, reason: str = "agreement", **changes: Any
) -> dict[str, Any]:
    body = {
        "product_code": product_code(1),
        "nature": "51",
        "seller": seller,
        "buyer": buyer,
        "shares": shares,
        "price_fen": 100 if reason == "agreement" else 0,
        "reason": reason,
        "evidence": evidence(f"transfer.{reason}"),
    }
    return {**body, **changes}


def problems_of(folder: Path) -> list[RowProblem]:
    """Read a folder that must be malformed."""
    read = read_dataset(folder)
    assert isinstance(read, list)
    return read
