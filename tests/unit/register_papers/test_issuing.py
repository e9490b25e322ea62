"""Issuing a certificate: what the read model lists is asked for, what it forgets is missed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao_sdk.proof.extract import Extract
from guqiao_sdk.register_papers.certificate import Certificate
from guqiao_sdk.register_papers.institution import Seal, Signer
from guqiaoctl.commands import certificates
from guqiaoctl.commands.register import Listed
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_UNVERIFIED, CliError
from tests.unit.register_papers.paper_case import ACCOUNTS, PRODUCT, Register, busy

pytestmark = pytest.mark.req("N0-20")


def row(kind: str, number: str, account: str, effective: int, waiting: int = 0) -> pb.Encumbrance:
    return pb.Encumbrance(
        kind=kind,
        number=number,
        account=account,
        product_code=PRODUCT,
        nature="51",
        effective=effective,
        waiting=waiting,
    )


LISTED = [
    row("freeze", "F-1", ACCOUNTS[2], 300),
    row("freeze", "F-2", ACCOUNTS[2], 100, 150),
    row("freeze", "F-3", ACCOUNTS[2], 0, 10),
    row("pledge", "=P-2", ACCOUNTS[0], 50),
    row("pledge", "P-1", ACCOUNTS[0], 0),
]


@pytest.fixture(scope="module")
def register() -> Register:
    return busy()


def issue(
    register: Register,
    account: str,
    folder: Path,
    patch: pytest.MonkeyPatch,
    listed: Sequence[pb.Encumbrance] = LISTED,
) -> Certificate:
    """Run the command against the register's own state; return what it wrote."""
    last = register.chain.header.height

    async def fetch(network: object, product: str, height: int) -> Listed[pb.Encumbrance]:
        assert (product, height) == (PRODUCT, 0)
        return Listed([*listed], last, last)

    async def prove(key: str, height: int) -> SimpleNamespace:
        assert height == last
        return SimpleNamespace(key=key.encode(), value=register.chain.state.get(key.encode()))

    async def proofs(
        client: object, keys: Sequence[str], signer: Signer, height: int, on_proof: object
    ) -> list[Extract]:
        assert height == last
        return [register.extract(keys, did=signer.did)]

    @asynccontextmanager
    async def reader(network: object, provider: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(get_state_proof=prove)

    def seal(network: object, provider: object) -> Seal:
        return register.seal()

    patch.setattr(certificates, "load_network", lambda data: cast("Any", None))
    patch.setattr(certificates, "fetch_encumbrances", fetch)
    patch.setattr(certificates, "fetch_proofs", proofs)
    patch.setattr(certificates, "open_reader", reader)
    patch.setattr(certificates, "open_seal", seal)
    to, page = folder / "certificate.json", folder / "page.html"
    certificates.certificate(Path("data"), PRODUCT, account, 0, to=to, page=page)
    made = Certificate.decode(to.read_bytes())
    assert made.number in page.read_text()
    return made


def test_what_binds_the_account_is_on_its_certificate_and_nothing_else(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = issue(register, ACCOUNTS[2], tmp_path, monkeypatch)
    assert [each.number for each in frozen.encumbrances] == ["F-1", "F-2", "F-3"]
    pledged = issue(register, ACCOUNTS[0], tmp_path, monkeypatch)
    assert [each.number for each in pledged.encumbrances] == ["=P-2"]


@pytest.mark.parametrize("forgotten", ["F-1", "F-2", "F-3"])
def test_a_read_model_that_forgets_one_yields_no_certificate(
    forgotten: str, register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [each for each in LISTED if each.number != forgotten]
    with pytest.raises(CliError) as refused:
        issue(register, ACCOUNTS[2], tmp_path, monkeypatch, listed)
    assert refused.value.exit_code == EXIT_UNVERIFIED
    assert list(tmp_path.iterdir()) == []


def test_who_holds_nothing_gets_none(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account in (ACCOUNTS[1], "Q000000000"):
        with pytest.raises(CliError) as refused:
            issue(register, account, tmp_path, monkeypatch)
        assert (refused.value.code, refused.value.exit_code) == ("HOLDING_UNKNOWN", EXIT_NOT_FOUND)
        assert list(tmp_path.iterdir()) == []
