"""`guqiao notice`: upgrades of a market's chain, told to the regulatory chain ahead of time.

Each step is signed by whose it is: the operator's two persons, the two sides of the CSRC, or its
technical side. What is shown of a notice was proven by the chain's own state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, failure, proven_record, submit
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.network.parties import OPERATOR as OPERATES
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.interface import (
    INTERFACE_BYTES_MAX,
    Field,
    Interface,
    changes,
    read_interface,
)
from services.consensus.domain.contracts.notice.standing import (
    NOTICES,
    head_key,
    interface_key,
    notice_key,
)

OPERATOR: Final = (MARKET, "maker", "checker")
BOTH_SIDES: Final = (CSRC, "market", "tech")
TECHNICAL_SIDE: Final = (CSRC, "tech", None)
SIGNERS: Final[dict[str, tuple[str, str, str | None]]] = {
    **dict.fromkeys(("adopt", "ack", "object", "waive", "review", "close"), BOTH_SIDES),
    **dict.fromkeys(("open_test", "pass_test", "fail_test", "compare", "verify"), TECHNICAL_SIDE),
    **dict.fromkeys(
        (
            *("file", "refile", "replan", "schedule", "open_window", "cutover", "roll_back"),
            "cancel",
        ),
        OPERATOR,
    ),
}
"""Domain, maker and checker of each step."""
DOCUMENT_BYTES_MAX: Final = 64 * 1024 * 1024
INTERFACE_DEPTH_MAX: Final = 8
FIGURES_BYTES_MAX: Final = 4_096
LISTED_MAX: Final = 10_000
SHOWN: Final = (
    *("chain", "number", "kind", "status", "organisation", "author", "working_days", "earliest"),
    *("planned", "old_until", "compatible", "old", "new", "test_report", "reason", "waiver"),
    *("review", "height", "transaction_id"),
)


@dataclass(frozen=True, slots=True)
class Filing:
    """What a notice is filed with, as the command line gives it; `documents` are NAME=FILE."""

    file: Path
    kind: str
    planned: str
    documents: Sequence[str]


def adopt(data: Path, chain: str, file: Path, operator: str, *, as_json: bool) -> None:
    """Take down the interface of a chain, and who operates it."""
    interface = _interface_in(file)
    body: dict[str, Json] = {
        "chain": chain,
        "operator": operator or OPERATES.did,
        "interface": interface.to_json(),
    }
    height = _take(load_network(data), "adopt", body)
    told: dict[str, Json] = {
        "chain": chain,
        "interface": interface.digest.hex(),
        "model_version": interface.model_version,
        "height": height,
    }
    _tell(told, as_json=as_json)


def show_interface(data: Path, chain: str, *, as_json: bool) -> None:
    """Show the interface that is in force; as JSON it is the file that the next one begins with."""
    found = _in_force(load_network(data), chain)
    if as_json:
        print_json(found.to_json())
        return
    print(f"{found.model_version}  {found.digest.hex()}")
    print_table(
        ("PART", "FIELD", "TYPE", "REQUIRED", "VALUES"),
        [
            (part, name, each.type, choose("yes", "是") if each.is_required else "-", _list(each))
            for part, fields in found.parts.items()
            for name, each in fields.items()
        ],
    )


def diff(data: Path, chain: str, file: Path, *, as_json: bool) -> None:
    """Tell how an interface differs from the one in force, and whether that breaks."""
    found = changes(_in_force(load_network(data), chain), _interface_in(file))
    is_compatible = not any(each.is_breaking for each in found)
    if as_json:
        print_json({"compatible": is_compatible, "changes": [each.to_json() for each in found]})
        return
    breaks = {True: choose("breaks", "不兼容"), False: choose("compatible", "兼容")}
    print_table(
        ("PLACE", "RULE", "BREAKS"),
        [(each.place, each.rule, breaks[each.is_breaking]) for each in found],
    )


def file(data: Path, chain: str, filing: Filing, *, number: int = 0, as_json: bool) -> None:
    """File a notice, or with `number` one anew to which the CSRC objected."""
    network = load_network(data)
    body: dict[str, Json] = {
        "chain": chain,
        "kind": filing.kind.upper(),
        "interface": _interface_in(filing.file).to_json(),
        "documents": _documents(filing.documents),
        "planned": filing.planned,
    }
    with Progress(choose("waiting for the chain", "等待链的结果")):
        record = guarded(asyncio.run, _file(network, chain, body, number))
    _tell(_brief(record), as_json=as_json)


def step(data: Path, chain: str, number: int, method: str, *, as_json: bool, **more: Json) -> None:
    """Take a step of a notice in the name of whose it is."""
    network = load_network(data)
    body: dict[str, Json] = {"chain": chain, "number": number, **more}
    with Progress(choose("waiting for the chain", "等待链的结果")):
        record = guarded(asyncio.run, _step(network, method, body))
    _tell(_brief(record), as_json=as_json)


def list_notices(data: Path, chain: str, *, as_json: bool) -> None:
    """List the notices of a chain, proven, and what is in force."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        head, records = guarded(asyncio.run, _read_all(network, chain))
    if as_json:
        print_json({"chain": chain, **head, "notices": [_brief(each) for each in records]})
        return
    names = ("number", "kind", "status", "earliest", "planned", "old_until", "model_version")
    print_table(
        [name.upper().replace("_", " ") for name in names],
        [[shown(str(_brief(each)[name] or "-")) for name in names] for each in records],
    )


def show(data: Path, chain: str, number: int, *, as_json: bool) -> None:
    """Show a notice, proven."""
    network = load_network(data)
    with Progress(choose("asking the chain", "查询链")):
        record = guarded(asyncio.run, _read(network, chain, number))
    if as_json:
        print_json(record)
        return
    for name in SHOWN:
        if record[name] is not None:
            print(f"{name}: {shown(str(record[name]))}")
    for document, digest in record["documents"].items():
        print(f"documents.{document}: {digest}")
    for change in record["changes"]:
        breaks = choose("breaks", "不兼容") if change["breaking"] else ""
        print(f"changes: {shown(change['place'])} {change['rule']} {breaks}".rstrip())


def report_digest(path: Path) -> str:
    """The digest of a report in a file."""
    return sm3(read_input(path, DOCUMENT_BYTES_MAX)).hex()


def figures_in(path: Path) -> Json:
    """What one side of a migration holds, as JSON in a file."""
    return _json_in(path, FIGURES_BYTES_MAX)


def references(named: Sequence[str]) -> list[Json]:
    """Data objects as OBJECT_ID/VERSION."""
    found: list[Json] = []
    for each in named:
        object_id, _, version = each.rpartition("/")
        if not object_id or not version.isascii() or not version.isdigit():
            raise _wrong(
                f"--object {shown(each[:64])} is not of the form OBJECT_ID/VERSION",
                f"--object {shown(each[:64])} 不是“对象编号/版本”的形式",
            )
        found.append({"object_id": object_id, "version": int(version)})
    return found


# --- The chain ------------------------------------------------------------------------------------


def _take(network: Network, method: str, body: dict[str, Json]) -> int:
    with Progress(choose("waiting for the chain", "等待链的结果")):
        return guarded(asyncio.run, _submit(network, method, body))


async def _submit(network: Network, method: str, body: dict[str, Json]) -> int:
    """The height at which the step was taken."""
    domain, maker, checker = SIGNERS[method]
    call = (NOTICES, method, body)
    result = await submit(network, CSRC, call, maker=maker, checker=checker, domain=domain)
    return accepted(result).height


async def _step(network: Network, method: str, body: dict[str, Json]) -> dict[str, Any]:
    chain, number = str(body["chain"]), body["number"]
    assert isinstance(number, int)
    return await _read(network, chain, number, await _submit(network, method, body))


async def _file(network: Network, chain: str, body: dict[str, Json], number: int) -> dict[str, Any]:
    head = await _read_key(network, head_key(chain))
    if head is None:
        raise failure("UPGRADE_INTERFACE_UNKNOWN", chain=chain)
    body["old"] = head["interface"]
    if number:
        return await _step(network, "refile", {**body, "number": number})
    height = await _submit(network, "file", body)
    head = await _read_key(network, head_key(chain), height)
    assert head is not None, "it was there before"
    return await _read(network, chain, int(head["latest"]), height)


async def _read(
    network: Network, chain: str, number: int, height: int | None = None
) -> dict[str, Any]:
    record = await _read_key(network, notice_key(chain, number), height)
    if record is None:
        raise failure("UPGRADE_NOTICE_UNKNOWN", chain=chain, number=number)
    return record


async def _read_all(network: Network, chain: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is known of a chain, and its notices, the latest first."""
    head = await _read_key(network, head_key(chain))
    if head is None:
        raise failure("UPGRADE_INTERFACE_UNKNOWN", chain=chain)
    latest = int(head["latest"])
    numbers = range(latest, max(0, latest - LISTED_MAX), -1)
    return head, [await _read(network, chain, number) for number in numbers]


async def _read_key(network: Network, key: str, height: int | None = None) -> dict[str, Any] | None:
    """What the state proves under a key, at the latest height where none is given."""
    provider = open_provider()
    identity = open_identity(network, provider, CSRC, READERS[CSRC])
    async with open_chain(network, provider, CSRC, identity) as client:
        at = (await client.latest()).height if height is None else height
        return await proven_record(client, f"{NOTICES}/{key}", at)


def _in_force(network: Network, chain: str) -> Interface:
    async def read() -> dict[str, Any] | None:
        head = await _read_key(network, head_key(chain))
        if head is None:
            raise failure("UPGRADE_INTERFACE_UNKNOWN", chain=chain)
        return await _read_key(network, interface_key(chain, head["interface"]))

    with Progress(choose("asking the chain", "查询链")):
        return read_interface(guarded(asyncio.run, read()))


# --- What is given and told -----------------------------------------------------------------------


def _interface_in(path: Path) -> Interface:
    try:
        return read_interface(_json_in(path, INTERFACE_BYTES_MAX))
    except Refusal as refusal:
        raise failure(refusal.code, **refusal.fields) from None


def _json_in(path: Path, bytes_max: int) -> Json:
    try:
        content = read_input(path, bytes_max)
        return parse_json_strict(content, depth_max=INTERFACE_DEPTH_MAX, size_max=bytes_max)
    except JsonError as error:
        raise _wrong(f"{path}: {error}", f"{path}：{error}") from None


def _documents(named: Sequence[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for each in named:
        name, is_given, path = each.partition("=")
        if not is_given or not name or name in found:
            raise _wrong(
                f"--document {shown(each[:64])} is not NAME=FILE, each name once",
                f"--document {shown(each[:64])} 不是“名称=文件”，或名称重复",
            )
        found[name] = report_digest(Path(path))
    return found


def _brief(record: dict[str, Any]) -> dict[str, Json]:
    names = ("chain", "number", "kind", "status", "working_days", "earliest", "planned")
    more = ("old_until", "compatible", "model_version", "height", "transaction_id")
    return {name: record[name] for name in (*names, *more)}


def _list(field: Field) -> str:
    return shown(", ".join(field.values)) or "-"


def _tell(told: dict[str, Json], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    say("  ".join(f"{name}: {shown(str(value))}" for name, value in told.items() if value))


def _wrong(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao notice --help`",
        "请查看 `guqiao notice --help`",
        exit_code=EXIT_USAGE,
    )
