"""`guqiao chain publish-crl --from`: what a timer runs, again and again, with the same result.

It reads a list, or every list of a folder into which the authorities put theirs, and publishes
those that are newer than what the chain keeps. Where the authority's certificate is there, too, the
chain is asked first and nothing is sent in vain; else its refusal says that it has the list.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.certificates import PEM_LENGTH_MAX, Certificate, parse_certificate_pem
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.revocation_list import (
    CRL_LENGTH_MAX,
    RevocationList,
    parse_revocation_list_pem,
)
from guqiao_sdk.proof.seals import SealError, issuer_among
from guqiaoctl.commands.calls import guarded
from guqiaoctl.commands.chain_calls import failure, proven_record
from guqiaoctl.commands.chain_registry import take
from guqiaoctl.commands.governance import READERS
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, load_network
from guqiaoctl.network.parties import CSRC
from guqiaoctl.output import choose, print_json, print_table
from services.consensus.domain.contracts.chain_registry.sealing import fingerprint_of
from services.consensus.domain.contracts.chain_registry.standing import CHAINS

FILES_MAX: Final = 1_000
PUBLISHED, PRESENT, SUPERSEDED, FAILED = "PUBLISHED", "PRESENT", "SUPERSEDED", "FAILED"
_LIST: Final = b"-----BEGIN X509 CRL-----"
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_OLDER: Final = "CRL_OLDER"
_SUFFIXES: Final = (".pem", ".crl")


@dataclass(frozen=True, slots=True)
class _List:
    path: Path
    pem: str
    found: RevocationList


def publish_from(data: Path, place: Path, authorities: Sequence[Path], *, as_json: bool) -> None:
    """Publish the lists of a file or folder that the chain does not have yet, and tell of each.

    All are tried; then the first failure decides the exit code. None of them is one: 0.
    """
    lists, roots, failures = _read(place, authorities)
    rows = [(str(path), FAILED, error.code) for path, error in failures]
    network, now_ms = load_network(data), time.time_ns() // 1_000_000
    for each in lists:
        if _is_superseded(each, lists, now_ms):
            rows.append((str(each.path), SUPERSEDED, ""))
            continue
        try:
            rows.append((str(each.path), *_publish(network, each, roots)))
        except CliError as error:
            failures.append((each.path, error))
            rows.append((str(each.path), FAILED, error.code))
    if as_json:
        print_json([dict(zip(("file", "outcome", "detail"), row, strict=True)) for row in rows])
    else:
        print_table((choose("FILE", "文件"), choose("OUTCOME", "结果"), ""), rows)
    if failures:
        raise failures[0][1]


def _publish(network: Network, each: _List, roots: Sequence[Certificate]) -> tuple[str, str]:
    """What came of a list, and the height or the number that the chain has."""
    if roots:
        kept = _kept_number(network, each, roots)
        if kept is not None and kept >= each.found.number:
            return PRESENT, str(kept)
    try:
        result = take(network, "publish_crl", {"crl": each.pem})
    except CliError as error:
        if error.code == _OLDER:
            return PRESENT, ""
        raise
    return PUBLISHED, str(result.height)


def _kept_number(network: Network, each: _List, roots: Sequence[Certificate]) -> int | None:
    """The number of the list that the chain proves to keep of its authority; None: it keeps none,
    or nobody here knows whose it is.
    """
    provider = open_provider()
    try:
        root = issuer_among(each.found, roots, provider.verify)
    except SealError:
        return None
    record = guarded(asyncio.run, _record(network, f"{CHAINS}/crl/{fingerprint_of(root)}"))
    return None if record is None else int(str(record["number"]))


async def _record(network: Network, key: str) -> dict[str, object] | None:
    identity = open_identity(network, open_provider(), CSRC, READERS[CSRC])
    async with open_chain(network, open_provider(), CSRC, identity) as client:
        record = await proven_record(client, key, (await client.latest()).height)
        return None if record is None else dict(record)


def _is_superseded(each: _List, lists: Iterable[_List], now_ms: int) -> bool:
    """Whether it has ended and the same authority's next one is here."""
    is_over = each.found.next_update_ms <= now_ms
    return is_over and any(
        other.found.issuer == each.found.issuer and other.found.number > each.found.number
        for other in lists
    )


# --- Files ----------------------------------------------------------------------------------------


def _read(
    place: Path, authorities: Sequence[Path]
) -> tuple[list[_List], list[Certificate], list[tuple[Path, CliError]]]:
    """Lists in the order of their numbers, certificates of authorities, and what is no list."""
    lists, roots = list[_List](), [_certificate(each) for each in authorities]
    failures: list[tuple[Path, CliError]] = []
    for path in _files(place):
        try:
            content = read_input(path, CRL_LENGTH_MAX)
            if _LIST in content or path == place or path.suffix == ".crl":
                lists.append(_list(path, content))
            elif _CERTIFICATE in content:
                roots.append(_certificate(path))
        except CliError as error:
            failures.append((path, error))
    if not lists and not failures:
        raise CliError(
            "FILE_UNREADABLE",
            f"there is no revocation list in {place}",
            f"{place} 中没有吊销列表",
            "name a PEM file, or a folder of files that end in .pem or .crl",
            "请指定 PEM 文件，或含有 .pem、.crl 文件的目录",
            exit_code=EXIT_NOT_FOUND,
        )
    return sorted(lists, key=lambda each: each.found.number), roots, failures


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = sorted(each for each in place.iterdir() if each.suffix in _SUFFIXES)
    if len(found) > FILES_MAX:
        raise CliError(
            "REQUEST_MALFORMED",
            f"{place} holds more than {FILES_MAX} files",
            f"{place} 中的文件超过 {FILES_MAX} 个",
            "move old lists away",
            "请移走旧的列表",
            exit_code=EXIT_USAGE,
        )
    return found


def _list(path: Path, content: bytes) -> _List:
    pem = content.decode("ascii", "replace")
    try:
        return _List(path, pem, parse_revocation_list_pem(pem))
    except CertificateError as error:
        raise failure("CRL_MALFORMED", fault=f"{path.name}: {error}") from None


def _certificate(path: Path) -> Certificate:
    try:
        return parse_certificate_pem(read_input(path, PEM_LENGTH_MAX).decode("ascii", "replace"))
    except CertificateError as error:
        fault = f"{path.name}: {error}"
        raise failure("CERTIFICATE_MALFORMED", fault=fault, node=path.name) from None
