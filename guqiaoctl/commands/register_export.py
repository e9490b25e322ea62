"""`guqiao register export` and `verify-export`: a product's register for a national registrar."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.trust import Trust, require_issuer
from guqiao_sdk.register_papers import manifest as manifests
from guqiao_sdk.register_papers.export import (
    TABLES,
    ExportVerdict,
    build_export,
    verify_export,
)
from guqiao_sdk.register_papers.manifest import FILES_MAX, Manifest
from guqiao_sdk.register_papers.proven import controls
from guqiaoctl.commands.calls import guarded, unverified
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.commands.register_papers import (
    At,
    fetch_proofs,
    open_reader,
    open_seal,
    parse_at,
    read_history,
)
from guqiaoctl.commands.verifying import issuer_of, read_trust, time_text
from guqiaoctl.input_files import read_input, read_names
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.output import Progress, choose, print_json, print_table, say
from guqiaoctl.result_folders import is_taken, taken, write_whole_folder

FILE_BYTES_MAX: Final = 512 * 1024 * 1024


def export(data: Path, product: str, to: Path, at: str) -> None:
    """Write the package of a product's register into a new folder. It is verified before it is
    there; where it is there already, of the same register at the same height, it stays as it is.
    """
    wanted = parse_at(at)
    network, provider = load_network(data), open_provider()
    trusted = guarded(read_trust, network.layout.trust, provider)
    files = guarded(_make, network, product, wanted)
    manifest = guarded(verify_export, files, trusted, provider.verify).manifest
    if not is_taken(to):
        write_whole_folder(to, files)
    elif not _holds_same(to, files, trusted, provider.verify):
        raise taken(to)
    say(f"{to}: {manifest.chain_id} {manifest.height}")


def verify_folder(folder: Path, trust: Path, *, issuer: str = "", as_json: bool) -> None:
    """Judge a package by a trust file, without a network; as JSON each check is named with its
    result. With `issuer`, the SM3 of a key in hex, the trust file counts only if that key signed.

    Exit code 7 when anything does not hold.
    """
    provider = open_provider()
    held: list[str] = []
    try:
        trusted = read_trust(trust, provider)
        if issuer:
            require_issuer(trusted, issuer)
        held.append("trust file")
        files = read_folder(folder)
        verdict = verify_export(files, trusted, provider.verify, on_check=held.append)
    except ProofError as error:
        if as_json:
            failed = {"check": error.piece, "holds": False, "detail": error.detail}
            print_json({"verified": False, "checks": [*_checks(held), failed]})
        raise unverified(error) from error
    summary = _summary(verdict, trusted)
    rows = controls(verdict.register, verdict.changes)
    if as_json:
        totals = [
            {"control": row.control, "nature": row.nature, "value": row.value} for row in rows
        ]
        print_json({**summary, "controls": totals, "verified": True, "checks": _checks(held)})
    else:
        shown = [(f"{row.control} {row.nature}".strip(), row.value) for row in rows]
        print_table(("VERIFIED", ""), [*summary.items(), *shown])


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a package by name. What is no file counts as one that no manifest names. Raises
    `CliError` where the folder cannot be read, `ProofError` where it holds too much.
    """
    files: dict[str, bytes] = {}
    for name in read_names(folder):
        piece = f"file {name}"
        path = folder / name
        if path.is_symlink() or not path.is_file() or len(files) > FILES_MAX:
            raise ProofError(piece, "the manifest does not name it")
        files[name] = read_input(path, FILE_BYTES_MAX)
        if len(files[name]) > FILE_BYTES_MAX:
            raise ProofError(piece, f"more than {FILE_BYTES_MAX} bytes")
    return files


def _make(network: Network, product: str, at: At) -> dict[str, bytes]:
    provider = open_provider()
    seal = open_seal(network, provider)

    async def fetch() -> dict[str, bytes]:
        async with open_reader(network, provider) as client:
            with Progress(choose("blocks", "区块")) as progress:
                history, height = await read_history(client, product, at, progress.show)
            if not history.changes:
                raise failure("PRODUCT_UNKNOWN", product_code=product)
            listing = history.listing()
            keys = listing.keys()
            with Progress(choose("proofs", "状态证明"), len(keys) + 1) as progress:
                proofs = await fetch_proofs(client, keys, seal.signer, height, progress.show)
        return build_export(listing, history.changes, proofs, seal)

    return asyncio.run(fetch())


def _holds_same(folder: Path, files: Mapping[str, bytes], trust: Trust, verify: Verify) -> bool:
    """Whether a package of the same register at the same height stands there, and holds. Signatures
    of two runs differ, as do the replicas whose certificate proves a state: what they sign counts.
    """
    try:
        there = read_folder(folder)
        verify_export(there, trust, verify)
    except ProofError:
        return False
    earlier, manifest = (Manifest.decode(each[manifests.NAME]) for each in (there, files))
    same = (earlier.chain_id, earlier.height) == (manifest.chain_id, manifest.height)
    return same and all(there[name] == files[name] for name in TABLES)


def _checks(held: list[str]) -> list[dict[str, Any]]:
    return [{"check": piece, "holds": True} for piece in held]


def _summary(verdict: ExportVerdict, trusted: Trust) -> dict[str, Any]:
    block, manifest = verdict.block, verdict.manifest
    return {
        **issuer_of(trusted),
        "chain": block.chain_id,
        "height": block.height,
        "block_time": time_text(block.block_time_ms),
        "signed_by": ", ".join(block.signers),
        "product_code": manifest.product,
        "institution": manifest.signer.did,
    }
