"""What a new network needs once its chains run: the regulatory chain registers the market's chain.

Safe to repeat: the request id follows from the content.
"""

from __future__ import annotations

from collections.abc import Callable

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.failures import EXIT_CONFLICT, CliError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.genesis import remote_chain
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import choose

REQUEST_ID = "00000000-0000-8000-8000-000000000001"


async def bootstrap(network: Network, report: Callable[[str], None]) -> None:
    """Register the market's chain with the regulatory chain, unless that was done."""
    marker = network.layout.folder / "run" / "chain-registered"
    if marker.exists():
        return
    provider = open_provider()
    identity = open_identity(network, provider, CSRC, "admin")
    async with open_chain(network, provider, CSRC, identity) as client:
        body = remote_chain(network.layout, MARKET)
        transaction = await client.build(
            "light_client", "register_chain", body, request_id=REQUEST_ID
        )
        result = await client.submit(transaction)
    if not result.accepted:
        raise CliError(
            result.code,
            f"the regulatory chain refused the registration: {dict(result.detail)}",
            f"监管链拒绝了登记：{dict(result.detail)}",
            f"see `guqiao explain {result.code}`",
            f"请查看 `guqiao explain {result.code}`",
            exit_code=EXIT_CONFLICT,
        )
    marker.touch()
    report(
        choose(
            f"chain {MARKET} registered with {CSRC} at height {result.height}",
            f"{MARKET} 链已在 {CSRC} 链登记（高度 {result.height}）",
        )
    )
