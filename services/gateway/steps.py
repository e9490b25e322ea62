"""The steps of a relay by themselves: each, and each port within it, fails alone and is made again
after a wait of its own, so that nothing waits for what another cannot do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.bus.transient import Backoff, is_transient, stay_cancelled
from services.chassis.errors import ServiceError
from services.gateway.domain.relay import ALARMS, IS_PARKED_CODES
from services.gateway.metrics import GatewayMetrics

IDLE_SECONDS: Final = 0.15
BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MAX_SECONDS: Final = 5.0
REFUSALS: Final = (GuqiaoError, ServiceError, ProofError)
"""What a step may run into and be made again after; besides them what is transient."""

log = structlog.get_logger(__name__)


def may_be_made_again(error: Exception) -> bool:
    """Whether this is what a step may run into; anything else is a bug and ends the process."""
    return isinstance(error, REFUSALS) or is_transient(error)


@dataclass(slots=True)
class Steps:
    """What one relay does towards the chain `remote`, and why what does not get on does not."""

    remote: str
    metrics: GatewayMetrics
    _errors: dict[str, str] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)

    @property
    def last_error(self) -> str:
        """Why the steps that do not get on do not; empty when all do."""
        return "; ".join(f"{name}: {text}" for name, text in sorted(self._errors.items()))

    async def repeat(
        self,
        step: str,
        action: Callable[[], Awaitable[int]],
        *,
        idle_seconds: float = IDLE_SECONDS,
        backoff_max_seconds: float = BACKOFF_MAX_SECONDS,
    ) -> None:
        """Make a step until cancelled, at once again where it carried something."""
        backoff = Backoff(BACKOFF_FIRST_SECONDS, backoff_max_seconds)
        while True:
            carried = await self._attempt(step, step, action)
            if carried is None:
                await asyncio.sleep(backoff.next_seconds())
                continue
            backoff.reset()
            if not carried:
                await asyncio.sleep(idle_seconds)

    def begin(
        self,
        tasks: asyncio.TaskGroup,
        step: str,
        port: str,
        action: Callable[[], Awaitable[int]],
    ) -> None:
        """Let a step be made for a port until nothing is left to do there, unless it is already."""
        name = f"{step} {port}"
        if name not in self._running:
            self._running.add(name)
            tasks.create_task(self._work_off(step, name, action))

    async def _work_off(self, step: str, name: str, action: Callable[[], Awaitable[int]]) -> None:
        backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS)
        try:
            while (carried := await self._attempt(step, name, action)) != 0:
                if carried is None:
                    await asyncio.sleep(backoff.next_seconds())
                else:
                    backoff.reset()
        finally:
            self._running.discard(name)

    async def _attempt(
        self, step: str, name: str, action: Callable[[], Awaitable[int]]
    ) -> int | None:
        """How many packets an action carried; None where it failed and may be made again."""
        try:
            carried = await action()
        except Exception as error:
            stay_cancelled(error)
            if not may_be_made_again(error):
                raise
            self.note_failure(step, error, name)
            return None
        self._errors.pop(name, None)
        self.metrics.packets.labels(self.remote, step).inc(carried)
        return carried

    def note_success(self, name: str) -> None:
        """Say that a step gets on, before it has ended."""
        self._errors.pop(name, None)

    def note_failure(self, step: str, error: Exception, name: str = "") -> None:
        """Say that a step failed; `name` says at which port."""
        # A time-out says nothing but its name.
        code, text = getattr(error, "code", ""), (str(error) or repr(error))[:500]
        self._errors[name or step] = text
        self.metrics.failures.labels(self.remote, step).inc()
        kind = type(error).__name__
        log.warning(
            "relay.failed", remote=self.remote, step=name or step, kind=kind, code=code, error=text
        )
        # What the other chain refuses for good was raised when it was parked.
        if code in ALARMS and (isinstance(error, ServiceError) or code not in IS_PARKED_CODES):
            self.raise_alarm(code, text)

    def raise_alarm(self, code: str, text: str) -> None:
        """Tell people to look."""
        self.metrics.alarms.labels(self.remote, code).inc()
        log.error("relay.alarm_raised", remote=self.remote, code=code, error=text)
