"""Random market datasets in the format of docs/market-dataset.md, small and full of collisions.

A world of few companies, investors and products, so that refusals and rare paths meet often. The
same seed gives the same dataset; `write_dataset` writes it as the importer reads it.
"""

from __future__ import annotations

import csv
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.unit.contracts.market_reference import (
    ID_CHECKS,
    ID_WEIGHTS,
    USCC_DIGITS,
    USCC_WEIGHTS,
)
from tests.unit.contracts.register_market import EVIDENCE_REQUIRED

Row = dict[str, Any]

BASIC = ("register_company", "open_account", "initial_registration", "transfer")
LATER = (
    *("confirm_holding", "pledge", "release_pledge", "freeze", "unfreeze", "deduct"),
    *("capital_increase", "dividend", "close_account"),
)
NATURES = ("51", "41", "61")
CHINA = timezone(timedelta(hours=8))
START = date(2025, 9, 1)


@dataclass(frozen=True)
class RandomDataset:
    market: Row
    companies: list[Row]
    investors: list[Row]
    products: list[Row]
    trading_days: list[str]
    events: list[Row]


def uscc(chance: random.Random) -> str:
    stem = "91370199" + "".join(chance.choices(USCC_DIGITS, k=9))
    total = sum(USCC_DIGITS.index(c) * w for c, w in zip(stem, USCC_WEIGHTS, strict=True))
    return stem + USCC_DIGITS[(31 - total % 31) % 31]


def resident_id(chance: random.Random) -> str:
    born = date(1950, 1, 1) + timedelta(days=chance.randrange(20_000))
    if chance.random() < 0.1:  # Born, or not yet born, within the period.
        born = START + timedelta(days=chance.randrange(40))
    stem = f"370199{born:%Y%m%d}{chance.randrange(1000):03}"
    total = sum(int(c) * w for c, w in zip(stem, ID_WEIGHTS, strict=True))
    return stem + ID_CHECKS[total % 11]


def damaged(text: str, chance: random.Random) -> str:
    """Return the text with something wrong in it, or as it was."""
    place = chance.randrange(len(text))
    wrong = chance.choice(["0", "9", "I", "x", "٣", " ", ""])
    return chance.choice([text.lower(), text[:place] + wrong + text[place + 1 :], text + "0", ""])


class Generator:
    """One dataset in the making."""

    def __init__(self, seed: int, event_count: int, types: Sequence[str]) -> None:
        self.chance = random.Random(seed)
        self.seed, self.event_count, self.types = seed, event_count, types
        self.new_day = self.chance.choice([0.02, 0.1, 0.3])
        self.trading_days = [
            str(day)
            for day in (START + timedelta(days=n) for n in range(-100, 500))
            if day.weekday() < 5 and self.chance.random() < 0.9
        ]
        self.companies = [self.company(n) for n in range(4)]
        self.investors = [self.investor(n) for n in range(8)]
        self.products = [self.product(n) for n in range(4)]
        self.numbers = {"pledge": 0, "freeze": 0}
        self.likely_holders: list[tuple[str, str, str]] = []
        self.deals: list[tuple[str, str, str, str]] = []
        self.beginning: list[tuple[str, Row]] = [
            *(("open_account", {"investor_ref": f"I{n}"}) for n in range(8)),
            *(("register_company", {"company_ref": f"C{n}"}) for n in range(4)),
            *(("initial_registration", self.registration(row)) for row in self.products * 2),
        ]

    def dataset(self) -> RandomDataset:
        events: list[Row] = []
        now = datetime(START.year, START.month, START.day, 9, tzinfo=CHINA)
        for seq in range(1, self.event_count + 1):
            now += timedelta(seconds=self.chance.randrange(60))
            if self.chance.random() < self.new_day:
                now += timedelta(days=self.chance.choice([1, 1, 1, 2, 5]))
            events.append(self.event(seq, now.isoformat(), events))
        return RandomDataset(
            self.market(), self.companies, self.investors, self.products, self.trading_days, events
        )

    def market(self) -> Row:
        return {
            "format": "guqiao-market-dataset/1",
            **{"dataset_id": f"random-{self.seed}", "profile": "random", "seed": self.seed},
            **{"market_code": "SD", "chain_name": "shandong", "operator": "随机中心（演示）"},
            **{"currency": "156", "period_start": str(START), "period_end": "2026-03-31"},
            "rules": {
                "region_prefix": "37",
                "excluded_region_prefixes": ["3702"],
                "holder_cap": self.chance.choice([2, 4, 6, 200, 200]),
                "min_interval_trading_days": self.chance.choice([0, 1, 5, 6]),
                "calendar": "XSHG",
                "dividend_rounding": "half_up_to_fen",
            },
            "share_natures": {
                "51": {"label": "托管股", "forms": ["joint_stock"]},
                "41": {"label": "特限股", "forms": ["joint_stock", "limited"]},
                "61": {"label": "有限公司股", "forms": ["limited"]},
            },
            "evidence_required": EVIDENCE_REQUIRED,
        }

    def mostly(self, text: str) -> str:
        return damaged(text, self.chance) if self.chance.random() < 0.05 else text

    def company(self, n: int) -> Row:
        shared = n > 0 and self.chance.random() < 0.15
        return {
            **{
                "company_ref": f"C{n}",
                "company_code": f"SD9{n:05}G",
                "name": f"随机公司{n}（演示）",
            },
            "uscc": self.companies_so_far[-1] if shared else self.remember_uscc(),
            "region": self.chance.choice(["370102"] * 18 + ["370202", "110101"]),
            "form": self.chance.choice(["joint_stock", "joint_stock", "limited"]),
            **{"scale": "small", "industry": "C", "layer": "G"},
            **{"registered_capital_fen": 100_000, "established_on": "2010-01-01"},
        }

    companies_so_far: list[str]

    def remember_uscc(self) -> str:
        made = self.mostly(uscc(self.chance))
        self.companies_so_far = [made]
        return made

    def investor(self, n: int) -> Row:
        kind = self.chance.choice("QQQRS")
        number = {"Q": resident_id, "R": uscc}.get(kind, lambda _: f"S{n:05}")(self.chance)
        row = {
            **{"investor_ref": f"I{n}", "investor_code": f"{kind}{n:09}", "kind": kind},
            **{"name": f"随机投资者{n}（演示）", "id_number": self.mostly(number)},
            "id_type": {"Q": "resident_id", "R": "uscc", "S": "product_record"}[kind],
            "suitability": self.chance.choice(["QUALIFIED"] * 5 + ["EXEMPT", "NOT_QUALIFIED"]),
            "suitability_valid_to": self.chance.choice(["", "", "", "2025-09-04", "2025-10-01"]),
            "counted_holders": self.chance.choice([1, 1, 1, 2, 3]),
        }
        twin = getattr(self, "twins", {}).get(kind)
        if twin is not None and self.chance.random() < 0.2:
            row["id_number"] = twin
        self.twins = {**getattr(self, "twins", {}), kind: row["id_number"]}
        return row

    def product(self, n: int) -> Row:
        company = self.chance.choice(self.companies)["company_ref"]
        return {
            **{"product_code": f"SD9{n:05}G.ESVTFR2501", "company_ref": company},
            **{"name": f"随机股权{n}（演示）", "short_name": "随机", "currency": "156"},
            "par_value_fen": 100,
            "registered_shares": self.chance.choice([1, 30, 1_000, (1 << 53) - 2]),
        }

    # --- events ---

    def event(self, seq: int, time: str, earlier: list[Row]) -> Row:
        chance = self.chance
        if earlier and chance.random() < 0.06:  # A retry, or the id of another body.
            event = {**chance.choice(earlier), "seq": seq, "time": time}
            if chance.random() < 0.3:
                event["evidence"] = [*event["evidence"], self.document("further")]
            return event
        weight = {"transfer": 24, "freeze": 8, "deduct": 8, "unfreeze": 4, "confirm_holding": 4}
        kind = chance.choices(self.types, [weight.get(kind, 2) for kind in self.types])[0]
        members = getattr(self, kind)()
        if seq <= len(self.beginning):  # First something to work on.
            kind, members = self.beginning[seq - 1]
        key = kind + ("." + members["reason"] if kind == "transfer" else "")
        kinds = [*EVIDENCE_REQUIRED[key]]
        if chance.random() < 0.03:
            kinds = kinds[1:]
        request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        envelope = {"seq": seq, "time": time, "type": kind, "request_id": request_id}
        return {**envelope, **members, "evidence": [self.document(name) for name in kinds]}

    def document(self, kind: str) -> Row:
        return {"kind": kind, "digest": f"{self.chance.getrandbits(256):064x}"}

    def one_of(self, rows: list[Row], name: str) -> str:
        if self.chance.random() < 0.02:
            return self.chance.choice(["", "/", "%2F", "none", "不存在"])
        return str(self.chance.choice(rows)[name])

    def shares(self, most: int = 40) -> int:
        if self.chance.random() < 0.03:
            return self.chance.choice([0, -1, (1 << 53) - 1])
        return self.chance.choice([1, 2, self.chance.randint(1, most), self.chance.randint(1, 500)])

    def day_or_none(self) -> str | None:
        day = START + timedelta(days=self.chance.randrange(40))
        return self.chance.choice([None, None, None, str(day)])

    def register_company(self) -> Row:
        return {"company_ref": self.one_of(self.companies, "company_ref")}

    def open_account(self) -> Row:
        return {"investor_ref": self.one_of(self.investors, "investor_ref")}

    def initial_registration(self) -> Row:
        return self.registration(self.chance.choice(self.products))

    def registration(self, row: Row) -> Row:
        total = row["registered_shares"]
        count = min(self.chance.randint(1, 6), total)
        places = self.chance.sample(
            [(i["investor_code"], n) for i in self.investors[:5] for n in self.natures_of(row)],
            count,
        )
        left, roster = total, []
        for n, (account, nature) in enumerate(places):
            shares = left if n == count - 1 else self.chance.randint(1, left - (count - 1 - n))
            left -= shares
            self.likely_holders.append((account, row["product_code"], nature))
            roster.append(
                {
                    **{"account": account, "nature": nature, "shares": shares},
                    "confirmed": self.chance.random() < 0.85,
                    "restricted_until": self.day_or_none(),
                }
            )
        if self.chance.random() < 0.1:
            self.chance.choice(roster).update(
                self.chance.choice([{"shares": 0}, {"nature": "99"}, {"account": "Q999999999"}])
            )
        if self.chance.random() < 0.05:
            roster.append(roster[0])
        total += self.chance.choice([0] * 19 + [1])
        return {"product_code": row["product_code"], "total_shares": total, "roster": roster}

    def natures_of(self, product: Row) -> tuple[str, ...]:
        form = next(c["form"] for c in self.companies if c["company_ref"] == product["company_ref"])
        return ("51", "41") if form == "joint_stock" else ("61", "41")

    def place(self) -> tuple[str, str, str]:
        if self.likely_holders and self.chance.random() < 0.85:
            return self.chance.choice(self.likely_holders)
        return (
            self.one_of(self.investors, "investor_code"),
            self.one_of(self.products, "product_code"),
            self.chance.choice(NATURES),
        )

    def transfer(self) -> Row:
        seller, product, nature = self.place()
        buyer = self.one_of(self.investors, "investor_code")
        if self.deals and self.chance.random() < 0.3:  # Back again, perhaps too soon.
            buyer, seller, product, nature = self.chance.choice(self.deals)
        self.deals.append((seller, buyer, product, nature))
        self.likely_holders.append((buyer, product, nature))
        return {
            **{"product_code": product, "nature": nature, "seller": seller, "buyer": buyer},
            **{"shares": self.shares(), "price_fen": self.chance.choice([100] * 24 + [0, 0, -1])},
            "reason": self.chance.choice(["agreement"] * 4 + ["gift", "inheritance", "judicial"]),
        }

    def holding(self) -> Row:
        return dict(zip(("account", "product_code", "nature"), self.place(), strict=True))

    confirm_holding = holding

    def number(self, kind: str, *, new: bool) -> str:
        if new and self.chance.random() < 0.95:
            self.numbers[kind] += 1
            return f"{kind}-{self.numbers[kind]}"
        return f"{kind}-{self.chance.randint(1, self.numbers[kind] + 1)}"

    def pledge(self) -> Row:
        pledgee = self.mostly(uscc(self.chance))
        number = self.number("pledge", new=True)
        return {
            "pledge_no": number,
            **self.holding(),
            "shares": self.shares(),
            "pledgee_uscc": pledgee,
        }

    def release_pledge(self) -> Row:
        return {"pledge_no": self.number("pledge", new=False), "shares": self.shares(10)}

    def freeze(self) -> Row:
        enforcement = ("judicial_enforcement",) * 3
        categories = (*enforcement, "judicial_preservation", "aml", "self_discipline")
        return {
            **{"freeze_no": self.number("freeze", new=True), **self.holding()},
            **{"category": self.chance.choice(categories), "court_doc_no": self.court_doc()},
            **{"shares": self.shares(), "fruits": self.chance.random() < 0.5},
            "term_end": "2027-01-01",
        }

    def court_doc(self) -> str:
        return "" if self.chance.random() < 0.05 else "（2025）鲁演01执1号"

    def unfreeze(self) -> Row:
        authorities = ("court", "court", "aml_authority", "operator")
        return {
            **{"freeze_no": self.number("freeze", new=False), "shares": self.shares(10)},
            **{"authority": self.chance.choice(authorities), "court_doc_no": self.court_doc()},
        }

    def deduct(self) -> Row:
        return {
            **{"freeze_no": self.number("freeze", new=False), "shares": self.shares(10)},
            "beneficiary": self.one_of(self.investors, "investor_code"),
            "court_doc_no": self.court_doc(),
        }

    def capital_increase(self) -> Row:
        row = self.chance.choice(self.products)
        before = row["registered_shares"]
        places = {(h[0], h[2]) for h in self.likely_holders if h[1] == row["product_code"]}
        chosen = self.chance.sample(sorted(places) or [("none", "51")], min(2, len(places) or 1))
        entries: list[Row] = [
            {
                **{"account": account, "nature": nature, "shares": self.chance.randint(1, 20)},
                "restricted_until": self.day_or_none(),
            }
            for account, nature in chosen
        ]
        after = min(before + sum(e["shares"] for e in entries), (1 << 53) - 1)
        product = row["product_code"]
        totals = {"total_before": before, "total_after": after}
        return {"product_code": product, **totals, "entries": entries}

    def dividend(self) -> Row:
        return {
            **{
                "dividend_no": f"D{self.chance.randrange(6)}",
                "per_share_li": self.chance.randint(0, 9),
            },
            "product_code": self.one_of(self.products, "product_code"),
            "pay_date": "2025-12-01",
        }

    def close_account(self) -> Row:
        return {"account": self.one_of(self.investors, "investor_code")}


def write_dataset(dataset: RandomDataset, folder: Path) -> None:
    """Write the dataset's files."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataset.market, ensure_ascii=False) + "\n"
    (folder / "market.json").write_text(text, encoding="utf-8")
    (folder / "trading_days.txt").write_text("".join(day + "\n" for day in dataset.trading_days))
    for name in ("companies", "investors", "products"):
        rows: list[Row] = getattr(dataset, name)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            header = CSV_COLUMNS[name].split(",")
            writer = csv.DictWriter(file, header, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    lines = (json.dumps(event, ensure_ascii=False) + "\n" for event in dataset.events)
    (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")


CSV_COLUMNS = {
    "companies": "company_ref,company_code,name,uscc,region,form,scale,industry,layer,"
    "registered_capital_fen,established_on",
    "investors": "investor_ref,investor_code,kind,name,id_type,id_number,suitability,"
    "suitability_valid_to,counted_holders",
    "products": "product_code,company_ref,name,short_name,currency,par_value_fen,registered_shares",
}
