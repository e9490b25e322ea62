"""`guqiao template publish`, `file`, `accept` and the like: templates on the regulatory chain.

Each step is signed by two persons of the organisation that takes it. What is shown of a template
was proven by the chain's own state.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import accepted, submit
from guqiaoctl.commands.proven_templates import read_proven_template
from guqiaoctl.commands.templates import print_template
from guqiaoctl.input_files import read_input
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import Progress, choose, print_json, say, shown
from guqiaoctl.template_files import load_deployable, require_own_source
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template
from services.consensus.domain.contracts.template.standing import TEMPLATES

SIGNERS: Final = {CSRC: ("market", "tech"), MARKET: ("maker", "checker")}
"""The accounts that sign a step, by domain: who takes it, and who checks it."""
EVIDENCE_BYTES_MAX: Final = 64 * 1024 * 1024
SHOWN: Final = (
    *("status", "organisation", "author", "reviewer", "tests", "risk_review", "filing_number"),
    *("reason", "height", "transaction_id"),
)
"""Of a record, beside what the template itself says."""


def publish(data: Path, path: Path) -> None:
    """Publish a COMMON template in the name of the CSRC."""
    template = load_deployable(path)
    body: dict[str, Json] = {"template": template.to_json()}
    _take(load_network(data), CSRC, "publish", body)
    _told(template)


def file(data: Path, path: Path, *, tests: Path, risk_review: Path) -> None:
    """Define an operator's own template with its evidence, and file it with the CSRC."""
    template = load_deployable(path)
    network = load_network(data)
    evidence: dict[str, Json] = {
        "tests": _digest(tests),
        "risk_review": _digest(risk_review),
    }
    _take(network, MARKET, "define", {"template": template.to_json(), **evidence})
    named: dict[str, Json] = {"id": template.id, "version": template.version}
    _take(network, MARKET, "file", named)
    _told(template)


def act(data: Path, method: str, identifier: str, version: int, **more: str) -> None:
    """Take a step that names a template on chain, in the name of whose it is. Nothing is accepted
    whose source, which people read, is not the program that would run.
    """
    network = load_network(data)
    if method == "accept":
        _kept_template(_read(network, identifier, version))
    domain = MARKET if method == "withdraw" else CSRC
    named: dict[str, Json] = {"id": identifier, "version": version, **more}
    result = _take(network, domain, method, named)
    say(f"{identifier}@{version}: {method} ({result.height})")


def status(data: Path, identifier: str, version: int, *, as_json: bool) -> None:
    """Show where a version of a template is in its life, and what it says."""
    record = _read(load_network(data), identifier, version)
    template = _kept_template(record)
    if as_json:
        print_json(record)
        return
    for name in SHOWN:
        if record.get(name) is not None:
            print(f"{name}: {shown(record[name])}")
    print()
    print_template(template)


def _told(template: Template) -> None:
    print(f"{template.id}@{template.version}  {template.digest.hex()}")


def _digest(path: Path) -> str:
    return sm3(read_input(path, EVIDENCE_BYTES_MAX)).hex()


def _take(network: Network, domain: str, method: str, body: dict[str, Json]) -> TransactionResult:
    with Progress(choose("waiting for the chain", "等待链的结果")):
        return guarded(asyncio.run, _submit(network, domain, method, body))


async def _submit(
    network: Network, domain: str, method: str, body: dict[str, Json]
) -> TransactionResult:
    maker, checker = SIGNERS[domain]
    call = (TEMPLATES, method, body)
    return accepted(await submit(network, CSRC, call, maker=maker, checker=checker, domain=domain))


def _read(network: Network, identifier: str, version: int) -> dict[str, Json]:
    with Progress(choose("asking the chain", "查询链")):
        found = guarded(asyncio.run, read_proven_template(network, identifier, version))
    return found.record | found.standing


def _kept_template(record: dict[str, Json]) -> Template:
    template = read_template(record["template"])
    require_own_source(template)
    return template
