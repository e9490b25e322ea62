"""`guqiao restart`: the ceremony for a chain that lost its quorum for good.

`propose` makes the statement from the folders of the survivors, each signer adds its approval with
`approve`, `show` says what it is and who is missing, `apply` puts it in force at a stopped replica.
All of it works on files; every step may be repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.restart import (
    INVALID,
    QUORUM_STANDS,
    RESTART_BYTES_MAX,
    TOO_LOW,
    UNAVAILABLE,
    Approval,
    Remaining,
    Restart,
    RestartStatement,
    Role,
    approval_sign_bytes,
    name_of,
    signers_of,
)
from guqiao_sdk.proof.restart_rules import check_approval, check_statement, double_approval
from guqiao_sdk.rules import messages
from guqiaoctl.commands.governance import body_of, replacement
from guqiaoctl.commands.verifying import time_text
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_UNVERIFIED, EXIT_USAGE, CliError
from guqiaoctl.network.layout import Layout
from guqiaoctl.network.parties import CHAINS, REPLICAS
from guqiaoctl.output import Progress, choose, print_json, print_table, say
from guqiaoctl.result_files import beside, whole_file
from services.chassis.settings import load_settings
from services.consensus.domain.contracts.governance_form import parse_proposal
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.restart import Survivor, compose, put_in_force
from services.consensus.settings import Settings
from services.consensus.store import ChainStore, StoreOptions
from services.consensus.store.files import SYSTEM_FILES
from services.consensus.store.folder import is_in_use, read_identity

SIGNED_ANOTHER: Final = "RESTART_SIGNED_ANOTHER"
_OPTIONS: Final = StoreOptions(reserve_bytes=0)
_EXIT_CODES: Final = {
    INVALID: EXIT_USAGE,
    "PROOF_INVALID": EXIT_UNVERIFIED,
    "RESTART_APPROVAL_INVALID": EXIT_UNVERIFIED,
}
_AUTHORITIES: Final = {"csrc": Role.CSRC, "province": Role.PROVINCE}


def propose(
    data: Path,
    configs: Sequence[Path],
    *,
    file: Path | None,
    replace_keys: Sequence[str],
    reason: str,
    to: Path,
) -> None:
    """Write the statement that goes on from the highest block which these replicas hold."""
    if (file is None) == (not replace_keys):
        raise _malformed("give either a file or --replace", "请给出文件或 --replace，二者择一")
    with whole_file(to) as write, _reading(), ExitStack() as stack, _refusing():
        survivors = [stack.enter_context(_survivor(config)) for config in configs]
        highest = max(survivors, key=lambda each: each.held().height)
        present = highest.sets.set_at(highest.held().height + 1)
        _refuse_standing_quorum(data, survivors, present)
        members, governors = _next_members(present, file, replace_keys)
        now_ms = time.time_ns() // 1_000_000
        statement = compose(survivors, members, governors, reason=reason, time_ms=now_ms)
        write(Restart(statement).encode())
    say(f"{to}: {choose('approvals needed', '需要批准')}: {_names(signers_of(statement))}")
    print(statement.digest().hex(), file=beside(to))


def approve(
    path: Path, signer: str, key_file: Path, *, genesis_file: Path | None, config: Path | None
) -> None:
    """Add one approval. An entity shows its replica's folder, and states what it holds by it."""
    provider = open_provider()
    restart, key = read_restart(path), load_private_key(key_file, provider)
    role = _AUTHORITIES.get(signer, Role.ENTITY)
    who = (role, signer if role is Role.ENTITY else "")
    with whole_file(path) as write, _reading(), _refusing():
        genesis = _check_own(restart.statement, who, genesis_file, config)
        approval = _signed(restart.statement, who, key, key_file, provider, genesis)
        write(restart.with_approval(approval).encode())
    missing = restart.with_approval(approval).missing()
    say(f"{signer}: {restart.statement.digest().hex()}")
    say(f"{choose('still missing', '尚缺')}: {_names(missing) or choose('nobody', '无')}")


def show(path: Path, *, other: Path | None, as_json: bool) -> None:
    """Show a restart: from where, with whom, who approved. With another one, who signed both."""
    restart = read_restart(path)
    facts = _facts(restart)
    if other is not None:
        verify = open_provider().verify
        both = double_approval(restart, read_restart(other), verify)
        facts["signed_both"] = [name_of(each.signer) for each in both]
    if as_json:
        print_json(facts)
        return
    shown = {name: value for name, value in facts.items() if name != "members"}
    print_table(
        ("RESTART", ""),
        [
            (name, ", ".join(map(str, value)) if isinstance(value, list) else value)
            for name, value in shown.items()
        ],
    )
    print_table(
        ("REPLICA", "ENTITY", "NAME", "STAYS"),
        [
            (row["replica"], row["entity_id"], row["entity_name"], row["stays"])
            for row in facts["members"]
        ],
    )


def apply(path: Path, config: Path) -> None:
    """Let a stopped replica go by the restart."""
    restart = read_restart(path)
    settings, genesis = _replica(config)
    verify = open_provider().verify
    with _reading(), _refusing():
        is_new = put_in_force(
            settings.data_folder, genesis, settings.replica, restart, verify, _OPTIONS
        )
    statement = restart.statement
    place = f"{statement.chain_id}/{settings.replica}"
    what = (
        choose("goes on", "将继续")
        if is_new
        else choose("goes by this restart already", "已采用该重启")
    )
    say(
        f"{place}: {what}: {choose('height', '高度')} {statement.height + 1},"
        f" {choose('epoch', '纪元')} {statement.epoch}"
    )
    print(_file_digest(restart))


def read_restart(path: Path) -> Restart:
    """A restart from its file."""
    with path.open("rb") as file:
        data = file.read(RESTART_BYTES_MAX + 1)
    try:
        return Restart.decode(data)
    except MalformedError as error:
        raise _refused(ProofError(path.name, f"no restart statement: {error}", INVALID)) from error


# --- Approving -----------------------------------------------------------------------------------


def _check_own(
    statement: RestartStatement,
    who: tuple[Role, str],
    genesis_file: Path | None,
    config: Path | None,
) -> Genesis:
    """What the signer must see for himself before he signs; raises `ProofError`."""
    check_statement(statement)
    if who not in signers_of(statement):
        raise ProofError("approval", f"{who[1]} is nobody whose approval is needed", INVALID)
    entity = who[1]
    stated = next((each for each in statement.remaining if each.entity_id == entity), None)
    if config is not None:
        with _survivor(config) as mine:
            _check_held(stated, mine.held())
            genesis = mine.genesis
    elif genesis_file is not None and (stated is None or stated.height == 0):
        genesis = parse_genesis(genesis_file.read_bytes())
    else:
        raise _malformed(
            "an entity names its replica with --config, CSRC and the province --genesis",
            "机构须用 --config 指明其副本，证监会与省级监管部门用 --genesis",
        )
    if genesis.hash() != statement.genesis_hash:
        raise ProofError("approval", "the statement is of another genesis", "RESTART_OTHER_GENESIS")
    return genesis


def _check_held(stated: Remaining | None, held: BlockHeader) -> None:
    """Raise `ProofError` where the folder shows something else than the statement says of it."""
    if stated is None or held.height == 0:
        return
    if (held.height, held.hash()) == (stated.height, stated.header_hash):
        return
    raise ProofError(
        "approval",
        f"this folder holds height {held.height}, the statement says {stated.height}"
        f" of {stated.entity_id}",
        TOO_LOW if held.height > stated.height else INVALID,
    )


def _signed(
    statement: RestartStatement,
    who: tuple[Role, str],
    key: PrivateKey,
    key_file: Path,
    provider: GmProvider,
    genesis: Genesis,
) -> Approval:
    """The approval. It is noted beside the key before it is given: never two of one epoch."""
    if genesis.restart_authorities is None:
        raise ProofError("approval", "genesis names no restart authorities", UNAVAILABLE)
    note = key_file.with_name(f"{key_file.name}.{statement.chain_id}-{statement.epoch}.restart")
    digest = statement.digest().hex()
    if note.exists():
        noted = json.loads(note.read_bytes())
        if noted["statement"] != digest:
            raise ProofError("approval", f"it approved {noted['statement']}", SIGNED_ANOTHER)
        signature = bytes.fromhex(noted["signature"])
    else:
        signature = provider.sign(key, approval_sign_bytes(statement, *who))
    approval = Approval(*who, key.public_key, signature)
    check_approval(statement, approval, genesis.restart_authorities, provider.verify)
    content = canonical_json({"statement": digest, "signature": signature.hex()})
    SYSTEM_FILES.replace_durably(note, content)
    return approval


# --- Proposing -----------------------------------------------------------------------------------


def _next_members(
    present: ReplicaSet, file: Path | None, replace_keys: Sequence[str]
) -> tuple[tuple[Member, ...], tuple[bytes, ...]]:
    """The next members and their governors, from a file as `governance propose` takes it, or the
    present ones with other vote keys.
    """
    if file is None:
        keys = dict(replacement(text, present.size) for text in replace_keys)
        rows = [
            {
                "entity_id": member.entity_id,
                "entity_name": member.entity_name,
                "vote_key": keys.get(member.replica, member.public_key.hex()),
            }
            for member in present.members
        ]
        body: dict[str, Any] = {"members": rows, "governors": []}
    else:
        body = body_of(file)
    body = {"governors": [], **body, "not_before": 0}
    try:
        proposal = parse_proposal(body, present.chain_id)
    except Refusal as error:
        texts = messages(error.code, **error.fields)
        raise CliError(
            error.code,
            texts.en,
            texts.zh,
            texts.remedy_en,
            texts.remedy_zh,
            exit_code=EXIT_USAGE,
        ) from error
    return proposal.replica_set.members, tuple(canonical_json(each) for each in body["governors"])


def _refuse_standing_quorum(data: Path, survivors: Sequence[Survivor], present: ReplicaSet) -> None:
    """Replicas of this machine that run count as well: with a quorum the chain decides."""
    numbers = {each.number for each in survivors}
    layout = Layout(data)
    if layout.network_file.exists() and present.chain_id in CHAINS:
        for number in range(REPLICAS):
            folder = layout.process(f"{present.chain_id}-{number}") / "data"
            if is_in_use(folder):
                numbers.add(number)
    voting = [number for number in numbers if number not in present.jailed]
    if len(voting) >= present.quorum:
        raise ProofError(
            f"restart of {present.chain_id}",
            f"replicas {', '.join(map(str, sorted(voting)))} are there, a quorum of"
            f" {present.quorum}",
            QUORUM_STANDS,
        )


@contextmanager
def _survivor(config: Path) -> Iterator[Survivor]:
    settings, genesis = _replica(config)
    read_identity(settings.data_folder, genesis)
    store = ChainStore.open(
        settings.data_folder, genesis, replica=settings.replica, options=_OPTIONS
    )
    try:
        yield Survivor(settings.replica, store, genesis)
    finally:
        store.close()


def _replica(config: Path) -> tuple[Settings, Genesis]:
    settings = load_settings(Settings, config)
    return settings, parse_genesis(settings.genesis_file.read_bytes())


# --- Showing -------------------------------------------------------------------------------------


def _facts(restart: Restart) -> dict[str, Any]:
    statement = restart.statement
    kept = {member.public_key for member in statement.old_set.members}
    return {
        "chain": statement.chain_id,
        "genesis_hash": statement.genesis_hash.hex(),
        "statement": statement.digest().hex(),
        "file": _file_digest(restart),
        "epoch": statement.epoch,
        "height": statement.height,
        "header_hash": statement.header.hash().hex(),
        "time": time_text(statement.time_ms),
        "reason": statement.reason,
        "held": [f"{each.entity_id}={each.height}" for each in statement.remaining],
        "governors": [json.loads(each)["did"] for each in statement.governors],
        "approved": [name_of(each.signer) for each in restart.approvals],
        "missing": [name_of(each) for each in restart.missing()],
        "above_faulty_max": statement.new_set.entities_above_faulty_max(),
        "members": [
            {
                "replica": member.replica,
                "entity_id": member.entity_id,
                "entity_name": member.entity_name,
                "vote_key": member.public_key.hex(),
                "stays": member.public_key in kept,
            }
            for member in statement.new_set.members
        ],
    }


def _file_digest(restart: Restart) -> str:
    """What all replicas must have alike: the approvals are part of the state."""
    return sm3(restart.encode()).hex()


def _reading() -> Progress:
    """A folder that was not closed cleanly takes its time to open."""
    return Progress(choose("reading the replica's folder", "读取副本目录"))


def _names(signers: Sequence[tuple[Role, str]]) -> str:
    return ", ".join(name_of(each) for each in signers)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ProofError as error:
        raise _refused(error) from error


def _refused(error: ProofError) -> CliError:
    texts = messages(error.code)
    return CliError(
        error.code,
        f"{texts.en.rstrip('.')} ({error.piece}: {error.detail})",
        f"{texts.zh.rstrip('。')}（{error.piece}：{error.detail}）",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=_EXIT_CODES.get(error.code, EXIT_CONFLICT),
    )


def _malformed(english: str, chinese: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED",
        english,
        chinese,
        "see `guqiao restart --help`",
        "请查看 `guqiao restart --help`",
        exit_code=EXIT_USAGE,
    )
