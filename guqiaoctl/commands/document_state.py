"""What the market's chain proves of documents, and transactions of its accounts upon them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk import rules
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.json_values import DEPTH_BOUND, Json, parse_json_strict
from guqiaoctl.commands.governance import READERS, refused
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_DENIED, EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import ACCOUNTS, MARKET
from guqiaoctl.output import shown

CONTRACT: Final = "documents"
RECORD_BYTES_MAX: Final = 2 * 1024 * 1024
OPERATOR: Final = ("maker", "checker")
ADMINISTRATOR: Final = ("admin", "checker")
_EXIT_CODES: Final = {"NOT_FOUND": EXIT_NOT_FOUND, "PERMISSION_DENIED": EXIT_DENIED}


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads proven state at one height; `height` 0 is before the first certified block."""

    client: ChainClient
    height: int
    block_time_ms: int = 0

    async def record(self, key: str, contract: str = CONTRACT) -> dict[str, Any] | None:
        """The record under a key, or None where its absence is proven."""
        value = await self.value(key, contract)
        assert value is None or isinstance(value, dict), "the contract wrote it"
        return value

    async def value(self, key: str, contract: str = CONTRACT) -> Json:
        """The same for any value."""
        if self.height == 0:  # Nobody certified genesis, and it knows no document.
            return None
        proven = await self.client.get_state_proof(f"{contract}/{key}", self.height)
        if proven.value is None:
            return None
        return parse_json_strict(proven.value, depth_max=DEPTH_BOUND, size_max=RECORD_BYTES_MAX)


def client_of(network: Network, provider: GmProvider, account: str = "") -> ChainClient:
    """A client in the name of an account, or of the one that reads the chain."""
    identity = open_identity(network, provider, MARKET, account or READERS[MARKET])
    return open_chain(network, provider, MARKET, identity)


async def latest(client: ChainClient) -> Reader:
    """A reader at the latest certified height."""
    position = await client.latest()
    return Reader(client, position.height, position.block_time_ms)


async def take(
    network: Network, provider: GmProvider, signers: tuple[str, str], call: tuple[str, Any]
) -> TransactionResult:
    """Submit a method with its body in the name of maker and checker, whatever comes of it."""
    maker, checker = (open_identity(network, provider, MARKET, name) for name in signers)
    async with open_chain(network, provider, MARKET, maker) as client:
        transaction = await client.build(CONTRACT, *call, checker=checker)
        return await client.submit(transaction)


def accepted(result: TransactionResult) -> TransactionResult:
    """The result, or the `CliError` of a refusal."""
    if not result.accepted:
        raise refused(result)
    return result


def failure(code: str, /, **fields: object) -> CliError:
    """The failure for a code that no transaction was refused with."""
    texts = rules.messages(code, **fields)
    exit_code = _EXIT_CODES.get(rules.rule(code).grpc, EXIT_CONFLICT)
    return CliError(code, texts.en, texts.zh, texts.remedy_en, texts.remedy_zh, exit_code=exit_code)


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
