"""The words that tests of corporate actions speak: a market whose calls a second person checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.register_keys import key
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.register.contract import CORPORATE_ACTIONS, REGISTER_V5
from tests.unit.contracts.memory_host import INSTITUTION, MemoryHost
from tests.unit.contracts.register_market import DAY, DIGEST, Market, entry, product_code

HOLDER, OTHER, THIRD = "Q000000001", "Q000000002", "Q000000003"
PLEDGEE: Final = "91370199MA990001X4"
CHECKER: Final = Party(
    did="did:rem:shandong:91370199MA990001X4",
    key_id="key-1",
    organisation=INSTITUTION.organisation,
    roles=frozenset({"operator_checker"}),
)
RESOLUTION: Final[list[Json]] = [{"kind": "shareholder_resolution", "digest": DIGEST}]

Body = dict[str, Any]
Call = tuple[str, Body]


def checked_market(*roster: Body, holder_cap: int = 200) -> Market:
    """Three accounts; product 1 with 1,000 shares, unless `roster` divides them otherwise."""
    market = Market(contract=REGISTER_V5, holder_cap=holder_cap)
    market.host.second_party = CHECKER
    for number in (1, 2, 3):
        market.account(number)
    market.register(*(roster or [entry(HOLDER, 1_000)]))
    return market


def acting(method: str, number: str, before: int, after: int, **figures: Any) -> Call:
    """A call of an action on product 1, on the market's first day."""
    common: Body = {
        "action_no": number,
        "product_code": product_code(1),
        "record_date": DAY,
        "total_before": before,
        "total_after": after,
        "evidence": list(RESOLUTION),
    }
    return method, {**common, **figures}


def issuing_to_all(
    per_ten: int,
    *,
    before: int = 1_000,
    method: str = "bonus_issue",
    number: str = "A1",
    pledges: tuple[str, ...] = (),
    freezes: tuple[str, ...] = (),
) -> Call:
    named = {"pledges": [*pledges], "freezes": [*freezes]}
    after = before + before * per_ten // 10
    return acting(method, number, before, after, per_ten=per_ten, **named)


def splitting(
    parts: int,
    *,
    before: int = 1_000,
    number: str = "A1",
    pledges: tuple[str, ...] = (),
    freezes: tuple[str, ...] = (),
) -> Call:
    named = {"pledges": [*pledges], "freezes": [*freezes]}
    return acting("share_split", number, before, before * parts, parts=parts, **named)


def reducing(per_ten: int, *, before: int = 1_000, number: str = "A1") -> Call:
    after = before - before * per_ten // 10
    return acting("capital_reduction", number, before, after, per_ten=per_ten)


def buying_back(*offers: Body, before: int = 1_000, number: str = "A1") -> Call:
    after = before - sum(each["shares"] for each in offers)
    return acting("buy_back", number, before, after, price_fen=250, offers=[*offers])


def offer(account: str, shares: int, nature: str = "51") -> Body:
    return {"account": account, "nature": nature, "shares": shares}


def detail_of(market: Market, call: Call) -> Body:
    """What an accepted action announces of itself."""
    detail: Any = dict(market.do(*call).events)[f"register.{call[0]}_recorded"]
    return dict(detail)


def standing(host: MemoryHost, code: str) -> dict[str, list[str]]:
    """The pledges and freezes with something outstanding on positions of a product."""
    held = {account for account, _ in positions_of(host, code)}
    found: dict[str, list[str]] = {"pledges": [], "freezes": []}
    for kind, counts in (("pledge", ("outstanding",)), ("freeze", ("effective", "waiting"))):
        for _, value in host.scan(f"{kind}/", 1_000_000):
            record: Any = value
            of_product = record["product_code"] == code and record["account"] in held
            if of_product and any(record[count] for count in counts):
                found[f"{kind}s"].append(record["number"])
    return found


def positions_of(host: MemoryHost, code: str) -> dict[tuple[str, str], Body]:
    """The positions of a product by account and nature, in that order."""
    prefix = key("holding", code) + "/"
    found: dict[tuple[str, str], Body] = {}
    for place, value in host.scan(prefix, 1_000_000):
        holding: Any = value
        for nature, position in sorted(holding["positions"].items()):
            found[place.removeprefix(prefix), nature] = position
    return found


def actions_on(host: MemoryHost, day: str) -> Iterator[Call]:
    """One call of each action that increases, on the product with most encumbrances, and of those
    that cancel, on one with none; each from the state that the one before it left.
    """
    products: list[Any] = [value for _, value in host.scan("product/", 1_000_000)]
    codes = sorted((product["code"] for product in products), key=lambda code: weight(host, code))
    for method in CORPORATE_ACTIONS:
        code = codes[0 if method in ("capital_reduction", "buy_back") else -1]
        product: Any = host.get(key("product", code))
        after, figures = figures_of(method, host, code, product["registered_total"])
        call = acting(method, f"A-{method}", product["registered_total"], after, **figures)
        yield method, {**call[1], "product_code": code, "record_date": day}


def figures_of(method: str, host: MemoryHost, code: str, total: int) -> tuple[int, Body]:
    """The total after an action, and the members that only it has."""
    match method:
        case "share_split":
            return total * 3, {"parts": 3, **standing(host, code)}
        case "capital_reduction":
            return total - total // 10, {"per_ten": 1}
        case "buy_back":
            free = (each for each in positions_of(host, code).items() if each[1]["confirmed"])
            (account, nature), _ = next(each for each in free if not each[1]["restricted_until"])
            offer = {"account": account, "nature": nature, "shares": 1}
            return total - 1, {"price_fen": 250, "offers": [offer]}
    return total + total * 2 // 10, {"per_ten": 2, **standing(host, code)}


def weight(host: MemoryHost, code: str) -> int:
    return sum(map(len, standing(host, code).values()))
