"""`guqiao gateway send|sent|inbox|pause|resume|close-breaker`: messages between chains, and what
people decide about a link. What is shown of a message was proven by the chain that is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import (
    accepted,
    failure,
    proven_record,
    proven_value,
    submit,
)
from guqiaoctl.commands.gateways import REMOTE
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, shown
from services.consensus.domain.contracts.packet_link.messages import (
    CONTENT_BYTES_MAX,
    DELIVERY,
    MESSAGE,
    RECEIVED_COUNT,
    received_key,
    sent_key,
)
from services.consensus.domain.contracts.packets import NAME as PACKETS

SIGNERS: Final = {MARKET: ("maker", "checker"), CSRC: ("market", "tech")}
"""Maker and checker of each domain."""
SENT_TO: Final = {MARKET: (CSRC, MESSAGE), CSRC: (MARKET, DELIVERY)}
"""Where each domain's messages go first, and at which port."""
CONTENT_DEPTH_MAX: Final = 24
LISTED_MAX: Final = 10_000
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SENT_COLUMNS: Final = ("number", "to", "state", "code", "object_id", "height")
_RECEIVED_COLUMNS: Final = ("number", "from", "object_id", "digest", "received_height")


@dataclass(frozen=True, slots=True)
class Deadline:
    """How the command line names it: one of them."""

    working_days: int | None
    within: str | None

    def to_json(self) -> dict[str, Json]:
        """As the contract takes it; raises `CliError`."""
        if (self.working_days is None) == (self.within is None):
            raise _wrong(
                "name one deadline: --working-days or --within",
                "请用 --working-days 或 --within 之一写明期限",
            )
        if self.within is None:
            return {"working_days": self.working_days}
        found = _DURATION.fullmatch(self.within)
        if found is None:
            raise _wrong(
                f"--within {shown(self.within[:32])} is not a number with s, m, h or d",
                f"--within {shown(self.within[:32])} 不是带 s、m、h 或 d 的数字",
            )
        return {"within_ms": int(found[1]) * _UNIT_MS[found[2]]}


def send(
    data: Path, domain: str, to: str, kind: str, file: Path, deadline: Deadline, *, as_json: bool
) -> None:
    """Send a message in the name of the two who sign for a domain."""
    body: dict[str, Json] = {
        "to": to,
        "type": kind,
        "content": _content_of(file),
        "deadline": deadline.to_json(),
    }
    network = load_network(data)
    maker, checker = SIGNERS[domain]
    call = (PACKETS, "send_message", body)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = accepted(
            guarded(asyncio.run, submit(network, domain, call, maker=maker, checker=checker))
        )
    transaction = result.transaction_id.hex()
    told = {
        "to": to,
        "object_id": f"{domain}:{kind}:{transaction}",
        "height": result.height,
        "transaction": transaction,
    }
    if as_json:
        print_json(told)
    else:
        print_table((choose("MESSAGE", "消息"), ""), [(k, shown(str(v))) for k, v in told.items()])


def list_sent(data: Path, domain: str, *, as_json: bool) -> None:
    """List what a chain sent itself; what the regulatory chain sent on is its sender's."""
    destination, port = SENT_TO[domain]
    found = _read_all(
        load_network(data),
        domain,
        count_key=f"sequence/{destination}/{port}",
        key_of=lambda number: sent_key(destination, port, number),
    )
    _print(found, _SENT_COLUMNS, as_json=as_json)


def list_received(data: Path, *, as_json: bool) -> None:
    """List what the market's chain received."""
    network = load_network(data)
    found = _read_all(network, MARKET, count_key=RECEIVED_COUNT, key_of=received_key)
    brief = [{**each, "from": each["from"]["chain"]} for each in found]
    _print(brief, _RECEIVED_COLUMNS, as_json=as_json)


def show_received(data: Path, number: int) -> None:
    """Show one message whole."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        record = guarded(asyncio.run, _read(network, MARKET, received_key(number)))
    if record is None:
        raise failure("PACKET_UNKNOWN", packet=f"{MARKET}/{number}")
    print_json(record)


def take_step(data: Path, domain: str, method: str, reason: str, *, port: str = "") -> None:
    """Pause, resume or close in the name of the two who answer for a domain's chain."""
    other = REMOTE[domain]
    named: dict[str, Json] = {"source": other, "port": port} if port else {"chain": other}
    maker, checker = SIGNERS[domain]
    call = (PACKETS, method, {**named, "reason": reason})
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = accepted(
            guarded(asyncio.run, submit(network, domain, call, maker=maker, checker=checker))
        )
    print_table((choose("STEP", "步骤"), "HEIGHT"), [(method, str(result.height))])


def _read_all(
    network: Network, chain: str, *, count_key: str, key_of: Callable[[int], str]
) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        provider = open_provider()
        identity = open_identity(network, provider, chain, READERS[chain])
        async with open_chain(network, provider, chain, identity) as client:
            height = (await client.latest()).height
            count = await proven_value(client, f"{PACKETS}/{count_key}", height) or 0
            assert isinstance(count, int), "the contract wrote it"
            found = []
            for number in range(max(1, count - LISTED_MAX + 1), count + 1):
                record = await proven_record(client, f"{PACKETS}/{key_of(number)}", height)
                if record is not None:
                    found.append({"number": number, **record})
            return found

    with Progress(choose("asking the chain", "查询链")):
        return guarded(asyncio.run, read())


async def _read(network: Network, chain: str, key: str) -> dict[str, Any] | None:
    provider = open_provider()
    identity = open_identity(network, provider, chain, READERS[chain])
    async with open_chain(network, provider, chain, identity) as client:
        height = (await client.latest()).height
        return await proven_record(client, f"{PACKETS}/{key}", height)


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    brief = [{name: each.get(name) for name in columns} for each in rows]
    if as_json:
        print_json({"messages": brief})
        return
    titles = [name.upper().replace("_", " ") for name in columns]
    print_table(titles, [[shown(str(row[name] or "-")) for name in columns] for row in brief])


def _content_of(path: Path) -> Json:
    try:
        content = read_input(path, CONTENT_BYTES_MAX)
        value = parse_json_strict(content, depth_max=CONTENT_DEPTH_MAX, size_max=CONTENT_BYTES_MAX)
    except JsonError as error:
        raise _wrong(f"{path}: {error}", f"{path}：{error}") from None
    if not isinstance(value, dict) or not value:
        raise _wrong(
            f"{path} is not a JSON object with members", f"{path} 不是含有成员的 JSON 对象"
        )
    return value


def _wrong(text_en: str, text_zh: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        text_en,
        text_zh,
        "see `guqiao gateway send --help`",
        "参见 `guqiao gateway send --help`",
        exit_code=EXIT_USAGE,
    )
