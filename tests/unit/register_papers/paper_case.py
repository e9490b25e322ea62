"""A small register on a real ledger, and its papers: proven, signed, judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.bundle import CertifiedHeader
from guqiao_sdk.proof.extract import Extract, Fact
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.register_papers.export import build_export, divided
from guqiao_sdk.register_papers.history import History
from guqiao_sdk.register_papers.institution import Seal, Signer
from guqiao_sdk.register_papers.manifest import NAME, Manifest
from guqiao_sdk.register_papers.proven import identity_key
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from tests.plugins.market_ledger import market_chain
from tests.unit.contracts.register_market import (
    DAY,
    company_registration,
    company_row,
    dataset_days,
    entry,
    evidence,
    investor_row,
    market_body,
    opening,
    product_code,
    product_row,
    registration,
    sale,
)
from tests.unit.proof.bundle_case import ISSUER, chain_trust
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import Block, LedgerChain

KEYS = FakeKeys()
PRODUCT = product_code(1)
ACCOUNTS = ("Q000000001", "Q000000002", "Q000000003")
CLERK = "did:rem:shandong:91370000MA0000000X.clerk"
TIME = f"{DAY}T10:00:00+08:00"

Call = tuple[str, dict[str, Any]]
Files = dict[str, bytes]


def pledge(number: str, account: str, shares: int, *, product: int = 1) -> Call:
    return "pledge", {
        "pledge_no": number,
        "account": account,
        "product_code": product_code(product),
        "nature": "51",
        "shares": shares,
        "pledgee_uscc": "91370199MA9900001C",
        "evidence": evidence("pledge"),
    }


def release(number: str, shares: int) -> Call:
    body = {"pledge_no": number, "shares": shares, "evidence": evidence("release_pledge")}
    return "release_pledge", body


def freeze(number: str, account: str, shares: int) -> Call:
    return "freeze", {
        "freeze_no": number,
        "category": "judicial_enforcement",
        "account": account,
        "product_code": PRODUCT,
        "nature": "51",
        "shares": shares,
        "court_doc_no": "(2025)鲁01执1号",
        "term_end": "2026-08-31",
        "fruits": True,
        "evidence": evidence("freeze"),
    }


def transfer(seller: str, buyer: str, shares: int) -> Call:
    return "transfer", sale(seller, buyer, shares, reason="gift")


@dataclass
class Register:
    """A chain with a register on it, whose institution is the identity that holds every role."""

    chain: LedgerChain = field(default_factory=lambda: market_chain(KEYS, others=[_clerk()]))

    def __post_init__(self) -> None:
        self.first_set = self.chain.replicas.set
        days = [day for day in dataset_days() if day.startswith("2025")]
        self.do(
            ("configure_market", market_body()),
            ("put_trading_days", {"year": 2025, "days": days}),
            ("put_companies", {"companies": [company_row(1), company_row(2)]}),
            ("put_products", {"products": [product_row(1), product_row(2)]}),
            ("put_investors", {"investors": [investor_row(n) for n in (1, 2, 3)]}),
            *(("open_account", opening(number)) for number in (1, 2, 3)),
            ("register_company", company_registration(1)),
        )

    def run(self, *calls: Call) -> tuple[Receipt, ...]:
        """One block of calls."""
        made = (self.chain.transaction("register", *call, business_time=TIME) for call in calls)
        return self.chain.execute(*made).receipts

    def do(self, *calls: Call) -> None:
        """The same of calls that must be accepted."""
        for receipt in self.run(*calls):
            assert receipt.accepted, (receipt.code, receipt.detail)

    def open_with(self, *shares: int) -> None:
        """Register the product with a holding of each account that has shares."""
        held = zip(ACCOUNTS, shares, strict=False)
        self.do(("initial_registration", registration(*(entry(*each) for each in held if each[1]))))

    def trust(self) -> Trust:
        return Trust(
            issuer_did=ISSUER,
            issuer_key=KEYS.public_key(ISSUER),
            issued_at="2026-01-05T09:30:00+08:00",
            chains=(chain_trust(self.chain, self.first_set),),
        )

    def history(self, height: int | None = None, product: str = PRODUCT) -> History:
        found = History(product)
        for at in range(1, (height or self.chain.header.height) + 1):
            found.apply(verified(self.chain.blocks[at]))
        return found

    def extract(self, keys: Iterable[str], *, did: str, height: int | None = None) -> Extract:
        """At the latest height, unless a test says another that had the same state."""
        at = height or self.chain.header.height
        block = self.chain.blocks[at]
        [names] = divided([*keys, identity_key(did)])
        facts = [
            Fact(
                name.encode(),
                self.chain.state.get(name.encode()),
                self.chain.prove_at(name.encode(), at),
            )
            for name in names
        ]
        certified = CertifiedHeader.build(self.first_set, block.header, block.certificate, ())
        return Extract(certified, tuple(facts))

    def seal(self, did: str = "") -> Seal:
        name = did or self.chain.did
        signer = Signer(name, "key-1", KEYS.public_key(name))
        return Seal(signer, lambda message: KEYS.sign(name, message))

    def export(self, *, did: str = "") -> Files:
        """The package as at the latest height, signed by the institution."""
        history, seal = self.history(), self.seal(did)
        listing = history.listing()
        extract = self.extract(listing.keys(), did=seal.signer.did)
        return build_export(listing, history.changes, [extract], seal)

    def signed_again(self, files: Mapping[str, bytes], **changes: Any) -> Files:
        """As an institution would that vouches for what is in the files now."""
        earlier = replace(Manifest.decode(files[NAME]), **changes)
        seal = self.seal()
        contents = {name: content for name, content in files.items() if name != NAME}
        manifest = Manifest.build(
            chain_id=earlier.chain_id,
            height=earlier.height,
            block_time_ms=earlier.block_time_ms,
            product=earlier.product,
            files=contents,
            seal=seal,
        )
        return {**contents, NAME: manifest.encode()}


def verified(block: Block) -> VerifiedBlock:
    transactions = tuple(SignedTransaction.decode(each) for each in block.transactions)
    batch = Batch(block.header.block_time_ms, block.transactions)
    return VerifiedBlock(
        block.header, block.certificate, batch, transactions, block.receipts, ledger_pb2.Block()
    )


def _clerk() -> IdentityRecord:
    """Somebody of the same organisation who is not the institution."""
    key = KeyRecord(KEYS.public_key(CLERK), 0, 1 << 52, revoked=False)
    return IdentityRecord(
        CLERK, CLERK.partition(".")[0], frozenset({"operator_maker"}), True, {"key-1": key}
    )


def busy() -> Register:
    """Two natures of encumbrance, a queue, a holder that left, and one that came."""
    register = Register()
    register.open_with(600, 400)
    register.do(pledge("P-1", ACCOUNTS[0], 100), pledge("=P-2", ACCOUNTS[0], 50))
    register.do(transfer(ACCOUNTS[1], ACCOUNTS[2], 400))
    register.do(freeze("F-1", ACCOUNTS[2], 300), freeze("F-2", ACCOUNTS[2], 250))
    register.do(freeze("F-3", ACCOUNTS[2], 10), release("P-1", 100))
    return register
