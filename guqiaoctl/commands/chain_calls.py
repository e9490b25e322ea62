"""What commands do with a chain: read what its state proves, and submit in the name of accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from guqiao_sdk import rules
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.proven import ProvenState
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import DEPTH_BOUND, Json, parse_json_strict
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_DENIED, EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network

VALUE_BYTES_MAX: Final = 2 * 1024 * 1024
Call = tuple[str, str, Mapping[str, Json]]
"""Contract, method, body."""
_EXIT_CODES: Final = {
    grpc.StatusCode.PERMISSION_DENIED.name: EXIT_DENIED,
    grpc.StatusCode.NOT_FOUND.name: EXIT_NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT.name: EXIT_USAGE,
}


async def proven_value(client: ChainClient, key: str, height: int) -> Json:
    """What stands under a whole key at a height; None where its absence is proven. Genesis, which
    nobody certified, proves nothing: it knows no record of a contract that is asked for here.
    """
    return None if height == 0 else value_of(await client.get_state_proof(key, height))


async def proven_record(client: ChainClient, key: str, height: int) -> dict[str, Json] | None:
    """The same for what a contract keeps as an object."""
    return _record(await proven_value(client, key, height))


def value_of(proven: ProvenState) -> Json:
    """The value that was proven, or None."""
    if proven.value is None:
        return None
    return parse_json_strict(proven.value, depth_max=DEPTH_BOUND, size_max=VALUE_BYTES_MAX)


def record_of(proven: ProvenState) -> dict[str, Json] | None:
    """The same for what a contract keeps as an object."""
    return _record(value_of(proven))


def _record(value: Json) -> dict[str, Json] | None:
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


async def submit(
    network: Network,
    chain: str,
    call: Call,
    *,
    maker: str,
    checker: str | None = None,
    domain: str | None = None,
) -> TransactionResult:
    """Call a method in the name of accounts of a domain, the chain's own where none is given;
    whatever comes of it.
    """
    provider = open_provider()
    signer, second = (
        None if name is None else open_identity(network, provider, domain or chain, name)
        for name in (maker, checker)
    )
    assert signer is not None
    async with open_chain(network, provider, chain, signer) as client:
        return await client.call(*call, checker=second)


def accepted(result: TransactionResult) -> TransactionResult:
    """The result, or the `CliError` of a refusal."""
    if not result.accepted:
        raise refused(result)
    return result


def refused(result: TransactionResult) -> CliError:
    """The failure for a transaction that the chain refused."""
    return failure(result.code, **result.detail)


def failure(code: str, /, **facts: object) -> CliError:
    """The failure for a code of the rule catalogue, with its texts and exit code."""
    texts = rules.messages(code, **facts)
    exit_code = _EXIT_CODES.get(rules.rule(code).grpc, EXIT_CONFLICT)
    return CliError(code, texts.en, texts.zh, texts.remedy_en, texts.remedy_zh, exit_code=exit_code)
