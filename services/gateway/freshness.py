"""Keeps the own chain's light client of another chain young where nothing is sent.

Packets bring headers; on an idle link nothing would, and a set that changes there would go
unnoticed. So each end looks how old the newest header is that its own chain holds, and brings a
newer one with the set changes up to it. The chain judges what comes. Whatever is lost on the way
follows from the chains again: nothing is kept but what the last look saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

import structlog

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.errors import guqiao_errors
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from services.chassis.errors import ServiceError
from services.chassis.grpc_server import error_of_code
from services.gateway import questions
from services.gateway.admission import SHUT_OUT, registered
from services.gateway.domain.client_age import ClientPeriod, FollowedClient
from services.gateway.domain.relay import ProvenHeader
from services.gateway.handlers import followed_epoch, submit_header
from services.gateway.metrics import GatewayMetrics
from services.gateway.steps import Steps
from services.gateway.travel import proven_remote, verified_header

STEP: Final = "light_client"
LOOK_SECONDS_MAX: Final = 60.0
"""Between looks, or a tenth of the age at which a header is due if that is less."""
RETRY_SECONDS_MAX: Final = 600.0
"""Between attempts that fail: the chain keeps each refusal of its own for good."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Freshness:
    """Of the own chain's client of the chain of `remote_sets`, whose gateway is asked."""

    client: ChainClient
    remote_sets: SetHistory
    gateway: questions.RemoteGateway
    verify: Verify
    metrics: GatewayMetrics
    period: ClientPeriod
    seen: FollowedClient | None = field(default=None, init=False)
    """What the last look saw; None before it, and where the own chain does not know the other."""
    _steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        self._steps = Steps(self.remote_sets.chain_id, self.metrics)

    @property
    def last_error(self) -> str:
        """Why the client is not kept young; empty where it is."""
        return self._steps.last_error

    async def run(self) -> None:
        """Look again and again until cancelled."""
        due = self.period.refresh_seconds
        await self._steps.repeat(
            STEP,
            self.look,
            idle_seconds=min(LOOK_SECONDS_MAX, due / 10),
            backoff_max_seconds=min(RETRY_SECONDS_MAX, due),
        )

    async def look(self) -> int:
        """Bring a newer header where one is due; returns 0, for no packet is carried. Of a chain
        that the register shuts out nothing is asked.

        Raises the chain's refusal, `GuqiaoError` where one end is away or has no block yet, and
        `ProofError` where what came proves nothing or is not newer.
        """
        held = await self._read()
        if held is None or not held.is_due or await self._is_shut_out():
            return 0
        if held.code:
            self._raise_alarm(held)
        header = await self._fetch(held)
        try:
            await submit_header(self.client, header)
        except ServiceError:
            # Another relayer may have brought a later one meanwhile, which leaves nothing to do.
            found = await self._read()
            if found is None or found.is_due:
                raise
            return 0
        log.info("light_client.brought", remote=header.chain_id, height=header.height)
        await self._read()
        return 0

    async def _read(self) -> FollowedClient | None:
        """What the own chain's state proves of its client; raises `CLIENT_FROZEN` for a frozen one,
        to which nothing can be brought.
        """
        remote = self.remote_sets.chain_id
        held = self.seen = await client_held(self.client, remote, self.period)
        if held is None:
            return None
        if held.header:
            self.metrics.client_time.labels(remote).set(held.block_time_ms / 1_000)
        if held.is_frozen:
            raise error_of_code("CLIENT_FROZEN", chain=remote, height=held.height)
        return held

    async def _is_shut_out(self) -> bool:
        found = await registered(self.client, self.remote_sets.chain_id)
        return found is not None and found.status in SHUT_OUT

    def _raise_alarm(self, held: FollowedClient) -> None:
        text = (
            f"{held.code}: the newest header known, of height {held.height}, is"
            f" {held.age_seconds} s old; the period is {held.period.seconds} s"
        )
        self._steps.raise_alarm(held.code, text)

    async def _fetch(self, held: FollowedClient) -> ProvenHeader:
        """The other chain's newest header, certified by the set of its epoch. One that contradicts
        the one that is held is brought as well: the chain freezes its client on it.
        """
        with guqiao_errors():
            response = await questions.fetch_header(self.gateway, self.client.chain_id)
        certified = response.certified_header
        header = verified_header(self.remote_sets, certified, response.set_changes, self.verify)
        if header.height < held.height or certified.header == held.header:
            piece = f"header of {header.chain_id} height {header.height}"
            raise ProofError(piece, f"it is not newer than that of height {held.height}")
        return proven_remote(self.remote_sets, certified, header)


async def client_held(
    client: ChainClient, chain: str, period: ClientPeriod
) -> FollowedClient | None:
    """The own chain's client of another one, by its newest state; None where it does not know that
    one. Raises what `ChainClient` raises: `HEIGHT_UNKNOWN` before the own chain's first block.
    """
    found = await client.get_state_proof(f"light_client/client/{chain}")
    now_ms = found.header.block_time_ms
    if found.value is None:
        is_known = await followed_epoch(client, chain) is not None
        return FollowedClient(0, b"", 0, False, now_ms, period) if is_known else None
    record = json.loads(found.value)
    return FollowedClient(
        height=record["height"],
        header=bytes.fromhex(record["header"] or ""),
        block_time_ms=record["block_time_ms"] if record["header"] else 0,
        is_frozen=record["status"] == "FROZEN",
        read_at_ms=now_ms,
        period=period,
    )
