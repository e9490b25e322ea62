"""A relay whose process ends in the middle of a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from guqiao_sdk.client.chain import ChainClient


class KilledError(BaseException):
    """The process ends here."""


def dying_at(number: int, client: ChainClient) -> Callable[..., Awaitable[Any]]:
    """The client's `submit`, of which the call `number`, from 1, is never made."""
    real, submitted = client.submit, 0

    async def submit(transaction: Any, **options: Any) -> Any:
        nonlocal submitted
        submitted += 1
        if submitted == number:
            raise KilledError
        return await real(transaction, **options)

    return submit


async def die(*_: object) -> None:
    """What is never done."""
    raise KilledError
