"""Who takes part in the demonstration network: invented organisations, their people and services.

Credit codes carry the unassigned area 370199, so they cannot belong to anyone. Every chain has four
replicas of four legal entities (G2-07-2, G2-16-3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS: Final = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def synthetic_uscc(number: int) -> str:
    """A credit code with a right check character that no one can hold (GB 32100)."""
    first = f"91370199MA99{number:05d}"
    total = sum(
        _USCC_ALPHABET.index(character) * weight
        for character, weight in zip(first, _USCC_WEIGHTS, strict=True)
    )
    return first + _USCC_ALPHABET[(31 - total % 31) % 31]


@dataclass(frozen=True, slots=True)
class Organisation:
    """A legal entity of one domain."""

    domain: str
    name: str
    uscc: str

    @property
    def did(self) -> str:
        """Its DID (JR/T 0325: markets and bodies are named by their credit code)."""
        return f"did:rem:{self.domain}:{self.uscc}"

    def member(self, name: str) -> str:
        """The DID of one of its people or services."""
        return f"{self.did}.{name}"


@dataclass(frozen=True, slots=True)
class Account:
    """A person or a service with one key, and its roles on each chain that knows it."""

    name: str
    organisation: Organisation
    roles: dict[str, tuple[str, ...]]

    @property
    def did(self) -> str:
        """Its DID."""
        return self.organisation.member(self.name)


CSRC: Final = "csrc"
MARKET: Final = "shandong"
CHAINS: Final = (CSRC, MARKET)
REPLICAS: Final = 4


def _organisations(domain: str, first: int, names: tuple[str, ...]) -> tuple[Organisation, ...]:
    return tuple(
        Organisation(domain, f"{name}（演示）", synthetic_uscc(first + index))
        for index, name in enumerate(names)
    )


ENTITIES: Final[dict[str, tuple[Organisation, ...]]] = {
    CSRC: _organisations(
        CSRC,
        100,
        (
            "演示证券监管科技中心",
            "演示登记结算技术公司",
            "演示投资者保护中心",
            "演示证券监管数据中心",
        ),
    ),
    MARKET: _organisations(
        MARKET,
        200,
        (
            "演示齐鲁股权交易中心",
            "演示泉城资金存管银行",
            "演示省金融科技服务中心",
            "演示泰山公证存证中心",
        ),
    ),
}

REGULATOR: Final = ENTITIES[CSRC][0]
OPERATOR: Final = ENTITIES[MARKET][0]
PROVINCE: Final = _organisations(MARKET, 300, ("演示省地方金融管理局",))[0]

ACCOUNTS: Final = (
    Account("admin", REGULATOR, {CSRC: ("identity_admin", "chain_admin", "supervisor")}),
    Account("supervisor", REGULATOR, {CSRC: ("supervisor",)}),
    Account("market", REGULATOR, {CSRC: ("csrc_market",)}),
    Account("tech", REGULATOR, {CSRC: ("csrc_tech", "contract_reviewer")}),
    Account("duty", REGULATOR, {CSRC: ("csrc_tech",)}),
    Account(
        "gateway",
        REGULATOR,
        {CSRC: ("relayer", "observer"), MARKET: ("observer", "peer_gateway")},
    ),
    Account("reporting", REGULATOR, {CSRC: ("observer",)}),
    Account("enablement", REGULATOR, {CSRC: ("observer",)}),
    Account("admin", OPERATOR, {MARKET: ("identity_admin", "market_admin", "observer")}),
    Account("institution", OPERATOR, {MARKET: ("registration_institution",)}),
    Account("maker", OPERATOR, {MARKET: ("operator_maker", "observer"), CSRC: ("operator_maker",)}),
    Account(
        "checker",
        OPERATOR,
        {
            MARKET: ("operator_checker", "contract_reviewer", "observer"),
            CSRC: ("operator_checker",),
        },
    ),
    Account(
        "gateway",
        OPERATOR,
        {MARKET: ("relayer", "observer"), CSRC: ("peer_gateway",)},
    ),
    Account("province", PROVINCE, {CSRC: ("provincial_regulator",)}),
    Account("registry", OPERATOR, {MARKET: ("observer",)}),
    Account("reporting", OPERATOR, {MARKET: ("observer",)}),
    Account("publisher", OPERATOR, {CSRC: ("service_publisher",), MARKET: ("observer",)}),
    *(
        Account(f"{name}-{number}", entity, {chain: (name,)})
        for chain in CHAINS
        for number, entity in enumerate(ENTITIES[chain])
        for name in ("governor", "replica")
    ),
)
"""Of each entity with a replica, the last are two: who decides on the replica set for it, and whom
its replica submits evidence as.
"""


def account(domain: str, name: str) -> Account:
    """The account `name` of `domain`; it must exist."""
    for candidate in ACCOUNTS:
        if candidate.name == name and candidate.organisation.domain == domain:
            return candidate
    raise KeyError(f"{domain}/{name}")


SERVICES: Final = (
    (CSRC, "gateway"),
    (MARKET, "gateway"),
    (MARKET, "registry"),
    (MARKET, "reporting"),
    (CSRC, "reporting"),
    (CSRC, "enablement"),
)
"""(domain, service) of every service process."""
