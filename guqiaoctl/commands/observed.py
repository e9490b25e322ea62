"""`guqiao observed`: asks nodes of a FISCO BCOS 3 chain, and prints only what was verified."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.fisco.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    encode_checkpoint,
    parse_checkpoint,
)
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import DEPTH_BOUND, Json, parse_json_strict
from guqiao_sdk.proof.observed_bundle import ObservedBundle
from guqiao_sdk.rules import messages
from guqiaoctl.commands.calls import guarded
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.input_files import read_input
from guqiaoctl.output import print_json, print_table, shown
from guqiaoctl.result_files import beside, whole_file
from services.chassis.errors import NotFoundError, ServiceError, UnavailableError
from services.gateway.observed.fisco import FiscoObserved
from services.gateway.observed.json_rpc import JsonRpcNodes
from services.gateway.observed.port import ObservedHeader, ObservedTransaction

T = TypeVar("T")

_HASH: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


def status(checkpoint: Path, nodes: Sequence[str], ca: Path | None, *, as_json: bool) -> None:
    """Print where a node says that it stands."""
    told = _read(checkpoint, nodes, ca, lambda chain: chain.status())
    _print(
        {
            "height": told.height,
            "header_hash": told.header_hash.hex(),
            "catching_up": told.is_catching_up,
            "voters": told.voters,
            "proven": False,
        },
        as_json=as_json,
    )


def header(
    checkpoint: Path,
    nodes: Sequence[str],
    ca: Path | None,
    *,
    height: int,
    save: Path | None,
    as_json: bool,
) -> None:
    """Print a header that was verified, and the ids of all transactions under it."""
    with whole_file(save) as write:

        async def read(chain: FiscoObserved) -> tuple[ObservedHeader, tuple[bytes, ...], bytes]:
            found = await chain.header(height)
            ids = await chain.transactions(found.height)
            return found, ids, encode_checkpoint(chain.trusted)

        found, ids, believed = _read(checkpoint, nodes, ca, read)
        write(believed + b"\n")
    _print(
        {
            "height": found.height,
            "header_hash": found.header_hash.hex(),
            "parent": found.parent.hex(),
            "time_ms": found.time_ms,
            "signers": [key.hex() for key in found.signers],
            "transactions": [each.hex() for each in ids],
            "proven": True,
        },
        as_json=as_json,
    )


def transaction(
    name: str,
    checkpoint: Path,
    nodes: Sequence[str],
    ca: Path | None,
    *,
    to: Path | None,
    as_json: bool,
) -> None:
    """Print a transaction that was verified with its receipt; with `to`, write both as a bundle."""
    named = _HASH.fullmatch(name)
    if named is None:
        raise _wrong(f"{shown(name[:80])} is no hash", f"{shown(name[:80])} 不是哈希")
    wanted = bytes.fromhex(named[1])
    with whole_file(to) as write:

        async def read(chain: FiscoObserved) -> tuple[ObservedTransaction, bytes]:
            found = await chain.transaction(wanted)
            return found, _bundle(chain.trusted, await chain.header(found.height), found)

        found, bundle = _read(checkpoint, nodes, ca, read)
        write(bundle)
    _print(
        {
            "transaction_id": found.transaction_id.hex(),
            "height": found.height,
            "index": found.index,
            "sender": found.sender,
            "target": found.target,
            "body": found.body.hex(),
            "succeeded": found.succeeded,
            "outcome": found.outcome,
            "result": found.result.hex(),
            "proven": True,
        },
        as_json=as_json,
        result=to,
    )


def _bundle(trusted: TrustedFisco, header: ObservedHeader, found: ObservedTransaction) -> bytes:
    both = _parsed(found.proof)
    assert isinstance(both, dict), "the adapter writes an object"
    return ObservedBundle(
        chain_id=trusted.chain_id,
        group_id=trusted.group_id,
        genesis_hash=trusted.genesis_hash,
        header=_parsed(header.proof),
        transaction=both["transaction"],
        receipt=both["receipt"],
    ).encode()


def _parsed(proof: bytes) -> Json:
    return parse_json_strict(proof, depth_max=DEPTH_BOUND, size_max=len(proof))


def _read(
    checkpoint: Path,
    urls: Sequence[str],
    ca: Path | None,
    read: Callable[[FiscoObserved], Awaitable[T]],
) -> T:
    """What `read` gives; raises `CliError`."""
    trusted = guarded(parse_checkpoint, read_input(checkpoint, CHECKPOINT_BYTES_MAX))
    tls = _tls(ca) if any(url.startswith("https:") for url in urls) else None

    async def run() -> T:
        nodes = JsonRpcNodes(urls, tls)
        return await read(FiscoObserved(trusted, nodes, open_provider().verify))

    try:
        return guarded(asyncio.run, run())
    except ValueError as error:
        raise _wrong(f"--node: {error}", f"--node：{error}") from error
    except ServiceError as error:
        raise _failure_of(error) from error


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _wrong(f"--ca {ca}: {reason}", f"--ca {ca}：{reason}") from error


def _failure_of(error: ServiceError) -> CliError:
    texts = messages(error.code, **error.fields)
    exit_code = EXIT_CONFLICT
    if isinstance(error, UnavailableError):
        exit_code = EXIT_UNAVAILABLE
    elif isinstance(error, NotFoundError):
        exit_code = EXIT_NOT_FOUND
    return CliError(
        error.code, texts.en, texts.zh, texts.remedy_en, texts.remedy_zh, exit_code=exit_code
    )


def _print(facts: Mapping[str, Any], *, as_json: bool, result: Path | None = None) -> None:
    """On standard output, or beside a `result` that goes there."""
    if as_json:
        print_json(facts, beside(result))
        return
    rows = []
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        rows += [(name if not place else "", str(each)) for place, each in enumerate(values)]
    print_table(("WHAT", "IS"), rows, beside(result))


def _wrong(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao observed --help`",
        "请查看 `guqiao observed --help`",
        exit_code=EXIT_USAGE,
    )
