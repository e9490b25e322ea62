"""Where each record of the register lives: the only place that knows a key.

Keys are built from parts that may hold any text, so `/` and `%` are escaped inside a part, and the
digest of a long part stands for it. Holdings lie by product and then account, which is the order of
rosters and payable lists.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import long_text, records
from services.consensus.domain.contracts.register.records import (
    Account,
    Company,
    Encumbrance,
    Freeze,
    Holding,
    Market,
    Parameters,
    Pledge,
    Product,
)

MARKET: Final = "market"
SHARE_NATURES: Final = "share_natures"
EVENT_KEYS: Final = "event_keys"
PARAMETERS: Final = "parameters"

PART_BYTES_MAX: Final = 128
"""A key has at most four parts and the contract's name: fewer than the ledger's 500 bytes."""

_DIGEST_MARK: Final = "%sm3:"
"""No escaped text has it: in those `%` is followed by 25 or 2F."""

_EMPTY: Final = Holding()


def key(*parts: str) -> str:
    """Join the parts of a key, so that different parts never give the same key."""
    return "/".join(map(part_of_key, parts))


def part_of_key(text: str) -> str:
    """Return what stands in a key for a text; different for different texts."""
    escaped = text.replace("%", "%25").replace("/", "%2F")
    if len(escaped.encode()) <= PART_BYTES_MAX:
        return escaped
    return _DIGEST_MARK + long_text.digest_of(text)


def unkey(joined: str) -> tuple[str, ...]:
    """Return the parts of a key; of a long one, only what stands for it."""
    return tuple(part.replace("%2F", "/").replace("%25", "%") for part in joined.split("/"))


def find_market(host: Host) -> Market | None:
    """Return the market's parameters, once they are configured."""
    stored = host.get(MARKET)
    return None if stored is None else records.market_from_json(stored)


def get_parameters(host: Host) -> Parameters:
    """Return the genesis parameters. What genesis does not say is off."""
    stored = host.get(PARAMETERS)
    if stored is None:
        return Parameters()
    given = records.members(stored)
    return Parameters(
        historic_import=given.get("historic_import") is True,
        checker_required=records.texts(given.get("checker_required", [])),
    )


def evidence_required(host: Host, event_key: str) -> tuple[str, ...]:
    """Return the evidence kinds that an event of this key needs."""
    stored = host.get(key("evidence", event_key))
    return () if stored is None else records.texts(stored)


def nature_forms(host: Host) -> dict[str, tuple[str, ...]]:
    """Return the company forms that may carry each share nature."""
    stored = records.members(host.get(SHARE_NATURES))
    return {nature: records.texts(records.members(row)["forms"]) for nature, row in stored.items()}


def find_row(host: Host, catalogue: str, reference: str) -> dict[str, Json] | None:
    """Return a row of reference data: of `company_row`, `investor_row` or `product_row`."""
    stored = host.get(key(catalogue, reference))
    return None if stored is None else records.members(stored)


def find_company(host: Host, company_ref: str) -> Company | None:
    """Return a registered company."""
    stored = host.get(key("company", company_ref))
    return None if stored is None else records.company_from_json(stored)


def is_uscc_registered(host: Host, uscc: str) -> bool:
    """Tell whether any company with this code is registered."""
    return host.get(key("company_uscc", uscc)) is not None


def put_company(host: Host, company: Company) -> None:
    """Write a registered company and its code."""
    host.put(key("company", company.company_ref), records.company_to_json(company))
    host.put(key("company_uscc", company.uscc), company.company_ref)


def find_account(host: Host, code: str) -> Account | None:
    """Return an account that was ever opened."""
    stored = host.get(key("account", code))
    return None if stored is None else records.account_from_json(stored)


def put_account(host: Host, account: Account) -> None:
    """Write an account."""
    host.put(key("account", account.code), records.account_to_json(account))


def find_account_of_identity(host: Host, id_type: str, digest: str) -> str | None:
    """Return the code under which this identity ever opened an account."""
    return records.text_or_none(host.get(key("identity", id_type, digest)))


def put_identity(host: Host, id_type: str, digest: str, code: str) -> None:
    """Remember the code of an identity, for ever."""
    host.put(key("identity", id_type, digest), code)


def find_product(host: Host, code: str) -> Product | None:
    """Return a registered product."""
    stored = host.get(key("product", code))
    return None if stored is None else records.product_from_json(stored)


def put_product(host: Host, product: Product) -> None:
    """Write a registered product."""
    host.put(key("product", product.code), records.product_to_json(product))


def get_holding(host: Host, product_code: str, account: str) -> Holding:
    """Return what the account has in the product; an empty holding where it never had any."""
    stored = host.get(key("holding", product_code, account))
    return _EMPTY if stored is None else records.holding_from_json(stored)


def put_holding(host: Host, product_code: str, account: str, holding: Holding) -> None:
    """Write a holding."""
    host.put(key("holding", product_code, account), records.holding_to_json(holding))


def set_held(host: Host, product_code: str, account: str, *, held: bool) -> None:
    """Keep the list of products in which an account has a position."""
    if held:
        host.put(key("held", account, product_code), True)
    else:
        host.delete(key("held", account, product_code))


def find_freeze(host: Host, number: str) -> Freeze | None:
    """Return an accepted freeze, ended or not."""
    stored = host.get(key("freeze", number))
    return None if stored is None else records.freeze_from_json(stored)


def find_pledge(host: Host, number: str) -> Pledge | None:
    """Return an accepted pledge, ended or not."""
    stored = host.get(key("pledge", number))
    return None if stored is None else records.pledge_from_json(stored)


def put_encumbrance(host: Host, record: Encumbrance) -> None:
    """Write a freeze or a pledge."""
    if isinstance(record, Freeze):
        host.put(key("freeze", record.number), records.freeze_to_json(record))
    else:
        host.put(key("pledge", record.number), records.pledge_to_json(record))
