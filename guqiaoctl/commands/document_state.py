"""What the market's chain proves of documents, and transactions of its accounts upon them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.chain_calls import failure, proven_record, proven_value, submit
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import ACCOUNTS, MARKET
from guqiaoctl.output import shown

CONTRACT: Final = "documents"
OPERATOR: Final = ("maker", "checker")
ADMINISTRATOR: Final = ("admin", "checker")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads proven state at one height; `height` 0 is before the first certified block."""

    client: ChainClient
    height: int
    block_time_ms: int = 0

    async def record(self, key: str, contract: str = CONTRACT) -> dict[str, Any] | None:
        """The record under a key, or None where its absence is proven."""
        return await proven_record(self.client, f"{contract}/{key}", self.height)

    async def value(self, key: str, contract: str = CONTRACT) -> Json:
        """The same for any value."""
        return await proven_value(self.client, f"{contract}/{key}", self.height)


def client_of(network: Network, provider: GmProvider, account: str = "") -> ChainClient:
    """A client in the name of an account, or of the one that reads the chain."""
    identity = open_identity(network, provider, MARKET, account or READERS[MARKET])
    return open_chain(network, provider, MARKET, identity)


async def latest(client: ChainClient) -> Reader:
    """A reader at the latest certified height."""
    position = await client.latest()
    return Reader(client, position.height, position.block_time_ms)


async def take(
    network: Network, signers: tuple[str, str], call: tuple[str, Mapping[str, Json]]
) -> TransactionResult:
    """Submit a method with its body in the name of maker and checker, whatever comes of it."""
    maker, checker = signers
    return await submit(network, MARKET, (CONTRACT, *call), maker=maker, checker=checker)


def wrong(en: str, zh: str) -> CliError:
    """What the user gave does not fit."""
    return CliError(
        "REQUEST_MALFORMED",
        en,
        zh,
        "see `guqiao document --help`",
        "请查看 `guqiao document --help`",
        exit_code=EXIT_USAGE,
    )


def known_account(name: str) -> str:
    """An account of the market, or a `CliError`."""
    if all((each.name, each.organisation.domain) != (name, MARKET) for each in ACCOUNTS):
        raise wrong(f"{MARKET} has no account {shown(name)}", f"{MARKET} 没有账户 {shown(name)}")
    return name


def did_of(reader: str) -> str:
    """The DID of a reader that is named by it or by an account of the market."""
    if reader.startswith("did:"):
        return reader
    known_account(reader)
    return next(
        each.did for each in ACCOUNTS if (each.name, each.organisation.domain) == (reader, MARKET)
    )


def version_key(document: str, version: int) -> str:
    """Where the contract keeps a version."""
    return f"version/{document}/{version:020d}"


async def version_of(reader: Reader, document: str, version: int) -> Mapping[str, Any]:
    """A version, the latest where 0 is asked for, or the `CliError` that there is none."""
    if not version:
        head = await reader.record(f"document/{document}")
        version = 0 if head is None else int(head["latest"])
    found = await reader.record(version_key(document, version)) if version else None
    if found is None:
        raise failure("DOCUMENT_UNKNOWN", document=document)
    return found
