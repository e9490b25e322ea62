"""`guqiao register export` and `verify-export`: a folder that is written and judged whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import ChainPosition
from guqiao_sdk.proof.trust import Trust
from guqiaoctl import result_folders
from guqiaoctl.commands import register_export
from guqiaoctl.commands.register_papers import At, parse_at, read_history
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_NOT_FOUND,
    EXIT_UNVERIFIED,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.result_folders import is_taken, write_whole_folder
from tests.unit.proof.proof_keys import START_MS
from tests.unit.register_papers.paper_case import (
    ACCOUNTS,
    KEYS,
    PRODUCT,
    Files,
    Register,
    busy,
    verified,
)

pytestmark = pytest.mark.req("N0-08")


@pytest.fixture(scope="module")
def register() -> Register:
    return busy()


@pytest.fixture
def folder(register: Register, tmp_path: Path) -> Path:
    write_whole_folder(tmp_path / "package", register.export())
    return tmp_path / "package"


@pytest.fixture(autouse=True)
def trusted(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """The register's keys in place of SM2."""

    class Provider:
        def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
            return KEYS.verify(public_key, message, signature)

    def read(path: Path, provider: object) -> Trust:
        return register.trust()

    monkeypatch.setattr(register_export, "open_provider", Provider)
    monkeypatch.setattr(register_export, "read_trust", read)


def judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `verify-export -o json` prints of a package that does not hold."""
    with pytest.raises(CliError) as refused:
        register_export.verify_folder(folder, Path("trust.json"), as_json=True)
    assert refused.value.exit_code == EXIT_UNVERIFIED
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["verified"] is False
    assert [each["holds"] for each in said["checks"][:-1]] == [True] * (len(said["checks"]) - 1)
    assert said["checks"][-1]["holds"] is False
    return dict(said["checks"][-1])


def test_the_command_names_each_check_and_every_control_total(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_export.verify_folder(folder, Path("trust.json"), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["product_code"], said["chain"]) == (True, PRODUCT, "shandong")
    assert all(each["holds"] for each in said["checks"])
    assert said["checks"][0]["check"] == "trust file"
    assert {"control": "shares", "nature": "51", "value": 1_000} in said["controls"]
    register_export.verify_folder(folder, Path("trust.json"), as_json=False)
    shown = capsys.readouterr().out
    assert "VERIFIED" in shown
    assert "shares 51" in shown


def test_what_is_spoiled_in_the_folder_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "holders.csv").write_bytes(b"")
    assert judged(folder, capsys)["check"] == "file holders.csv"
    (folder / "holders.csv").unlink()
    assert judged(folder, capsys)["detail"] == "it is missing"
    (folder / "aside").mkdir()
    assert judged(folder, capsys)["check"] == "file aside"
    (folder / "aside").rmdir()
    (tmp_path / "elsewhere").write_bytes(b"")
    (folder / "a-link.csv").symlink_to(tmp_path / "elsewhere")
    assert judged(folder, capsys)["check"] == "file a-link.csv"


def test_a_folder_that_is_not_there_or_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("nowhere", "file"):
        with pytest.raises(CliError) as refused:
            register_export.verify_folder(tmp_path / name, Path("trust.json"), as_json=True)
        assert refused.value.exit_code == EXIT_NOT_FOUND


def test_a_huge_file_is_refused_before_it_is_read_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(register_export, "FILE_BYTES_MAX", 4)
    assert judged(folder, capsys)["detail"] == "more than 4 bytes"


# --- Writing --------------------------------------------------------------------------------------


def export_of(files: Files, to: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(register_export, "load_network", lambda data: cast("Any", _Network()))
    patch.setattr(register_export, "_make", lambda network, product, at: files)
    register_export.export(Path("data"), PRODUCT, to, "")


class _Network:
    class layout:  # noqa: N801 - as a network has it
        trust = Path("trust.json")


def test_an_export_run_again_leaves_the_bytes_that_are_there(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, files = tmp_path / "package", register.export()
    export_of(files, to, monkeypatch)
    before = {each.name: (each.read_bytes(), each.stat().st_ino) for each in to.iterdir()}
    assert {name: content for name, (content, _) in before.items()} == files
    export_of(register.signed_again(files), to, monkeypatch)
    assert {each.name: (each.read_bytes(), each.stat().st_ino) for each in to.iterdir()} == before


@pytest.mark.parametrize("spoil", ["holders.csv", "manifest.json", "proof-0001.gqx", "more.csv"])
def test_what_stands_there_and_is_no_such_package_is_not_replaced(
    spoil: str, register: Register, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / spoil).write_bytes(b"mine")
    with pytest.raises(CliError) as refused:
        export_of(register.export(), folder, monkeypatch)
    assert (refused.value.code, refused.value.exit_code) == ("FILE_UNWRITABLE", EXIT_CONFLICT)
    assert (folder / spoil).read_bytes() == b"mine"


def test_an_interrupted_export_leaves_nothing(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = register.export()
    write = result_folders._write_durably

    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "history.csv":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(result_folders, "_write_durably", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole_folder(tmp_path / "package", files)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_whole_folder(tmp_path / "package", files)
    assert {each.name: each.read_bytes() for each in (tmp_path / "package").iterdir()} == files


def test_an_empty_folder_is_filled_and_a_place_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert not is_taken(tmp_path / "empty")
    write_whole_folder(tmp_path / "empty", {"a": b"1"})
    assert is_taken(tmp_path / "empty")
    assert is_taken(tmp_path / "empty" / "a")
    for place in (tmp_path / "empty", tmp_path / "no" / "where"):
        with pytest.raises(CliError) as refused:
            write_whole_folder(place, {"b": b"2"})
        assert refused.value.code == "FILE_UNWRITABLE"
    assert [each.name for each in tmp_path.iterdir()] == ["empty"]


# --- Which block ----------------------------------------------------------------------------------


@dataclass
class Blocks:
    """A client of the register's chain, as far as histories ask."""

    register: Register

    async def latest(self) -> ChainPosition:
        header = self.register.chain.header
        return ChainPosition("shandong", header.height, header.hash(), header.block_time_ms)

    async def watch_blocks(self, from_height: int) -> AsyncGenerator[VerifiedBlock]:
        for height in range(from_height, self.register.chain.header.height + 1):
            yield verified(self.register.chain.blocks[height])
        raise AssertionError("asked for more than the chain has")


def height_of(register: Register, at: At) -> int:
    client = cast("ChainClient", Blocks(register))
    return asyncio.run(read_history(client, PRODUCT, at))[1]


@pytest.mark.req("N0-19")
def test_a_paper_is_of_the_height_or_of_the_end_of_the_day_that_is_named(
    register: Register,
) -> None:
    last = register.chain.header.height
    assert height_of(register, At()) == last
    assert height_of(register, At(height=2)) == 2
    assert height_of(register, At(before_ms=START_MS + 3_000)) == 2
    assert height_of(register, At(before_ms=START_MS + 3_001)) == 3
    assert height_of(register, At(before_ms=1 << 60)) == last
    for nothing in (At(height=last + 1), At(before_ms=START_MS)):
        with pytest.raises(CliError) as refused:
            height_of(register, nothing)
        assert (refused.value.code, refused.value.exit_code) == ("HEIGHT_UNKNOWN", EXIT_NOT_FOUND)


def test_a_day_ends_at_midnight_in_shanghai() -> None:
    assert parse_at("") == At()
    assert parse_at("12") == At(height=12)
    assert parse_at("2025-09-01") == At(before_ms=1_756_742_400_000)
    for text in ("0", "-1", "2025-02-30", "2025-9-1", "9999-12-31", "yesterday", "１", "9" * 20):
        with pytest.raises(CliError) as refused:
            parse_at(text)
        assert refused.value.exit_code == EXIT_USAGE, text


def test_the_history_reads_the_account_that_came_and_went(register: Register) -> None:
    client = cast("ChainClient", Blocks(register))
    history, _ = asyncio.run(read_history(client, PRODUCT, At()))
    [*_, gone] = [each for each in history.changes if each.account == ACCOUNTS[1]]
    assert (gone.total, gone.method) == (0, "transfer")
