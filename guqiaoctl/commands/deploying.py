"""`guqiao contract deploy`, `approve`, `call` and the rest that needs a chain.

A governor proposes and approves for an entity. A replica executes the canonical form and takes
nobody's word for the source beside it, so an approval begins here with compiling that source: what
people read is what will run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.rules import messages
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import proven_record, refused, submit
from guqiaoctl.commands.contract_inputs import WrongArgumentsError, arguments_of
from guqiaoctl.commands.contracts import source_refused
from guqiaoctl.commands.governance import (
    READERS,
    known_chain,
    read_governed,
    submit_as_governor,
)
from guqiaoctl.commands.releases import (
    REVIEWERS,
    Release,
    asks_for_template,
    members_of,
    members_of_approval,
    members_of_upgrade,
)
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_UNVERIFIED, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import ACCOUNTS
from guqiaoctl.output import Progress, choose, print_json, print_table, say, shown
from services.consensus.domain.contracts.deployed import CONTRACTS
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.package import is_of_source, package
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Place:
    """Whose network, which of its chains, and which contract there."""

    data: Path
    chain: str
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """A contract's record, None where there is none, and the open proposals with their code."""

    name: str
    height: int
    record: Mapping[str, Json] | None
    proposals: tuple[tuple[Mapping[str, Json], Mapping[str, Json] | None], ...]


def show(place: Place, *, as_json: bool) -> None:
    """Show a contract and the open proposals for it, as the chain's state proves them."""
    network, chain = load_network(place.data), known_chain(place.chain)
    with Progress(choose("asking the chain", "查询链")):
        found = guarded(asyncio.run, read_contract(network, chain, place.name))
    if found.record is None and not found.proposals:
        raise _unknown(place)
    proposals = [dict(proposal) for proposal, _ in found.proposals]
    if as_json:
        record = None if found.record is None else dict(found.record)
        print_json({"height": found.height, "contract": record, "proposals": proposals})
        return
    if found.record is not None:
        fields = ("name", "engine", "version", "status", "digest")
        print_table([each.upper() for each in fields], [[found.record[each] for each in fields]])
        template = found.record.get("template")
        if isinstance(template, dict):
            number = template["filing_number"] or "-"
            row = (template["id"], template["version"], template["class"], number)
            print_table(("TEMPLATE", "VERSION", "CLASS", "FILING"), [row])
    if proposals:
        print_table(
            ("PROPOSAL", "ACTION", "ENTITY", "APPROVALS"),
            [
                (each["id"], each["action"], each["entity_id"], len(_listed(each["approvals"])))
                for each in proposals
            ],
        )


def propose_code(
    place: Place,
    governor: int,
    file: Path,
    release: Release,
    *,
    compatible: bool | None,
    as_json: bool,
) -> None:
    """Propose a new contract, or with `compatible` its next version; tells the proposal."""
    source = read_input(file, SOURCE_BYTES_MAX)
    try:
        body: dict[str, Json] = {"name": place.name, **package(source)}
    except SourceError as error:
        raise source_refused(file, error) from None
    method = "deploy"
    if compatible is not None:
        method, body = "upgrade", body | {"compatible": compatible}
    network, chain = load_network(place.data), known_chain(place.chain)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(
            asyncio.run, _propose_code(network, chain, governor, (method, body), release)
        )
    _tell_proposal(place, result, as_json=as_json)


def propose_status(place: Place, governor: int, action: str, reason: str, *, as_json: bool) -> None:
    """Propose to pause, resume or destroy a contract; tells the proposal."""
    _propose(place, governor, action, {"name": place.name, "reason": reason}, as_json=as_json)


def approve(place: Place, governor: int, proposal: str, *, as_json: bool) -> None:
    """Approve a proposal for an entity, if the source that it shows is the form that would run."""
    network, chain = load_network(place.data), known_chain(place.chain)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result, status = guarded(
            asyncio.run, _approve(network, chain, place.name, governor, proposal.strip().lower())
        )
    _tell(place, result, {"status": status}, as_json=as_json)


def call(
    place: Place, signers: tuple[str, str | None], method: str, arguments: str, *, as_json: bool
) -> None:
    """Call a contract in the name of an account, and of a second one where the step asks for two;
    tells what it returns and what it cost.
    """
    network, chain = load_network(place.data), known_chain(place.chain)
    try:
        body = arguments_of(arguments)
    except WrongArgumentsError as error:
        raise _wrong(
            f"--args: {error.where}: {error.why}", f"--args：{error.where}：{error.why}"
        ) from None
    known = {each.name for each in ACCOUNTS if each.organisation.domain == chain}
    for account in signers:
        if account is not None and account not in known:
            raise _wrong(
                f"{chain} has no account {shown(account)}", f"{chain} 没有账户 {shown(account)}"
            )
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(asyncio.run, _call(network, chain, signers, (place.name, method, body)))
    _tell(place, result, dict(result.detail), as_json=as_json)


def _propose(
    place: Place, governor: int, method: str, body: dict[str, Json], *, as_json: bool
) -> None:
    network, chain = load_network(place.data), known_chain(place.chain)
    with Progress(choose("waiting for the chain", "等待链的结果")):
        result = guarded(
            asyncio.run, submit_as_governor(network, chain, governor, (CONTRACTS, method, body))
        )
    _tell_proposal(place, result, as_json=as_json)


async def _propose_code(
    network: Network,
    chain: str,
    governor: int,
    what: tuple[str, dict[str, Json]],
    release: Release,
) -> TransactionResult:
    method, body = what
    more = await members_of(network, chain, release)
    if method == "upgrade":
        found = await read_contract(network, chain, str(body["name"]))
        more |= await members_of_upgrade(network, chain, found.record, release)
    call = (CONTRACTS, method, body | more)
    reviewer = REVIEWERS[chain] if asks_for_template(network, chain) else None
    return await submit_as_governor(network, chain, governor, call, checker=reviewer)


async def _approve(
    network: Network, chain: str, name: str, governor: int, proposal: str
) -> tuple[TransactionResult, str | None]:
    found = await read_contract(network, chain, name)
    facts = _checked_facts(found, proposal)
    body: dict[str, Json] = {"name": name, "proposal": proposal}
    body |= await members_of_approval(network, chain, facts)
    result = await submit_as_governor(network, chain, governor, (CONTRACTS, "approve", body))
    after = await read_contract(network, chain, name, result.height)
    return result, None if after.record is None else str(after.record["status"])


def _checked_facts(found: Found, proposal: str) -> Mapping[str, Json]:
    """A proposal's facts; refuses one that is not there, or whose source is not what it would
    run.
    """
    for each, code in found.proposals:
        if each["id"] != proposal:
            continue
        facts = each["facts"]
        assert isinstance(facts, dict), "the contract wrote it"
        if code is not None and not _is_shown(str(code["source"]), str(facts["digest"])):
            raise _not_its_source(found.name)
        return facts
    raise CliError(
        "PROPOSAL_UNKNOWN",
        f"{found.name} has no open proposal {shown(proposal[:64])}",
        f"{found.name} 没有未决提案 {shown(proposal[:64])}",
        "give the id that `guqiao contract show` names",
        "请使用 `guqiao contract show` 所列的编号",
        exit_code=EXIT_NOT_FOUND,
    )


def _is_shown(source: str, digest: str) -> bool:
    try:
        return is_of_source(source, digest)
    except SourceError:
        return False


async def read_contract(
    network: Network, chain: str, name: str, height: int | None = None
) -> Found:
    """What the chain's state proves of a contract and the open proposals for it, at one height."""
    present = (await read_governed(network, chain)).present
    provider = open_provider()
    identity = open_identity(network, provider, chain, READERS[chain])
    async with open_chain(network, provider, chain, identity) as client:
        at = (await client.latest()).height if height is None else height
        record = await _value(client, f"contract/{name}", at)
        proposals = []
        for entity in sorted({member.entity_id for member in present.members}):
            proposal = await _value(client, f"proposal/{entity}/{name}", at)
            if proposal is not None:
                code = await _value(client, f"proposed/{entity}/{name}", at)
                proposals.append((proposal, code))
    return Found(name, at, record, tuple(proposals))


async def _value(client: ChainClient, key: str, height: int) -> Mapping[str, Json] | None:
    return await proven_record(client, f"{CONTRACTS}/{key}", height)


async def _call(
    network: Network,
    chain: str,
    signers: tuple[str, str | None],
    what: tuple[str, str, Mapping[str, Json]],
) -> TransactionResult:
    maker, checker = signers
    result = await submit(network, chain, what, maker=maker, checker=checker)
    if not result.accepted:
        raise _with_facts(refused(result), _facts_of(result))
    return result


def _facts_of(result: TransactionResult) -> Json:
    """Of a refusal, or that the receipt withholds them."""
    withheld = "facts_withheld"
    if withheld in result.detail:
        return {withheld: result.detail[withheld]}
    return result.detail.get("facts")


def _with_facts(error: CliError, facts: Json) -> CliError:
    """What a contract itself tells of why it said no."""
    if isinstance(facts, dict) and facts:
        told = ", ".join(f"{name}={shown(value)}" for name, value in sorted(facts.items()))
        error.texts = {
            language: (f"{text.rstrip('.。')} ({told})", remedy)
            for language, (text, remedy) in error.texts.items()
        }
    return error


def _tell_proposal(place: Place, result: TransactionResult, *, as_json: bool) -> None:
    if as_json:
        _tell(place, result, {}, as_json=True)
    else:
        print(result.transaction_id.hex())


def _tell(place: Place, result: TransactionResult, facts: dict[str, Any], *, as_json: bool) -> None:
    told = {
        "chain": place.chain,
        "name": place.name,
        "transaction": result.transaction_id.hex(),
        "height": result.height,
        **facts,
    }
    if as_json:
        print_json(told)
    else:
        rest = ", ".join(f"{name}={shown(value)}" for name, value in facts.items())
        say(f"{place.chain}: {place.name} ({result.height}) {rest}")


def _listed(value: Json) -> list[Json]:
    assert isinstance(value, list), "the contract wrote it"
    return value


def _unknown(place: Place) -> CliError:
    texts = messages("CONTRACT_UNKNOWN")
    return CliError(
        "CONTRACT_UNKNOWN",
        f"{place.chain}: {shown(place.name)}: {texts.en.rstrip('.')}",
        f"{place.chain}：{shown(place.name)}：{texts.zh.rstrip('。')}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_NOT_FOUND,
    )


def _not_its_source(name: str) -> CliError:
    return CliError(
        "CONTRACT_SOURCE_DIFFERS",
        f"the source shown with the proposal for {name} is not what would run",
        f"{name} 的提案所附源代码与将要执行的内容不一致",
        "do not approve it; ask whoever proposed it",
        "请勿批准，并向提案单位查询",
        exit_code=EXIT_UNVERIFIED,
    )


def _wrong(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao contract call --help`",
        "请查看 `guqiao contract call --help`",
        exit_code=EXIT_USAGE,
    )
