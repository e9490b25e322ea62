"""`guqiao chain file-certificate`, `publish-crl`: certificates of the keys that seal data objects,
and the lists of those that were revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.certificates import PEM_LENGTH_MAX, parse_certificate_pem
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.revocation_list import CRL_LENGTH_MAX, parse_revocation_list_pem
from guqiaoctl.commands.chain_calls import failure
from guqiaoctl.commands.chain_registry import act_on, take
from guqiaoctl.input_files import read_input
from guqiaoctl.network.chain_draft import draft_seal_certificates
from guqiaoctl.network.files import write_file
from guqiaoctl.network.layout import load_network
from guqiaoctl.output import choose, say


def draft_certificates(data: Path, folder: Path) -> None:
    """Write a certificate of the market's own authority for each account of the market."""
    folder.mkdir(parents=True, exist_ok=False)
    for name, pem in draft_seal_certificates(load_network(data), open_provider()).items():
        write_file(folder / f"{name}.pem", pem)
    say(choose(f"certificates written to {folder}", f"证书已写入 {folder}"))


def file_certificates(data: Path, chain: str, paths: Sequence[Path]) -> None:
    """File each of them for a chain; all are read before the first is sent."""
    texts = [_read(each, PEM_LENGTH_MAX, parse_certificate_pem, "CERTIFICATE") for each in paths]
    network = load_network(data)
    for each in texts:
        act_on(network, "file_certificate", chain, {"certificate": each})


def publish_crl(data: Path, path: Path) -> None:
    """Publish a revocation list."""
    pem = _read(path, CRL_LENGTH_MAX, parse_revocation_list_pem, "CRL")
    result = take(load_network(data), "publish_crl", {"crl": pem})
    say(f"{path}: publish_crl ({result.height})")


def _read(path: Path, length_max: int, parse: Callable[[str], Any], kind: str) -> str:
    """What a file holds, which is judged here before it is sent."""
    pem = read_input(path, length_max).decode("ascii", "replace")
    try:
        parse(pem)
    except CertificateError as error:
        raise failure(f"{kind}_MALFORMED", fault=f"{path.name}: {error}", node=path.name) from None
    return pem
