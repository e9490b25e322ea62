"""Records on the own chain what the nodes of one observed chain show: the observed link (T2-14).

The contract `observed` judges every header again, and how far it has come is read from its state in
each round: so an observer may die anywhere, two may run at once, and after an outage of hours it
goes on where the contract stands. Nothing is asked of the observed chain but reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.observed_chains import observed_client
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.header import CertifiedHeader, header_value, parse_header
from guqiao_sdk.proof.fisco.trusted import ForkError
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiao_sdk.proof.observed_state import (
    CONTRACT,
    FROZEN,
    HEADERS_MAX,
    SIGNATURES_MAX,
    ObservedClient,
)
from services.chassis.bus.transient import Backoff, is_transient, stay_cancelled
from services.chassis.errors import ServiceError
from services.chassis.grpc_server import error_of_code
from services.gateway.handlers import submit_relay
from services.gateway.metrics import GatewayMetrics
from services.gateway.observed.comparing import DIVERGENCE, Nodes, NodeState, NodeView
from services.gateway.observed.errors import ItemUnknownError
from services.gateway.observed.follow import KnownBlock, follow
from services.gateway.observed.json_rpc import ANSWER_BYTES_MAX, ANSWER_DEPTH_MAX

FOLLOW_SECONDS: Final = 2.0
"""Between questions for a block that no node had yet."""

COMPARE_SECONDS: Final = 60.0
BACKOFF_MAX_SECONDS: Final = 60.0
ALARMS: Final = frozenset({"CLIENT_FROZEN", "OBSERVED_SET_UNPROVEN"})
"""What does not end until people give a new checkpoint; raised again with each attempt."""

_FOLLOW: Final = "observed_follow"
_COMPARE: Final = "observed_compare"
_FAILURES: Final = (GuqiaoError, ServiceError, ProofError)
_ERROR_CHARACTERS_MAX: Final = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Observer:
    """Of the chain that is known here as `chain`, over `nodes`."""

    chain: str
    client: ChainClient
    nodes: Nodes
    metrics: GatewayMetrics
    recorded: ObservedClient | None = None
    """What the contract said when it was last asked."""

    views: list[NodeView] = field(default_factory=list)
    """What each node was found to be when they were last compared."""

    _compared_height: int = -1
    _errors: dict[str, str] = field(default_factory=dict)

    @property
    def last_error(self) -> str:
        """Why it does not get on; empty when it does."""
        return "; ".join(f"{name}: {text}" for name, text in sorted(self._errors.items()))

    async def run(self) -> None:
        """Follow and compare until cancelled; neither waits for the other."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(_FOLLOW, self.follow_some, FOLLOW_SECONDS))
            tasks.create_task(self._repeat(_COMPARE, self.compare, COMPARE_SECONDS))

    async def follow_some(self) -> int:
        """Record the next headers, and return how many; what was read before a failure counts."""
        recorded = await self._standing()
        if recorded.status == FROZEN:
            raise error_of_code("CLIENT_FROZEN", chain=self.chain, height=recorded.trusted.number)
        headers: list[CertifiedHeader] = []
        failure: Exception | None = None
        try:
            await self._read(recorded, headers)
        except ForkError as error:
            headers.append(error.other)
        except (ServiceError, ProofError) as error:
            failure = error
        if headers:
            await self._record(headers)
        if failure is not None:
            raise failure
        return len(headers)

    async def compare(self) -> int:
        """Hold every node's header of the height recorded last against what is recorded."""
        recorded = await self._standing()
        height = recorded.trusted.number
        self.views = await self.nodes.compare(recorded.trusted)
        for state in NodeState:
            count = sum(view.state is state for view in self.views)
            self.metrics.observed_nodes.labels(self.chain, state.name.lower()).set(count)
        for view in self.views:
            if view.state is NodeState.DIVERGES:
                self._tell_of(view, height)
        forks = [view.fork for view in self.views if view.fork is not None]
        if recorded.status == FROZEN:
            return 0
        if forks:
            await self._record(forks[:1])
        self._require_not_missed(height)
        return 0

    def _require_not_missed(self, height: int) -> None:
        """Raise `ItemUnknownError` where nodes say that there are more, and for a whole round none
        of them showed the next one.
        """
        stood, self._compared_height = self._compared_height == height, height
        is_told = _FOLLOW in self._errors
        if stood and not is_told and any(view.height > height for view in self.views):
            raise ItemUnknownError

    async def _standing(self) -> ObservedClient:
        recorded = await observed_client(self.client, self.chain)
        if recorded is None:
            raise error_of_code("CLIENT_UNKNOWN", chain=self.chain)
        self.recorded = recorded
        self.metrics.observed_height.labels(self.chain).set(recorded.trusted.number)
        return recorded

    async def _read(self, recorded: ObservedClient, headers: list[CertifiedHeader]) -> None:
        """Put what follows into `headers`, as much as one transaction takes."""
        known = KnownBlock(recorded.trusted.number, recorded.trusted.header_hash)
        signatures = 0
        chain = self.nodes.observed(recorded.trusted)
        async for block in follow(chain, known, blocks_max=HEADERS_MAX):
            certified = parse_header(_row(block.header.proof))
            signatures += len(certified.signatures)
            if signatures > SIGNATURES_MAX:
                return
            headers.append(certified)

    async def _record(self, headers: list[CertifiedHeader]) -> None:
        rows: list[Json] = [header_value(each) for each in headers]
        await submit_relay(self.client, CONTRACT, "advance", {"chain": self.chain, "headers": rows})
        self.metrics.observed_headers.labels(self.chain).inc(len(rows))

    def _tell_of(self, view: NodeView, height: int) -> None:
        self.metrics.alarms.labels(self.chain, DIVERGENCE).inc()
        log.error(
            "observed.node_diverges",
            code=DIVERGENCE,
            remote=self.chain,
            node=view.name,
            height=height,
            error=view.detail[:_ERROR_CHARACTERS_MAX],
        )

    async def _repeat(
        self, step: str, action: Callable[[], Awaitable[int]], pause_seconds: float
    ) -> None:
        """Make a step until cancelled, at once again where it recorded something."""
        backoff = Backoff(pause_seconds, BACKOFF_MAX_SECONDS)
        while True:
            done = await self._attempt(step, action)
            if done is None:
                await asyncio.sleep(backoff.next_seconds())
                continue
            backoff.reset()
            if not done:
                await asyncio.sleep(pause_seconds)

    async def _attempt(self, step: str, action: Callable[[], Awaitable[int]]) -> int | None:
        """How many headers a step recorded; None where it failed and may be made again."""
        try:
            done = await action()
        except Exception as error:
            stay_cancelled(error)
            if not isinstance(error, _FAILURES) and not is_transient(error):
                raise
            self._note(step, error)
            return None
        self._errors.pop(step, None)
        return done

    def _note(self, step: str, error: Exception) -> None:
        code = getattr(error, "code", "")
        text = (str(error) or repr(error))[:_ERROR_CHARACTERS_MAX]
        self._errors[step] = text
        self.metrics.failures.labels(self.chain, step).inc()
        log.warning("observed.failed", remote=self.chain, step=step, code=code, error=text)
        if code in ALARMS and step == _FOLLOW:
            self.metrics.alarms.labels(self.chain, code).inc()
            log.error("observed.alarm_raised", remote=self.chain, code=code, error=text)


def _row(proof: bytes) -> Json:
    """A header as the adapter wrote what it verified."""
    return parse_json_strict(proof, depth_max=ANSWER_DEPTH_MAX, size_max=ANSWER_BYTES_MAX)
