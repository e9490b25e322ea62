"""`guqiao import`: a market dataset through the registry, as an operator's system would send it.

Reference data first (what may not be on chain goes to the registry, its statements come back), then
the events in order. Everything is signed by the account whose office it is; the registry's own key
moves nothing.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.client.operations import (
    STALLED_SECONDS_MAX,
    Answer,
    Operation,
    OperationError,
    OperationPipeline,
    OperationStatus,
    repeated,
)
from guqiao_sdk.client.transactions import ChainPosition, Identity
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.market_dataset import DATASET_FILES, MarketDataset, RowProblem, row_chunks
from guqiao_sdk.market_reader import read_dataset
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.rules import UnknownCodeError, messages
from guqiaoctl.commands.calls import code_of
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE, CliError
from guqiaoctl.network.clients import open_identity, open_service
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import MARKET
from guqiaoctl.output import Progress, choose, print_json, print_table, say
from guqiaoctl.result_files import beside, whole_file
from guqiaoctl.row_problems import show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

DEMO_DATA: Final = Path(__file__).parents[2] / "data" / "market-basic"
INVESTORS_IN_CALL: Final = 200
INVESTOR_BYTES_IN_CALL: Final = 1024 * 1024
REFERENCE_NAMESPACE: Final = uuid.UUID("9b1a3c52-5f0e-5d1a-8f35-0d4c6a1f7e01")

_LEFT_OUT: Final = (" (left out)", "（已跳过）")
_LEFT_OUT_FOLLOWER: Final = (" (left out as a consequence)", "（因此跳过）")
_GAP: Final = (" (imported; events before it are missing)", "（已导入；其之前缺少业务事件）")
_LEFT_OUT_EVENTS: Final = (
    "an event that is left out can be entered later only with a later time and a request id of its"
    " own: the market's time does not run backwards",
    "跳过的业务事件以后只能以更晚的时间、新的请求编号补录：市场的业务时间不能倒退",
)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the events; `rows` are (seq, status, code)."""

    rows: tuple[tuple[int, str, str], ...]
    seconds: float

    @property
    def counts(self) -> Counter[str]:
        """Events by status."""
        return Counter(status for _, status, _ in self.rows)

    def csv(self) -> str:
        """`seq,status,code` with a header line, as market datasets keep their results."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("seq", "status", "code"))
        writer.writerows(self.rows)
        return text.getvalue()


def run_import(
    data: Path, folder: Path, *, results: Path | None, skip_malformed: bool, as_json: bool
) -> None:
    """Import a dataset, print a summary, and write the results where asked. Where they go to
    standard output, the summary goes to standard error.
    """
    if results is not None and os.path.realpath(results) in {
        os.path.realpath(folder / name) for name in DATASET_FILES
    }:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{results} is a file of the dataset; nothing was imported",
            f"{results} 是数据集的文件；未导入任何数据",
            "name another file for the results",
            "请为结果指定另一个文件",
            exit_code=EXIT_USAGE,
        )
    network = load_network(data)
    dataset = _read(folder, skip_malformed=skip_malformed)
    with whole_file(results) as write:
        report = asyncio.run(import_dataset(network, dataset))
        write(report.csv().encode())
    summary = {status.value: report.counts[status] for status in OperationStatus}
    if dataset.left_out or dataset.gaps:
        summary["gaps"] = len(dataset.gaps)
        summary["left_out"] = _count(dataset.left_out)
        summary["left_out_as_consequence"] = _count([row for row in dataset.left_out if row.cause])
    if as_json:
        print_json(summary | {"seconds": round(report.seconds, 3)}, beside(results))
    else:
        print_table(("STATUS", "EVENTS"), list(summary.items()), beside(results))


async def import_demo_data(network: Network) -> None:
    """Import the demonstration dataset; safe to repeat: every request id keeps its outcome."""
    marker = network.layout.folder / "run" / "demo-data-imported"
    if marker.exists():
        return
    say(choose("importing the demonstration data", "导入演示数据"))
    report = await import_dataset(network, _read(DEMO_DATA, skip_malformed=False))
    accepted, rejected = (report.counts[OperationStatus[name]] for name in ("ACCEPTED", "REJECTED"))
    say(
        choose(
            f"  {accepted} accepted, {rejected} rejected in {report.seconds:.1f} s",
            f"  通过 {accepted}，拒绝 {rejected}，用时 {report.seconds:.1f} 秒",
        )
    )
    marker.touch()


async def import_dataset(
    network: Network, dataset: MarketDataset, on_event: Any = None
) -> ImportReport:
    """Send the dataset through the registry; `on_event(done)` is told of each final answer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    provider = await asyncio.to_thread(open_provider)
    try:
        async with _Importer.open(network, provider) as importer:
            refuse_other_chain(dataset.market["chain_name"], importer.chain_id)
            await importer.put_reference_data(dataset)
            rows = await importer.put_events(dataset, on_event)
    except _RefusedError as error:
        raise _import_failed(error.code, error.text_en, error.text_zh) from error
    except OperationError as error:
        text = str(error).removeprefix(f"{error.code}: ")
        raise _import_failed(error.code, text) from error
    except GuqiaoError as error:
        raise _import_failed(code_of(error), str(error).lstrip(": ")) from error
    return ImportReport(tuple(rows), loop.time() - began)


def refuse_other_chain(chain_name: str, chain_id: str) -> None:
    """Refuse a dataset of another market's chain before anything of it is sent: its parameters
    would stand on this chain for good.
    """
    if chain_name != chain_id:
        raise CliError(
            "CHAIN_MISMATCH",
            f"the dataset is of chain {chain_name!r}, the network's chain is {chain_id!r};"
            " nothing was imported",
            f"数据集属于链 {chain_name}，而本网络的链是 {chain_id}；未导入任何数据",
            "import it into the network of its own market",
            "请导入到该市场自己的网络",
            exit_code=EXIT_CONFLICT,
        )


class _RefusedError(Exception):
    """Reference data that the chain does not take."""

    def __init__(self, code: str, method: str, detail: Mapping[str, Any]) -> None:
        facts = ", ".join(f"{name} {value}" for name, value in detail.items())
        self.code = code
        self.text_en = f"{method} was refused" + (f" ({facts})" if facts else "")
        self.text_zh = f"{method} 被拒绝" + (f"（{facts}）" if facts else "")
        super().__init__(self.text_en)


class _Importer:
    """One run; the pipeline keeps the order across reference data and events."""

    def __init__(
        self,
        stub: RegistryServiceAsyncStub,
        pipeline: OperationPipeline,
        institution: Identity,
        maker: Identity,
        chain_id: str,
    ) -> None:
        self.chain_id = chain_id
        self._stub = stub
        self._pipeline = pipeline
        self._institution = institution
        self._maker = maker

    @staticmethod
    @asynccontextmanager
    async def open(network: Network, provider: GmProvider) -> AsyncIterator[_Importer]:
        institution = open_identity(network, provider, MARKET, "institution")
        maker = open_identity(network, provider, MARKET, "maker")
        async with open_service(network, provider, institution, MARKET, "registry") as channel:
            stub: RegistryServiceAsyncStub = RegistryServiceStub(channel)
            get_status = partial(stub.GetStatus, pb.GetStatusRequest())
            with Progress(choose("waiting for the registry", "等待登记服务"), stalled=_stalled()):
                status = await repeated(get_status, is_up=False)

            async def position() -> ChainPosition:
                now = await repeated(get_status)
                return ChainPosition(now.chain_id, now.chain_height, b"", now.block_time_ms)

            pipeline = OperationPipeline(stub, provider, position, frozenset(status.methods))
            yield _Importer(stub, pipeline, institution, maker, status.chain_id)

    async def put_reference_data(self, dataset: MarketDataset) -> None:
        """The market to the chain, and then, which only its own chain may get, investors' bodies to
        the registry and what may be on chain of them to the chain.
        """
        await self._put(choose("reference data", "基础数据"), dataset.market_calls())
        digests = await self._put_investors(dataset)
        investors = dataset.investor_calls(lambda id_type, number: digests[id_type, number])
        await self._put(choose("investors", "投资者"), investors)

    async def _put(self, what: str, calls: Iterable[tuple[str, Any]]) -> None:
        operations: list[Operation] = []
        progress = Progress(what, stalled=_stalled())

        def on_answer(index: int, answer: Answer) -> None:
            if answer.status is not OperationStatus.ACCEPTED:
                detail = dict(answer.result.detail) if answer.result else {}
                raise _RefusedError(answer.code, operations[index].method, detail)
            progress.show(index + 1)

        with progress:
            for method, body in calls:
                request_id = _reference_request_id(method, body)
                operations.append(Operation(request_id, method, body, None, self._institution))
            progress.show(0, len(operations))
            await self._pipeline.run(operations, on_answer)

    async def put_events(self, dataset: MarketDataset, on_event: Any) -> list[tuple[int, str, str]]:
        """The events in order; their outcomes in the same order."""
        events = dataset.events
        operations = [
            Operation(event.request_id, event.type, event.body, event.time, self._maker)
            for event in events
        ]
        rows: list[tuple[int, str, str]] = []
        progress = Progress(choose("events", "业务事件"), len(events), stalled=_stalled())

        def on_answer(index: int, answer: Answer) -> None:
            rows.append((events[index].seq, answer.status.value, answer.code))
            progress.show(len(rows))
            if on_event is not None:
                on_event(len(rows))

        with progress:
            await self._pipeline.run(operations, on_answer)
        return rows

    async def _put_investors(self, dataset: MarketDataset) -> dict[tuple[str, str], str]:
        digests: dict[tuple[str, str], str] = {}
        chunks = row_chunks(
            dataset.investors, count_max=INVESTORS_IN_CALL, bytes_max=INVESTOR_BYTES_IN_CALL
        )
        what = choose("investors' records", "投资者档案")
        sent = 0
        with Progress(what, len(dataset.investors), stalled=_stalled()) as progress:
            for chunk in chunks:
                request = pb.PutInvestorsRequest(as_of=dataset.identities_as_of)
                for row in chunk:
                    request.investors.add(
                        **{name: row[name] for name in pb.Investor.DESCRIPTOR.fields_by_name}
                    )
                response = await repeated(partial(self._stub.PutInvestors, request))
                for row, statement in zip(chunk, response.statements, strict=True):
                    digests[row["id_type"], row["id_number"]] = statement.identity_digest
                sent += len(chunk)
                progress.show(sent)
        return digests


def _stalled() -> str:
    seconds = f"{STALLED_SECONDS_MAX:.0f}"
    return choose(
        f"no answer yet; it is tried again for up to {seconds} s: see `guqiao dev status`",
        f"尚无应答；{seconds} 秒内会继续重试，请查看 `guqiao dev status`",
    )


def _reference_request_id(method: str, body: Any) -> str:
    """The same rows are the same request, whatever dataset they come in; other rows are another."""
    digest = hashlib.sha256(canonical_json({"method": method, "body": body})).hexdigest()
    return str(uuid.uuid5(REFERENCE_NAMESPACE, digest))


def _read(folder: Path, *, skip_malformed: bool) -> MarketDataset:
    if not folder.is_dir():
        raise CliError(
            "FILE_UNREADABLE",
            f"there is no folder {folder}",
            f"没有目录 {folder}",
            "name the folder of a market dataset",
            "请指定市场数据集所在目录",
            exit_code=EXIT_NOT_FOUND,
        )
    if not any((folder / name).exists() for name in DATASET_FILES):
        raise CliError(
            "FILE_UNREADABLE",
            f"{folder} holds no market dataset: none of {', '.join(DATASET_FILES)} is there",
            f"{folder} 中没有市场数据集：{'、'.join(DATASET_FILES)} 均不存在",
            "name the folder of a market dataset",
            "请指定市场数据集所在目录",
            exit_code=EXIT_NOT_FOUND,
        )
    with Progress(choose("reading the dataset", "读取数据集")):
        dataset = read_dataset(folder, leave_out_malformed=skip_malformed)
    if isinstance(dataset, MarketDataset):
        _say_left_out(dataset)
        return dataset
    causes = [problem for problem in dataset if not problem.cause]
    for problem in causes:
        say(show(problem))
    followers = _count([problem for problem in dataset if problem.cause])
    if followers:
        more = f"{followers} more row{'s' * (followers != 1)} refer to them and need no mending"
        say(choose(more, f"另有 {followers} 行引用上述行，本身无需修正"))
    raise _malformed(folder, causes)


def _say_left_out(dataset: MarketDataset) -> None:
    for problem in dataset.left_out:
        mark = _LEFT_OUT_FOLLOWER if problem.cause else _LEFT_OUT
        say(show(problem) + choose(*mark))
    for problem in dataset.gaps:
        say(show(problem) + choose(*_GAP))
    if dataset.gaps or any(row.file == "events.jsonl" for row in dataset.left_out):
        say(choose(*_LEFT_OUT_EVENTS))


def _count(problems: Sequence[RowProblem]) -> int:
    return len({(problem.file, problem.line) for problem in problems})


def _malformed(folder: Path, problems: Sequence[RowProblem]) -> CliError:
    files = len({problem.file for problem in problems if problem.whole_file})
    rows = _count([problem for problem in problems if not problem.whole_file])
    counted = [
        (f"{files} file{'s' * (files != 1)} as a whole", f"{files} 个文件整体"),
        (f"{rows} row{'s' * (rows != 1)}", f"{rows} 行"),
    ]
    shown = [texts for count, texts in zip((files, rows), counted, strict=True) if count]
    leave = (
        "mend them, or leave them out with --on-malformed skip",
        "请修正这些行，或用 --on-malformed skip 跳过",
    )
    mend = (
        "mend them and import again; of a file that is malformed as a whole no row can be left out",
        "请修正后重新导入；整体有误的文件无法逐行跳过",
    )
    remedy_en, remedy_zh = mend if files else leave
    return CliError(
        "ROW_MALFORMED",
        f"{folder} has {' and '.join(en for en, _ in shown)} malformed, named above;"
        " nothing was imported",
        f"{folder} 中有 {'和 '.join(zh for _, zh in shown)}格式错误（见上），未导入任何数据",
        remedy_en,
        remedy_zh,
        exit_code=EXIT_USAGE,
    )


def _import_failed(code: str, text: str, text_zh: str = "") -> CliError:
    unavailable = code in {"SERVICE_UNAVAILABLE", "CHAIN_UNAVAILABLE", "OUTCOME_UNKNOWN"}
    remedy_en = "repeat the same import: what was done keeps its outcome, the rest follows"
    remedy_zh = "请重新执行同一导入：已完成的保持原结果，其余继续"
    if not unavailable:
        with suppress(UnknownCodeError):
            texts = messages(code)
            remedy_en, remedy_zh = texts.remedy_en, texts.remedy_zh
    return CliError(
        code,
        f"the import stopped: {text}",
        f"导入中止：{text_zh or text}",
        remedy_en,
        remedy_zh,
        exit_code=EXIT_UNAVAILABLE if unavailable else EXIT_CONFLICT,
    )
