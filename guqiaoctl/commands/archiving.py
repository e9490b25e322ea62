"""`guqiao archive`: a replica's sealed segments, moved out with proof that they are retrievable.

`create`, `prune` and `restore` work on a replica's files, named by its settings; `verify` and
`proof` need nothing but the archive and a trust file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guqiao_sdk.archive.errors import NotAnArchiveError
from guqiao_sdk.archive.folder import ArchiveVerdict, prove_transaction, verify_archive
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.verify import verify_bundle
from guqiaoctl.commands.calls import guarded, unverified
from guqiaoctl.commands.transactions import transaction_id
from guqiaoctl.commands.verifying import issuer_of, read_trust, time_text
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.output import Progress, choose, print_json, print_table, say
from guqiaoctl.result_files import whole_file
from services.chassis.settings import load_settings
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.settings import Settings
from services.consensus.store.archive import (
    Step,
    add_sealed_segments,
    remove_archived_segments,
    restore_archived_segments,
)


def create(config: Path, archive: Path, *, as_json: bool) -> None:
    """Add every segment that is sealed, whole and certified. The replica may run."""
    settings, genesis = _replica(config)
    verify_one = open_provider().verify
    with _segments() as progress:
        step = add_sealed_segments(
            settings.data_folder, archive, genesis, verify_one, on_segment=progress.show
        )
    _print_step("added", step, as_json=as_json)


def prune(config: Path, archive: Path, *, as_json: bool) -> None:
    """Replace archived segments by links to the archive. The replica must be stopped."""
    settings, genesis = _replica(config)
    _check_is_archive(archive)
    with _segments() as progress:
        step = remove_archived_segments(
            settings.data_folder, archive, genesis, on_segment=progress.show
        )
    _print_step("removed", step, as_json=as_json)


def restore(config: Path, archive: Path, *, as_json: bool) -> None:
    """Bring archived segments back. The replica must be stopped."""
    settings, genesis = _replica(config)
    _check_is_archive(archive)
    with _segments() as progress:
        step = restore_archived_segments(
            settings.data_folder, archive, genesis, on_segment=progress.show
        )
    _print_step("restored", step, as_json=as_json)


def verify(archive: Path, trust: Path, *, as_json: bool) -> None:
    """Judge every file, block and certificate. Exit code 7: one does not hold; 2: no archive."""
    provider = open_provider()
    trusted = guarded(read_trust, trust, provider)
    try:
        with _blocks() as progress:
            verdict = verify_archive(archive, trusted, provider.verify, on_block=progress.show)
    except NotAnArchiveError as error:
        raise _no_archive(archive) from error
    except ProofError as error:
        raise unverified(error) from error
    _print({**issuer_of(trusted), **_summary(verdict)}, "VERIFIED", as_json=as_json)


def proof(archive: Path, transaction: str, trust: Path, to: Path) -> None:
    """Write the proof bundle of an archived transaction, verified."""
    provider = open_provider()
    trusted = guarded(read_trust, trust, provider)
    wanted = transaction_id(transaction)
    with whole_file(to) as write, _blocks() as progress:
        try:
            bundle = prove_transaction(archive, trusted, wanted, on_block=progress.show)
            if bundle is None:
                raise _not_here(archive, transaction)
            data = bundle.encode()
            verify_bundle(data, trusted, provider.verify, now_ms=0)
        except NotAnArchiveError as error:
            raise _no_archive(archive) from error
        except ProofError as error:
            raise unverified(error) from error
        write(data)
    say(f"{to}: {len(data)} bytes")


def _segments() -> Progress:
    return Progress(choose("segments", "段文件"))


def _blocks() -> Progress:
    return Progress(choose("blocks", "区块"))


def _replica(config: Path) -> tuple[Settings, Genesis]:
    settings = load_settings(Settings, config)
    return settings, parse_genesis(settings.genesis_file.read_bytes())


def _check_is_archive(archive: Path) -> None:
    """A misspelt folder must not look like one that holds nothing to do."""
    if not any(archive.glob("guqiao-archive-*.json")):
        raise _no_archive(archive)


def _summary(verdict: ArchiveVerdict) -> dict[str, Any]:
    return {
        "chain": verdict.chain_id,
        "genesis": verdict.genesis_hash.hex(),
        "replica": verdict.replica,
        "manifests": verdict.manifests,
        "segments": verdict.segments,
        "bytes": verdict.size,
        "unlisted_segments": verdict.unlisted,
        "first_height": 0,
        "last_height": verdict.height,
        "last_header": verdict.header_hash.hex(),
        "last_block_time": time_text(verdict.block_time_ms),
        "transactions": verdict.transactions,
        "epoch": verdict.epoch,
        "set_changes": verdict.set_changes,
        "manifest_digest": verdict.manifest_digest.hex(),
    }


def _print_step(what: str, step: Step, *, as_json: bool) -> None:
    digest = step.manifest_digest
    facts: dict[str, Any] = {
        what: len(step.segments),
        "segments": list(step.segments) if as_json else " ".join(step.segments),
        "last_height": step.height,
        "manifest_digest": None if digest is None else digest.hex(),
    }
    if what == "removed":
        facts["kept"] = step.kept
    _print(facts, "ARCHIVE", as_json=as_json)


def _print(facts: dict[str, Any], title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        rows = [(name, "" if value is None else value) for name, value in facts.items()]
        print_table((title, ""), rows)


def _no_archive(archive: Path) -> CliError:
    return CliError(
        "ARCHIVE_MALFORMED",
        f"{archive} is no archive: it holds no manifest",
        f"{archive} 不是归档：其中没有任何清单",
        "name a folder that `guqiao archive create` wrote",
        "请指定由 `guqiao archive create` 写成的文件夹",
        exit_code=EXIT_USAGE,
    )


def _not_here(archive: Path, transaction: str) -> CliError:
    return CliError(
        "TRANSACTION_UNKNOWN",
        f"{archive} holds no transaction {transaction}",
        f"{archive} 中没有交易 {transaction}",
        "check the id; a later transaction is still with the replicas: `guqiao tx proof`",
        "请核对编号；更晚的交易仍在副本处，可用 `guqiao tx proof` 导出",
        exit_code=EXIT_NOT_FOUND,
    )
