"""Random market datasets with rosters of a crowd and texts of any length.

The same world as `market_generator`, but its names run to thousands of characters and its rosters
name most of a crowd, so that limits of sizes would show where the document knows none.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from tests.unit.contracts.market_generator import Generator, Row
from tests.unit.contracts.register_market import EVIDENCE_REQUIRED

TAIL = 5_000
FIRST_OF_CROWD = 1_000
ANY_FORM: Row = {"label": "任意股", "forms": ["joint_stock", "limited"]}
LONG_NATURE = "自" * 300
WRONG: list[Row] = [{"shares": 0}, {"nature": "长" * TAIL}, {"account": "长" * TAIL}, {"shares": 7}]


def long(text: str) -> str:
    """The text with a tail of thousands of characters that a key must not take as they are."""
    return text + "长/%a" * (TAIL // 4)


class LargeGenerator(Generator):
    """`crowd` investors beside the few; the first events open their accounts."""

    def __init__(self, seed: int, event_count: int, types: Sequence[str], crowd: int) -> None:
        self.rosters = 0
        self.crowd = range(FIRST_OF_CROWD, FIRST_OF_CROWD + crowd)
        super().__init__(seed, event_count + crowd, types)
        self.investors += [self.member(number) for number in self.crowd]
        openings = [("open_account", self.of(row, "investor_ref")) for row in self.investors]
        companies = [("register_company", self.of(row, "company_ref")) for row in self.companies]
        registrations = [event for event in self.beginning if event[0] == "initial_registration"]
        self.beginning = [*openings, *companies, *registrations]

    def of(self, row: Row, name: str) -> Row:
        return {name: row[name]}

    def event(self, seq: int, time: str, earlier: list[Row]) -> Row:
        """The beginning goes as it should: one account missing would refuse every roster."""
        if seq > len(self.beginning):
            return super().event(seq, time, earlier)
        kind, members = self.beginning[seq - 1]
        request_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        evidence = [self.document(name) for name in EVIDENCE_REQUIRED[kind]]
        envelope = {"seq": seq, "time": time, "type": kind, "request_id": request_id}
        return {**envelope, **members, "evidence": evidence}

    def mostly(self, text: str) -> str:
        """Leave identifiers right: the rosters are to be judged."""
        return text

    def market(self) -> Row:
        market = super().market()
        market["rules"]["holder_cap"] = (200, 1_000_000)[self.seed % 2]
        market["share_natures"][LONG_NATURE] = ANY_FORM
        return market

    def one_of(self, rows: list[Row], name: str) -> str:
        return long("none") if self.chance.random() < 0.05 else super().one_of(rows, name)

    def document(self, kind: str) -> Row:
        return super().document(long(kind) if kind == "further" else kind)

    def company(self, n: int) -> Row:
        row = super().company(n)
        reference = long(row["company_ref"]) if n % 2 else row["company_ref"]
        row |= {"company_ref": reference, "region": "370102", "uscc": self.remember_uscc()}
        return {**row, "name": long(row["name"]), "scale": long("")}

    def investor(self, n: int) -> Row:
        row = super().investor(n)
        return {**row, "investor_ref": long(row["investor_ref"]) if n % 2 else row["investor_ref"]}

    def member(self, number: int) -> Row:
        """One of the crowd: a product, whose record number nobody checks."""
        return {
            **{"investor_ref": f"I{number}", "investor_code": f"S{number:09}", "kind": "S"},
            **{"name": "随机产品（演示）", "id_type": "product_record", "id_number": f"S{number}"},
            **{"suitability": "QUALIFIED", "suitability_valid_to": "", "counted_holders": 1},
        }

    def product(self, n: int) -> Row:
        row = super().product(n)
        code = long(row["product_code"]) if n == 1 else row["product_code"]
        shares = self.chance.choice([3 * len(self.crowd), (1 << 53) - 2])
        return {**row, "product_code": code, "short_name": long(""), "registered_shares": shares}

    def registration(self, row: Row) -> Row:
        """Most of the crowd, each with a share or two, the last with the rest."""
        total, natures = row["registered_shares"], (*self.natures_of(row), LONG_NATURE)
        count = min(self.chance.randint(len(self.crowd) * 4 // 5, len(self.crowd)), total)
        roster: list[Row] = [
            {
                **{"account": f"S{number:09}", "nature": self.chance.choice(natures)},
                **{"shares": 1, "confirmed": True, "restricted_until": None},
            }
            for number in self.chance.sample(self.crowd, count)
        ]
        roster[-1]["shares"] = total - count + 1
        for entry in roster[:50]:
            self.likely_holders.append((entry["account"], row["product_code"], entry["nature"]))
        self.rosters += 1
        if self.rosters <= len(WRONG):  # Every product again after that, as it should be.
            roster[-1].update(WRONG[self.rosters - 1])
        if self.chance.random() < 0.05:
            roster.append(roster[0])
        return {"product_code": row["product_code"], "total_shares": total, "roster": roster}
