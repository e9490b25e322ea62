"""JSON-RPC 2.0 to the nodes of one chain: reading only, so a question may be asked again elsewhere.

A reading is done whole at one node. When that one is away, refuses, or sends what does not hold,
the next one is asked, each at most twice and all within one time-out: one node speaks for none of
the others. Bounds: questions under way, bytes and depth of an answer, seconds of each and of all.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.trusted import ForkError
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from services.gateway.observed.errors import (
    AnswerMalformedError,
    ItemUnknownError,
    NodeRefusedError,
    NodeUnavailableError,
)
from services.gateway.observed.http import Endpoint, post

T = TypeVar("T")

ATTEMPT_SECONDS: Final = 5.0
CALL_SECONDS: Final = 20.0
BACKOFF_SECONDS: Final = 0.2
ROUNDS: Final = 2
NODES_MAX: Final = 16
IN_FLIGHT_MAX: Final = 8
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of blocks only headers and hashes are asked for; the largest answer is a transaction's input."""

ANSWER_DEPTH_MAX: Final = 12
ANSWER_ITEMS_MAX: Final = 500_000
"""Values in an answer: a value of three bytes takes a hundred in memory."""

_FAILURES: Final = (
    ProofError,
    NodeUnavailableError,
    NodeRefusedError,
    AnswerMalformedError,
    ItemUnknownError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds in seconds and bytes."""

    attempt_seconds: float = ATTEMPT_SECONDS
    call_seconds: float = CALL_SECONDS
    answer_bytes_max: int = ANSWER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Node:
    """One node, during one reading."""

    endpoint: Endpoint
    ask: Callable[[str, Sequence[Json]], Awaitable[Json]]
    """Method and parameters to result."""


class JsonRpcNodes:
    """See the module. `tls` is used for endpoints that begin with https."""

    def __init__(
        self,
        urls: Sequence[str],
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Raises `ValueError` for addresses that are none, and for https without `tls`."""
        endpoints = [Endpoint.parse(url) for url in urls]
        if not 1 <= len(endpoints) <= NODES_MAX:
            raise ValueError(f"{len(endpoints)} nodes, from 1 to {NODES_MAX} can be asked")
        if tls is None and any(endpoint.tls for endpoint in endpoints):
            raise ValueError("an address with https needs a TLS context")
        self._endpoints = endpoints
        self._tls = tls
        self._limits = limits or Limits()
        self._preferred = 0
        self._under_way = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._ids = itertools.count(1)

    async def anywhere(self, read: Callable[[Node], Awaitable[T]]) -> T:
        """What `read` gives at the first node where it holds; else the failure that says most."""
        failures: list[Exception] = []
        try:
            async with asyncio.timeout(self._limits.call_seconds), self._under_way:
                for number in range(ROUNDS):
                    if number:
                        await asyncio.sleep(BACKOFF_SECONDS)
                    found = await self._round(read, failures)
                    if found:
                        return found[0]
                    if not any(isinstance(each, NodeUnavailableError) for each in failures):
                        break
        except TimeoutError:
            failures.append(NodeUnavailableError("the time is up"))
        raise _telling(failures)

    async def _round(
        self, read: Callable[[Node], Awaitable[T]], failures: list[Exception]
    ) -> tuple[T] | tuple[()]:
        """Ask each node once, until one answers well."""
        for index in self._order():
            try:
                found = await read(self._node(index))
            except ForkError:
                raise
            except _FAILURES as failure:
                failures.append(failure)
            else:
                self._preferred = index
                return (found,)
        return ()

    def _order(self) -> list[int]:
        count = len(self._endpoints)
        return [(self._preferred + step) % count for step in range(count)]

    def _node(self, index: int) -> Node:
        endpoint = self._endpoints[index]

        async def ask(method: str, parameters: Sequence[Json]) -> Json:
            return await self._ask(endpoint, method, parameters)

        return Node(endpoint, ask)

    async def _ask(self, endpoint: Endpoint, method: str, parameters: Sequence[Json]) -> Json:
        number = next(self._ids)
        question = canonical_json(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
        )
        try:
            async with asyncio.timeout(self._limits.attempt_seconds):
                answer = await post(
                    endpoint, question, self._tls, bytes_max=self._limits.answer_bytes_max
                )
        except TimeoutError as error:
            raise NodeUnavailableError(f"{endpoint.name}: the time is up") from error
        return parse_answer(answer, number)


def parse_answer(data: bytes, number: int) -> Json:
    """The result in an answer to the question of this number; raises `AnswerMalformedError`, and
    `NodeRefusedError` where it holds an error.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > ANSWER_ITEMS_MAX:
        raise AnswerMalformedError(f"more than {ANSWER_ITEMS_MAX} values")
    try:
        answer = parse_json_strict(data, depth_max=ANSWER_DEPTH_MAX, size_max=ANSWER_BYTES_MAX)
    except JsonError as error:
        raise AnswerMalformedError(str(error)) from error
    if not isinstance(answer, dict):
        raise AnswerMalformedError("no answer of JSON-RPC 2.0 to this question")
    named = answer.get("id")
    is_ours = answer.get("jsonrpc") == "2.0" and type(named) is int and named == number
    match answer.get("error"):
        case {"code": int(code), "message": str(why)} if is_ours and "result" not in answer:
            raise NodeRefusedError(code, why)
    if not is_ours or "result" not in answer or "error" in answer:
        raise AnswerMalformedError("no answer of JSON-RPC 2.0 to this question")
    return answer["result"]


def _telling(failures: Sequence[Exception]) -> Exception:
    """A proof that fails says more than a refusal, and that more than silence."""
    for kind in (ProofError, AnswerMalformedError, NodeRefusedError, ItemUnknownError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return failures[-1]
