"""`guqiao gateway send|sent|inbox`: messages between chains. What is shown of one was proven by the
chain that is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import (
    accepted,
    failure,
    proven_record,
    proven_value,
    submit,
)
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
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
LISTED_BYTES_MAX: Final = 64 * 1024 * 1024
"""What a list reads of messages at most; the oldest are left out."""
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
        return {"within_ms": duration_ms("--within", self.within)}


def duration_ms(option: str, text: str) -> int:
    """The milliseconds of a duration such as 90s or 3d; raises `CliError`, which names `option`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise _wrong(
            f"{option} {shown(text[:32])} is not a number with s, m, h or d",
            f"{option} {shown(text[:32])} 不是带 s、m、h 或 d 的数字",
        )
    return int(found[1]) * _UNIT_MS[found[2]]


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
    found, has_older = _read_all(
        load_network(data),
        domain,
        count_key=f"sequence/{destination}/{port}",
        key_of=lambda number: sent_key(destination, port, number),
        columns=_SENT_COLUMNS,
    )
    _print(found, _SENT_COLUMNS, has_older=has_older, as_json=as_json)


def list_received(data: Path, *, as_json: bool) -> None:
    """List what the market's chain received."""
    network = load_network(data)
    found, has_older = _read_all(
        network,
        MARKET,
        count_key=RECEIVED_COUNT,
        key_of=received_key,
        columns=_RECEIVED_COLUMNS,
    )
    brief = [{**each, "from": each["from"]["chain"]} for each in found]
    _print(brief, _RECEIVED_COLUMNS, has_older=has_older, as_json=as_json)


def show_received(data: Path, number: int) -> None:
    """Show one message whole."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        record = guarded(asyncio.run, _read(network, MARKET, received_key(number)))
    if record is None:
        raise failure("PACKET_UNKNOWN", packet=f"{MARKET}/{number}")
    print_json(record)


def _read_all(
    network: Network,
    chain: str,
    *,
    count_key: str,
    key_of: Callable[[int], str],
    columns: tuple[str, ...],
) -> tuple[list[dict[str, Any]], bool]:
    async def read() -> tuple[list[dict[str, Any]], bool]:
        provider = open_provider()
        identity = open_identity(network, provider, chain, READERS[chain])
        async with open_chain(network, provider, chain, identity) as client:
            height = (await client.latest()).height
            count = await proven_value(client, f"{PACKETS}/{count_key}", height) or 0
            assert isinstance(count, int), "the contract wrote it"

            async def record_of(number: int) -> dict[str, Json] | None:
                return await proven_record(client, f"{PACKETS}/{key_of(number)}", height)

            return await newest(count, record_of, columns)

    with Progress(choose("asking the chain", "查询链")):
        return guarded(asyncio.run, read())


async def newest(
    count: int,
    read: Callable[[int], Awaitable[dict[str, Json] | None]],
    columns: tuple[str, ...],
) -> tuple[list[dict[str, Any]], bool]:
    """The last of the records 1 to `count`, in order, each with its number and no more than the
    columns wanted, and whether older ones are left out: 10,000 numbers and 64 MiB are read.
    """
    found: list[dict[str, Any]] = []
    size, last = 0, max(0, count - LISTED_MAX)
    for number in range(count, last, -1):
        record = await read(number)
        if record is None:
            continue
        size += len(canonical_json(record))
        found.append({"number": number, **{n: record[n] for n in columns if n in record}})
        if size > LISTED_BYTES_MAX:
            last = number - 1
            break
    return found[::-1], last > 0


async def _read(network: Network, chain: str, key: str) -> dict[str, Any] | None:
    provider = open_provider()
    identity = open_identity(network, provider, chain, READERS[chain])
    async with open_chain(network, provider, chain, identity) as client:
        height = (await client.latest()).height
        return await proven_record(client, f"{PACKETS}/{key}", height)


def _print(
    rows: list[dict[str, Any]], columns: tuple[str, ...], *, has_older: bool, as_json: bool
) -> None:
    brief = [{name: each.get(name) for name in columns} for each in rows]
    if as_json:
        print_json({"messages": brief, "has_older": has_older})
        return
    titles = [name.upper().replace("_", " ") for name in columns]
    print_table(titles, [[shown(str(row[name] or "-")) for name in columns] for row in brief])
    if has_older:
        say(choose("older ones are left out", "更早的未列出"))


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
