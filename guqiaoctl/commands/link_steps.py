"""`guqiao gateway pause|resume|breaker|close-breaker|set-limits|give-up`: what people decide.

Two who answer for a chain sign each step; what is shown was proven by that chain.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, proven_record, submit
from guqiaoctl.commands.gateways import REMOTE, packet_named
from guqiaoctl.commands.governance import READERS
from guqiaoctl.commands.messages import SIGNERS, duration_ms
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, shown
from services.consensus.domain.contracts.packet_link.breaker import LIMITS
from services.consensus.domain.contracts.packet_link.messages import DELIVERY, MESSAGE, RESULT
from services.consensus.domain.contracts.packets import NAME as PACKETS

PORTS: Final = {CSRC: ("data_object", MESSAGE), MARKET: (DELIVERY, RESULT)}
"""Where each domain's chain takes packets."""
MEBIBYTE: Final = 1024 * 1024
_COLUMNS: Final = ("port", "status", "packets", "bytes", "packets_max", "bytes_max", "window_ms")


def pause(data: Path, domain: str, reason: str) -> None:
    """Let a chain take and believe nothing of the other one."""
    _take(data, domain, "pause", {"chain": REMOTE[domain], "reason": reason})


def resume(data: Path, domain: str, reason: str) -> None:
    """Let a paused link go on."""
    _take(data, domain, "resume", {"chain": REMOTE[domain], "reason": reason})


def close_breaker(data: Path, domain: str, sender: str, port: str, reason: str) -> None:
    """Take packets of a sender at a port again."""
    named: dict[str, Json] = {"source": sender or REMOTE[domain], "port": port}
    _take(data, domain, "close_breaker", {**named, "reason": reason})


def set_limits(
    data: Path, domain: str, sender: str, port: str, *, packets: int, mebibytes: int, window: str
) -> None:
    """Set what a sender may bring to a port in a window; raises `CliError`."""
    body: dict[str, Json] = {
        "source": sender or REMOTE[domain],
        "port": port,
        "packets_max": packets,
        "bytes_max": mebibytes * MEBIBYTE,
        "window_ms": duration_ms("--window", window),
    }
    _take(data, domain, "set_limits", body)


def give_up(data: Path, domain: str, destination: str, packet: str, reason: str) -> None:
    """End a packet of which nothing can be proven; raises `CliError`."""
    port, sequence = packet_named(packet)
    body: dict[str, Json] = {
        "destination": destination or REMOTE[domain],
        "packets": [{"port": port, "sequence": sequence}],
        "reason": reason,
    }
    _take(data, domain, "give_up", body)


def show_breaker(data: Path, domain: str, sender: str, *, as_json: bool) -> None:
    """Show whether a chain takes what a sender brings, and how much came in this window."""
    source = sender or REMOTE[domain]

    async def read() -> tuple[bool, list[dict[str, Any]]]:
        network, provider = load_network(data), open_provider()
        identity = open_identity(network, provider, domain, READERS[domain])
        async with open_chain(network, provider, domain, identity) as client:
            height = (await client.latest()).height

            async def kept(key: str) -> dict[str, Json] | None:
                return await proven_record(client, f"{PACKETS}/{key}", height)

            ports = [
                breaker_row(
                    port,
                    await kept(f"breaker/{source}/{port}"),
                    await kept(f"limits/{source}/{port}"),
                )
                for port in PORTS[domain]
            ]
            return await kept(f"paused/{source}") is not None, ports

    with Progress(choose("asking the chain", "查询链")):
        is_paused, ports = guarded(asyncio.run, read())
    if as_json:
        print_json({"sender": source, "paused": is_paused, "ports": ports})
        return
    state = choose("PAUSED", "已暂停") if is_paused else choose("RUNNING", "运行中")
    print_table((choose("SENDER", "发送方"), choose("LINK", "链路")), [(shown(source), state)])
    titles = [name.upper().replace("_", " ") for name in _COLUMNS]
    print_table(titles, [[str(row[name]) for name in _COLUMNS] for row in ports])


def breaker_row(
    port: str, breaker: dict[str, Json] | None, limits: dict[str, Json] | None
) -> dict[str, Any]:
    """How a port stands by what the chain keeps of it; nothing is kept of one that nobody used."""
    begun: dict[str, Json] = {"status": "CLOSED", "packets": 0, "bytes": 0}
    kept = {**begun, **(breaker or {}), **LIMITS.to_json(), **(limits or {}), "port": port}
    return {name: kept[name] for name in _COLUMNS}


def _take(data: Path, domain: str, method: str, body: dict[str, Json]) -> None:
    maker, checker = SIGNERS[domain]
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = accepted(
            guarded(
                asyncio.run,
                submit(network, domain, (PACKETS, method, body), maker=maker, checker=checker),
            )
        )
    print_table((choose("STEP", "步骤"), "HEIGHT"), [(method, str(result.height))])
