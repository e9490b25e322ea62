"""`guqiao report`: what the regulatory chain refused, sent again by two persons of the operator,
and corrections of what it took.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceStub
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.rules import messages
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, failure, submit
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
from services.consensus.domain.contracts.objects import OBJECT_BYTES_MAX, OBJECT_DEPTH_MAX
from services.consensus.domain.contracts.packet_link.reporting import PORT
from services.consensus.domain.contracts.packets import NAME as PACKETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guqiao.reporting.v1.reporting_service_pb2_grpc import ReportingServiceAsyncStub

SIGNERS: Final = ("maker", "checker")
PAGE_SIZE: Final = 500
_COLUMNS: Final = ("packet", "object_id", "version", "state", "code", "field", "resubmitted_as")


def list_refused(data: Path, domain: str, *, only_open: bool, as_json: bool) -> None:
    """List what was refused; in a table with the meaning of each code that stands there."""
    network = load_network(data)
    with Progress(choose("asking the reporting service", "查询报送服务")):
        found = guarded(asyncio.run, _refused(network, domain, only_open=only_open))
    rows = [_row(each) for each in found]
    if as_json:
        print_json({"refused": rows})
        return
    titles = [name.upper().replace("_", " ") for name in _COLUMNS]
    cells = [[_cell(row[name]) for name in _COLUMNS] for row in rows]
    print_table(titles, cells)
    for each in {each.code: each for each in reversed(found)}.values():
        texts = messages(each.code, **json.loads(each.detail))
        say(
            choose(
                f"{each.code}: {shown(texts.en)} {shown(texts.remedy_en)}",
                f"{each.code}：{shown(texts.zh)}{shown(texts.remedy_zh)}",
            )
        )


def resubmit(data: Path, sequence: int, body: Path | None, *, as_json: bool) -> None:
    """Send again what was refused under a sequence, with another body or as it was."""
    network = load_network(data)
    corrected = None if body is None else _body_of(body)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        sent = guarded(asyncio.run, _sent_under(network, sequence))
        call: dict[str, Json] = {
            "sequence": sequence,
            "payload": sent.decode(),
            "body": corrected,
        }
        _submit(network, "resubmit_object", call, as_json=as_json)


def amend(
    data: Path,
    sequence: int,
    step: tuple[str, int, str],
    body: Path | None,
    *,
    as_json: bool,
) -> None:
    """Correct what was taken under a sequence; `step` is operation, version and remark."""
    operation, version, remark = step
    call: dict[str, Json] = {
        "sequence": sequence,
        "operation": operation,
        "version": version,
        "body": {} if body is None else _body_of(body),
        "remark": remark,
    }
    network = load_network(data)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        _submit(network, "amend_object", call, as_json=as_json)


def _submit(network: Network, method: str, body: dict[str, Json], *, as_json: bool) -> None:
    maker, checker = SIGNERS
    call = (PACKETS, method, body)
    result = accepted(
        guarded(asyncio.run, submit(network, MARKET, call, maker=maker, checker=checker))
    )
    told = {"height": result.height, "transaction": result.transaction_id.hex()}
    if as_json:
        print_json(told)
    else:
        rows = [(name, shown(str(value))) for name, value in told.items()]
        print_table((choose("SENT", "已报送"), ""), rows)


async def _refused(network: Network, domain: str, *, only_open: bool) -> list[pb.Refusal]:
    return [each async for each in _pages(network, domain, only_open=only_open)]


async def _pages(network: Network, domain: str, *, only_open: bool) -> AsyncIterator[pb.Refusal]:
    provider = open_provider()
    reader = open_identity(network, provider, domain, READERS[domain])
    request = pb.ListRefusalsRequest(open_only=only_open, page_size=PAGE_SIZE)
    async with open_service(network, provider, reader, domain, "reporting") as channel:
        stub: ReportingServiceAsyncStub = ReportingServiceStub(channel)
        while True:
            page = await stub.ListRefusals(request)
            for each in page.refusals:
                yield each
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


async def _sent_under(network: Network, sequence: int) -> bytes:
    """The object of a packet that was refused, as it was sent: what the chain committed to."""
    named: pb.Refusal | None = None
    async for each in _pages(network, MARKET, only_open=False):
        if each.packet_sequence == sequence:
            named = each
    if named is None:
        raise failure("PACKET_UNKNOWN", destination=CSRC, port=PORT, sequence=sequence)
    provider = open_provider()
    reader = open_identity(network, provider, MARKET, READERS[MARKET])
    async with open_service(network, provider, reader, MARKET, "reporting") as channel:
        stub: ReportingServiceAsyncStub = ReportingServiceStub(channel)
        request = pb.GetDataObjectRequest(object_id=named.object_id, version=named.version)
        return (await stub.GetDataObject(request)).object


def _row(each: pb.Refusal) -> dict[str, Any]:
    detail = json.loads(each.detail)
    return {
        "packet": each.packet_sequence,
        "source": each.source_chain,
        "object_id": each.object_id or None,
        "version": each.version if each.HasField("version") else None,
        "state": each.state,
        "code": each.code,
        "field": detail.get("field"),
        "detail": detail,
        "resubmits": each.resubmits or None,
        "resubmitted_as": each.resubmitted_as or None,
        "height": each.recorded_height,
    }


def _cell(value: Any) -> str:
    return "-" if value is None else shown(str(value))


def _body_of(path: Path) -> Json:
    try:
        content = read_input(path, OBJECT_BYTES_MAX)
        value = parse_json_strict(content, depth_max=OBJECT_DEPTH_MAX, size_max=OBJECT_BYTES_MAX)
    except JsonError as error:
        raise _wrong(f"{path}: {error}", f"{path}：{error}") from None
    if not isinstance(value, dict):
        raise _wrong(f"{path} is not a JSON object", f"{path} 不是 JSON 对象")
    return value


def _wrong(text_en: str, text_zh: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        text_en,
        text_zh,
        "give a file with the body of a data object",
        "请给出数据对象内容的 JSON 文件",
        exit_code=EXIT_USAGE,
    )
