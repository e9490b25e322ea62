"""The export package of a product's register, for a national registrar: what is in it, and how it
is judged without a network (N0-08).

A package is files by name: four tables, extracts that prove them, and the signed manifest. Whoever
reads one needs a TRUST file and nobody's word: holders, encumbrances and totals are proven by the
chain's state, and proven to be complete. The history is vouched for by the institution; each of its
rows names its transaction, of which `guqiao tx proof` gives the proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import FACTS_MAX, Extract
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.register_papers import manifest as manifests
from guqiao_sdk.register_papers.institution import PIECE, Seal
from guqiao_sdk.register_papers.manifest import Manifest
from guqiao_sdk.register_papers.proofs import Place, proven_facts
from guqiao_sdk.register_papers.proven import (
    Facts,
    Listing,
    ProvenRegister,
    controls,
    identity_key,
)
from guqiao_sdk.register_papers.tables import (
    ENCUMBRANCES,
    HISTORY,
    HOLDERS,
    RECONCILIATION,
    Change,
    Encumbrance,
    Holding,
)
from guqiao_sdk.verify import CertifiedBlock, OnCheck

TABLES: Final = (HOLDERS.name, ENCUMBRANCES.name, HISTORY.name, RECONCILIATION.name)


@dataclass(frozen=True, slots=True)
class ExportVerdict:
    """What a package proves, and by whom it is signed."""

    block: CertifiedBlock
    register: ProvenRegister
    manifest: Manifest
    changes: int


def divided(keys: Sequence[str]) -> list[list[str]]:
    """Keys of the state in the order of extracts, so many to each as one may hold."""
    ordered = sorted(set(keys), key=str.encode)
    return [ordered[at : at + FACTS_MAX] for at in range(0, len(ordered), FACTS_MAX)]


def build_export(
    listing: Listing,
    history: Sequence[Change],
    extracts: Sequence[Extract],
    seal: Seal,
) -> dict[str, bytes]:
    """The files of the package. The extracts are of one height and prove `listing.keys()` and the
    signer's identity. Raises `ProofError` where they are not of a whole register.
    """
    facts: Facts = {fact.key: fact.value for each in extracts for fact in each.facts}
    register = ProvenRegister.read(facts, listing)
    register.check_whole()
    header = extracts[0].certified.header
    files = {
        HOLDERS.name: HOLDERS.write(register.holders),
        ENCUMBRANCES.name: ENCUMBRANCES.write(register.encumbrances),
        HISTORY.name: HISTORY.write(history),
        RECONCILIATION.name: RECONCILIATION.write(controls(register, len(history))),
        **{f"proof-{n:04}.gqx": each.encode() for n, each in enumerate(extracts, start=1)},
    }
    manifest = Manifest.build(
        chain_id=header.chain_id,
        height=header.height,
        block_time_ms=header.block_time_ms,
        product=listing.product,
        files=files,
        seal=seal,
    )
    return {**files, manifests.NAME: manifest.encode()}


def verify_export(
    files: Mapping[str, bytes],
    trust: Trust,
    verify: Verify,
    *,
    on_check: OnCheck = lambda piece: None,
) -> ExportVerdict:
    """What the package proves. Raises `ProofError` that names the first check which fails;
    `on_check` is told of each that holds.
    """
    manifest = _manifest_of(files)
    on_check("export manifest")
    _check_files(manifest, files, on_check)
    block, facts = _proven(manifest, files, trust, verify, on_check)
    manifest.signer.check(
        facts, block.block_time_ms, manifest.sign_bytes(), manifest.signature, verify
    )
    on_check(PIECE)
    register = _register(manifest, files, facts, on_check)
    changes = HISTORY.read(files[HISTORY.name])
    _check_history(changes, register, manifest.height)
    on_check(f"table {HISTORY.name}")
    found = RECONCILIATION.read(files[RECONCILIATION.name])
    expected = controls(register, len(changes))
    RECONCILIATION.require_same(found, expected)
    on_check(f"table {RECONCILIATION.name}")
    return ExportVerdict(block, register, manifest, len(changes))


def _manifest_of(files: Mapping[str, bytes]) -> Manifest:
    if manifests.NAME not in files:
        raise ProofError(f"file {manifests.NAME}", "it is missing")
    return Manifest.decode(files[manifests.NAME])


def _check_files(manifest: Manifest, files: Mapping[str, bytes], on_check: OnCheck) -> None:
    """Exactly the files that the manifest names, each as it was signed."""
    for name in sorted({*manifest.files, *TABLES}):
        piece = f"file {name}"
        if name not in files:
            raise ProofError(piece, "it is missing")
        if name not in manifest.files or sm3(files[name]) != manifest.files[name]:
            raise ProofError(piece, "its digest is not the one in its manifest")
        on_check(piece)
    for name in sorted(set(files) - {*manifest.files, manifests.NAME}):
        raise ProofError(f"file {name}", "the manifest does not name it")


def _proven(
    manifest: Manifest,
    files: Mapping[str, bytes],
    trust: Trust,
    verify: Verify,
    on_check: OnCheck,
) -> tuple[CertifiedBlock, Facts]:
    extracts = {f"proof in {name}": files[name] for name in sorted(set(manifest.files) - {*TABLES})}
    if not extracts:
        raise ProofError("export manifest", "it names no extract of a state")
    place = Place(manifest.chain_id, manifest.height, manifest.block_time_ms)
    proven = proven_facts(extracts, place, trust, verify)
    for piece in extracts:
        on_check(piece)
    return proven


def _register(
    manifest: Manifest, files: Mapping[str, bytes], facts: Facts, on_check: OnCheck
) -> ProvenRegister:
    holders: tuple[Holding, ...] = HOLDERS.read(files[HOLDERS.name])
    bound: tuple[Encumbrance, ...] = ENCUMBRANCES.read(files[ENCUMBRANCES.name])
    listing = Listing.of(manifest.product, holders, bound)
    register = ProvenRegister.read(facts, listing)
    HOLDERS.require_same(holders, register.holders)
    on_check(f"table {HOLDERS.name}")
    ENCUMBRANCES.require_same(bound, register.encumbrances)
    on_check(f"table {ENCUMBRANCES.name}")
    register.check_whole()
    on_check("completeness of the holders")
    on_check("completeness of the encumbrances")
    needed = {name.encode() for name in (*listing.keys(), identity_key(manifest.signer.did))}
    if set(facts) != needed:
        raise ProofError("export manifest", "its extracts prove more than the tables hold")
    return register


def _check_history(changes: Sequence[Change], register: ProvenRegister, height: int) -> None:
    """Its last states are the register, and no state contradicts itself."""
    last: dict[tuple[str, str], Change] = {}
    for line, change in enumerate(changes, start=2):
        encumbered = change.pledged + change.frozen - change.pledged_and_frozen
        if change.height > height or change.total - encumbered != change.available:
            raise HISTORY.refusal(f"line {line} contradicts itself or the height")
        last[change.account, change.nature] = change
    ends = [
        Holding(
            account=each.account,
            product_code=register.product,
            nature=each.nature,
            total=each.total,
            available=each.available,
            pledged=each.pledged,
            frozen=each.frozen,
            pledged_and_frozen=each.pledged_and_frozen,
            confirmed=each.confirmed,
            restricted_until=each.restricted_until,
        )
        for each in last.values()
        if each.total
    ]
    if sorted(ends, key=HOLDERS.key) != sorted(register.holders, key=HOLDERS.key):
        raise HISTORY.refusal("it does not lead to the holders")
