"""A second, plain processor of market datasets, written from docs/market-dataset.md alone.

It shares no code with the register: plain dictionaries, every check in the order of the document's
lists, the whole state copied before an event and put back where the event is refused.
"""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass, field
from datetime import date
from typing import Any

Row = dict[str, Any]
Triple = tuple[str, str, str]
"""Account, product, nature."""

USCC_DIGITS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
USCC_WEIGHTS = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28]
ID_WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
ID_CHECKS = "10X98765432"
AUTHORITY = {
    "judicial_preservation": "court",
    "judicial_enforcement": "court",
    "aml": "aml_authority",
    "self_discipline": "operator",
}


class Rejected(Exception):  # noqa: N818 - the document's word
    """The first check that fails gives the code."""


def need(holds: bool, code: str) -> None:
    if not holds:
        raise Rejected(code)


def uscc_is_valid(code: str) -> bool:
    if len(code) != 18 or any(c not in USCC_DIGITS for c in code):
        return False
    total = sum(USCC_DIGITS.index(c) * w for c, w in zip(code[:17], USCC_WEIGHTS, strict=True))
    return USCC_DIGITS.index(code[17]) == (31 - total % 31) % 31


def resident_id_is_valid(number: str, day: str) -> bool:
    if len(number) != 18 or any(c not in "0123456789" for c in number[:17]):
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14])).isoformat()
    except ValueError:
        return False
    total = sum(int(c) * w for c, w in zip(number[:17], ID_WEIGHTS, strict=True))
    return born <= day and number[17] == ID_CHECKS[total % 11]


@dataclass
class Position:
    total: int
    confirmed: bool
    restricted_until: str | None
    pledged: int = 0
    frozen: int = 0
    overlap: int = 0

    @property
    def available(self) -> int:
        return self.total - self.pledged - self.frozen + self.overlap


@dataclass
class State:
    companies: set[str] = field(default_factory=set)
    products: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    identities: dict[tuple[str, str], str] = field(default_factory=dict)
    positions: dict[Triple, Position] = field(default_factory=dict)
    pledges: dict[str, Row] = field(default_factory=dict)
    freezes: dict[str, Row] = field(default_factory=dict)
    queues: dict[Triple, deque[str]] = field(default_factory=dict)
    last_purchase: dict[tuple[str, str], str] = field(default_factory=dict)
    last_sale: dict[tuple[str, str], str] = field(default_factory=dict)
    dividends: dict[str, list[list[object]]] = field(default_factory=dict)
    """The rows of dividends.csv by number, in the order of declaration."""


class Reference:
    """The document as a program. `market` is market.json, the tables are the CSV rows."""

    def __init__(
        self,
        market: Row,
        companies: list[Row],
        investors: list[Row],
        products: list[Row],
        trading_days: list[str],
    ) -> None:
        self.market, self.days = market, trading_days
        self.company_rows = {row["company_ref"]: row for row in companies}
        self.investor_rows = {row["investor_ref"]: row for row in investors}
        self.of_code = {row["investor_code"]: row for row in investors}
        self.product_rows = {row["product_code"]: row for row in products}
        self.state = State()
        self.bound: dict[str, tuple[Row, str]] = {}

    def process(self, event: Row) -> str:
        """Return the code of a rejection, empty where accepted."""
        body = {k: v for k, v in event.items() if k not in ("seq", "time", "request_id")}
        if event["request_id"] in self.bound:
            earlier, outcome = self.bound[event["request_id"]]
            return outcome if earlier == body else "REQUEST_ID_REUSED"
        before, code = pickle.dumps(self.state), ""
        try:
            getattr(self, "on_" + event["type"])(event, event["time"][:10])
        except Rejected as rejection:
            self.state, code = pickle.loads(before), str(rejection)
        self.bound[event["request_id"]] = (body, code)
        self.check_invariants()
        return code

    def roster(self) -> list[list[object]]:
        """Return the rows of roster.csv."""
        return [
            [
                *(*triple, p.total, p.available, p.pledged, p.frozen, p.overlap),
                *("true" if p.confirmed else "false", p.restricted_until or ""),
            ]
            for triple, p in sorted(self.state.positions.items())
        ]

    def dividends(self) -> list[list[object]]:
        """Return the rows of dividends.csv."""
        return [row for rows in self.state.dividends.values() for row in rows]

    def encumbrances(self) -> list[list[object]]:
        """Return the rows of encumbrances.csv."""
        rows: list[list[object]] = []
        for number, freeze in sorted(self.state.freezes.items()):
            counts = (freeze["registered"], freeze["effective"], freeze["waiting"])
            rows.append([number, "freeze", *freeze["place"], *counts])
        for number, pledge in sorted(self.state.pledges.items()):
            counts = (pledge["registered"], pledge["outstanding"], 0)
            rows.append([number, "pledge", *pledge["place"], *counts])
        for row in rows:
            row.append("ENDED" if row[6:] == [0, 0] else "EFFECTIVE" if row[6] else "WAITING")
        return rows

    def check_invariants(self) -> None:
        for product, total in self.state.products.items():
            held = sum(
                p.total for (_, code, _), p in self.state.positions.items() if code == product
            )
            assert held == total, product
        for triple, p in self.state.positions.items():
            assert p.total > 0
            assert 0 <= p.overlap <= min(p.pledged, p.frozen)
            assert 0 <= p.available <= p.total
            assert not self.state.queues.get(triple) or p.frozen == p.total

    # --- what several types ask ---

    def evidence(self, event: Row) -> None:
        key = event["type"] + ("." + event["reason"] if event["type"] == "transfer" else "")
        kinds = {item["kind"] for item in event["evidence"]}
        need(set(self.market["evidence_required"].get(key, [])) <= kinds, "EVIDENCE_MISSING")

    def accounts(self, *codes: str) -> None:
        need(all(code in self.state.accounts for code in codes), "ACCOUNT_UNKNOWN")
        need(all(self.state.accounts[code] == "OPEN" for code in codes), "ACCOUNT_NOT_OPEN")

    def registered(self, product: str) -> None:
        need(product in self.state.products, "PRODUCT_UNKNOWN")

    def natures(self, product: str, entries: list[Row]) -> None:
        company = self.company_rows[self.product_rows[product]["company_ref"]]
        known = self.market["share_natures"]
        valid = (
            e["nature"] in known and company["form"] in known[e["nature"]]["forms"] for e in entries
        )
        need(all(valid), "SHARE_NATURE_INVALID")

    def distinct(self, entries: list[Row]) -> None:
        keys = [(e["account"], e["nature"]) for e in entries]
        need(len(keys) == len(set(keys)), "ROSTER_ENTRY_DUPLICATE")

    def holders(self, product: str) -> int:
        accounts = {account for account, code, _ in self.state.positions if code == product}
        return sum(self.of_code[account]["counted_holders"] for account in accounts)

    def cap(self, before: int, after: int) -> None:
        need(
            not (after > self.market["rules"]["holder_cap"] and after > before),
            "HOLDER_CAP_EXCEEDED",
        )

    def qualified(self, account: str, product: str, day: str) -> bool:
        row = self.of_code[account]
        if row["suitability"] == "QUALIFIED":
            return not row["suitability_valid_to"] or day <= row["suitability_valid_to"]
        holds = any((a, p) == (account, product) for a, p, _ in self.state.positions)
        return row["suitability"] == "EXEMPT" and holds

    def too_soon(self, earlier: str | None, day: str) -> bool:
        if earlier is None:
            return False
        between = sum(1 for t in self.days if earlier < t <= day)
        return between < int(self.market["rules"]["min_interval_trading_days"])

    def take(self, triple: Triple, shares: int, day: str) -> str | None:
        """Take shares off a position; return the restriction that travels with them."""
        position = self.state.positions[triple]
        until = position.restricted_until
        position.total -= shares
        if position.total == 0:
            del self.state.positions[triple]
        return until if until is not None and day <= until else None

    def receive(self, triple: Triple, shares: int, until: str | None) -> None:
        position = self.state.positions.get(triple)
        if position is None:
            self.state.positions[triple] = Position(shares, True, until)
            return
        position.total += shares
        position.restricted_until = max(position.restricted_until or "", until or "") or None

    def run_queue(self, triple: Triple) -> None:
        queue, position = self.state.queues.get(triple), self.state.positions.get(triple)
        while queue and position and position.total > position.frozen:
            head = self.state.freezes[queue[0]]
            turned = min(head["waiting"], position.total - position.frozen)
            free = min(turned, position.available)
            position.frozen += turned
            position.overlap += turned - free
            head["waiting"] -= turned
            head["effective"] += turned
            if head["waiting"] == 0:
                queue.popleft()

    # --- section 6, type by type ---

    def on_register_company(self, event: Row, day: str) -> None:
        self.evidence(event)
        row, rules = self.company_rows.get(event["company_ref"]), self.market["rules"]
        if row is None:
            raise Rejected("COMPANY_UNKNOWN")
        need(uscc_is_valid(row["uscc"]), "USCC_INVALID")
        excluded = any(row["region"].startswith(p) for p in rules["excluded_region_prefixes"])
        inside = row["region"].startswith(rules["region_prefix"]) and not excluded
        need(inside, "ISSUER_OUT_OF_PROVINCE")
        taken = {self.company_rows[ref]["uscc"] for ref in self.state.companies}
        need(row["uscc"] not in taken, "COMPANY_DUPLICATE")
        self.state.companies.add(event["company_ref"])

    def on_open_account(self, event: Row, day: str) -> None:
        self.evidence(event)
        row = self.investor_rows.get(event["investor_ref"])
        if row is None:
            raise Rejected("INVESTOR_UNKNOWN")
        if row["id_type"] == "resident_id":
            need(resident_id_is_valid(row["id_number"], day), "ID_NUMBER_INVALID")
        if row["id_type"] == "uscc":
            need(uscc_is_valid(row["id_number"]), "USCC_INVALID")
        identity, code = (row["id_type"], row["id_number"]), row["investor_code"]
        earlier = self.state.identities.get(identity)
        free = earlier is None or (earlier == code and self.state.accounts[earlier] == "CLOSED")
        need(free, "ACCOUNT_DUPLICATE_IDENTITY")
        self.state.identities[identity] = code
        self.state.accounts[code] = "OPEN"

    def on_initial_registration(self, event: Row, day: str) -> None:
        entries, product, total = event["roster"], event["product_code"], event["total_shares"]
        need(total > 0 and all(e["shares"] > 0 for e in entries), "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        row = self.product_rows.get(product)
        if row is None:
            raise Rejected("PRODUCT_UNKNOWN")
        need(row["company_ref"] in self.state.companies, "COMPANY_UNKNOWN")
        need(product not in self.state.products, "PRODUCT_ALREADY_REGISTERED")
        self.distinct(entries)
        self.accounts(*(e["account"] for e in entries))
        self.natures(product, entries)
        whole = sum(e["shares"] for e in entries) == total == row["registered_shares"]
        need(whole, "REGISTER_TOTAL_MISMATCH")
        for e in entries:
            place = (e["account"], product, e["nature"])
            self.state.positions[place] = Position(
                e["shares"], e["confirmed"], e["restricted_until"]
            )
        self.state.products[product] = total
        self.cap(0, self.holders(product))

    def on_confirm_holding(self, event: Row, day: str) -> None:
        self.evidence(event)
        self.registered(event["product_code"])
        self.accounts(event["account"])
        position = self.position(event)
        if position is None:
            raise Rejected("HOLDING_UNKNOWN")
        need(not position.confirmed, "HOLDING_ALREADY_CONFIRMED")
        position.confirmed = True

    def position(self, event: Row) -> Position | None:
        return self.state.positions.get((event["account"], event["product_code"], event["nature"]))

    def on_transfer(self, event: Row, day: str) -> None:
        product, nature, shares = event["product_code"], event["nature"], event["shares"]
        seller, buyer, reason = event["seller"], event["buyer"], event["reason"]
        source, target = (seller, product, nature), (buyer, product, nature)
        agreed = reason == "agreement"
        price_holds = event["price_fen"] > 0 if agreed else event["price_fen"] >= 0
        need(shares > 0 and price_holds, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        self.registered(product)
        self.accounts(seller, buyer)
        need(seller != buyer, "SELF_TRANSFER")
        held = self.state.positions.get(source)
        if held is not None and reason != "judicial":
            need(held.confirmed, "HOLDING_UNCONFIRMED")
        if held is not None and reason in ("agreement", "gift"):
            restricted = held.restricted_until is not None and day <= held.restricted_until
            need(not restricted, "SHARES_RESTRICTED")
        need(held is not None and held.available >= shares, "SHARES_INSUFFICIENT")
        if agreed:
            need(self.qualified(buyer, product, day), "BUYER_NOT_QUALIFIED")
        before = self.holders(product)
        self.receive(target, shares, self.take(source, shares, day))
        if reason in ("agreement", "gift"):
            self.cap(before, self.holders(product))
        if agreed:
            last = self.state.last_purchase.get((seller, product))
            need(not self.too_soon(last, day), "ROUND_TRIP_TOO_SOON")
            last = self.state.last_sale.get((buyer, product))
            need(not self.too_soon(last, day), "ROUND_TRIP_TOO_SOON")
            self.state.last_sale[seller, product] = day
            self.state.last_purchase[buyer, product] = day
        self.run_queue(source)
        self.run_queue(target)

    def on_pledge(self, event: Row, day: str) -> None:
        shares = event["shares"]
        need(shares > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        need(uscc_is_valid(event["pledgee_uscc"]), "USCC_INVALID")
        self.registered(event["product_code"])
        self.accounts(event["account"])
        need(event["pledge_no"] not in self.state.pledges, "PLEDGE_DUPLICATE")
        position = self.position(event)
        need(position is None or position.confirmed, "HOLDING_UNCONFIRMED")
        if position is None or position.available < shares:
            raise Rejected("SHARES_INSUFFICIENT")
        place = (event["account"], event["product_code"], event["nature"])
        self.state.pledges[event["pledge_no"]] = {
            **{"place": place, "registered": shares, "outstanding": shares}
        }
        position.pledged += shares

    def on_release_pledge(self, event: Row, day: str) -> None:
        shares = event["shares"]
        need(shares > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        pledge = self.state.pledges.get(event["pledge_no"])
        if pledge is None or pledge["outstanding"] == 0:
            raise Rejected("PLEDGE_UNKNOWN")
        need(shares <= pledge["outstanding"], "PLEDGE_SHARES_EXCEEDED")
        position = self.state.positions[pledge["place"]]
        pledge["outstanding"] -= shares
        position.pledged -= shares
        position.overlap = min(position.overlap, position.pledged)

    def on_freeze(self, event: Row, day: str) -> None:
        shares, category = event["shares"], event["category"]
        need(shares > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        judicial = category.startswith("judicial_")
        need(not judicial or event["court_doc_no"] != "", "COURT_DOCUMENT_MISSING")
        self.registered(event["product_code"])
        self.accounts(event["account"])
        need(event["freeze_no"] not in self.state.freezes, "FREEZE_DUPLICATE")
        position = self.position(event)
        need(position is not None and position.total >= shares, "SHARES_INSUFFICIENT")
        place = (event["account"], event["product_code"], event["nature"])
        self.state.freezes[event["freeze_no"]] = {
            **{"place": place, "category": category},
            **{"registered": shares, "waiting": shares, "effective": 0},
            **{"fruits": event["fruits"]},
        }
        self.state.queues.setdefault(place, deque()).append(event["freeze_no"])
        self.run_queue(place)

    def outstanding_freeze(self, number: str) -> Row:
        freeze = self.state.freezes.get(number)
        if freeze is None or freeze["waiting"] + freeze["effective"] == 0:
            raise Rejected("FREEZE_UNKNOWN")
        return freeze

    def on_unfreeze(self, event: Row, day: str) -> None:
        shares, authority = event["shares"], event["authority"]
        need(shares > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        need(authority != "court" or event["court_doc_no"] != "", "COURT_DOCUMENT_MISSING")
        freeze = self.outstanding_freeze(event["freeze_no"])
        need(AUTHORITY[freeze["category"]] == authority, "FREEZE_AUTHORITY_MISMATCH")
        need(shares <= freeze["waiting"] + freeze["effective"], "FREEZE_SHARES_EXCEEDED")
        waiting = min(shares, freeze["waiting"])
        freeze["waiting"] -= waiting
        freeze["effective"] -= shares - waiting
        if position := self.state.positions.get(freeze["place"]):
            position.frozen -= shares - waiting
            position.overlap = min(position.overlap, position.frozen)
        queue = self.state.queues[freeze["place"]]
        if freeze["waiting"] == 0 and event["freeze_no"] in queue:
            queue.remove(event["freeze_no"])
        self.run_queue(freeze["place"])

    def on_deduct(self, event: Row, day: str) -> None:
        shares, beneficiary = event["shares"], event["beneficiary"]
        need(shares > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        need(event["court_doc_no"] != "", "COURT_DOCUMENT_MISSING")
        freeze = self.outstanding_freeze(event["freeze_no"])
        need(freeze["category"] == "judicial_enforcement", "FREEZE_AUTHORITY_MISMATCH")
        need(shares <= freeze["waiting"] + freeze["effective"], "FREEZE_SHARES_EXCEEDED")
        need(shares <= freeze["effective"], "FREEZE_NOT_EFFECTIVE")
        self.accounts(beneficiary)
        account, product, nature = freeze["place"]
        need(beneficiary != account, "SELF_TRANSFER")
        position = self.state.positions[freeze["place"]]
        need(shares <= position.frozen - position.overlap, "SHARES_PLEDGED")
        freeze["effective"] -= shares
        position.frozen -= shares
        until = self.take(freeze["place"], shares, day)
        self.receive((beneficiary, product, nature), shares, until)
        self.run_queue(freeze["place"])
        self.run_queue((beneficiary, product, nature))

    def on_capital_increase(self, event: Row, day: str) -> None:
        entries, product = event["entries"], event["product_code"]
        need(all(e["shares"] > 0 for e in entries), "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        self.registered(product)
        self.distinct(entries)
        self.accounts(*(e["account"] for e in entries))
        self.natures(product, entries)
        raised = event["total_after"] - event["total_before"]
        continues = event["total_before"] == self.state.products[product]
        need(continues and sum(e["shares"] for e in entries) == raised, "REGISTER_TOTAL_MISMATCH")
        qualified = all(self.qualified(e["account"], product, day) for e in entries)
        need(qualified, "BUYER_NOT_QUALIFIED")
        before = self.holders(product)
        for e in entries:
            self.receive((e["account"], product, e["nature"]), e["shares"], e["restricted_until"])
        self.cap(before, self.holders(product))
        self.state.products[product] = event["total_after"]
        for e in entries:
            self.run_queue((e["account"], product, e["nature"]))

    def on_dividend(self, event: Row, day: str) -> None:
        need(event["per_share_li"] > 0, "AMOUNT_NOT_POSITIVE")
        self.evidence(event)
        self.registered(event["product_code"])
        need(event["dividend_no"] not in self.state.dividends, "DIVIDEND_DUPLICATE")
        product, per_share = event["product_code"], event["per_share_li"]
        common = [event["dividend_no"], product]
        rest = (self.state.products[product] * per_share + 5) // 10
        lines: list[list[object]] = []
        for place, position in sorted(self.state.positions.items()):
            if place[1] == product:
                amount = (position.total * per_share + 5) // 10
                rest -= amount
                status = self.payable(place)
                lines.append([*common, place[0], place[2], position.total, amount, status])
        lines.append([*common, "", "", "", rest, "ROUNDING"])
        self.state.dividends[event["dividend_no"]] = lines

    def payable(self, place: Triple) -> str:
        freezes = self.state.freezes.values()
        if not self.state.positions[place].confirmed:
            return "HELD_UNCONFIRMED"
        held = any(f["place"] == place and f["fruits"] and f["effective"] for f in freezes)
        return "HELD_FROZEN" if held else "PAYABLE"

    def on_close_account(self, event: Row, day: str) -> None:
        account = event["account"]
        self.evidence(event)
        self.accounts(account)
        holds = any(a == account for a, _, _ in self.state.positions)
        waits = any(q for (a, _, _), q in self.state.queues.items() if a == account)
        need(not holds and not waits, "ACCOUNT_NOT_EMPTY")
        self.state.accounts[account] = "CLOSED"
