"""Files of a network folder: whole or not there, whenever the first start is cut off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guqiao_sdk.files import make_folder
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.trust import parse_trust
from guqiaoctl.network import files
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.layout import create_network
from guqiaoctl.network.parties import CHAINS
from services.consensus.domain.ledger.genesis_json import parse_genesis


class CutOffError(Exception):
    """The machine goes down."""


def quiet(text: str) -> None:
    """Nobody listens."""


def cut_off_at(number: int, real: Callable[[int], None]) -> Callable[[int], None]:
    """An fsync at whose `number`-th call everything ends, the file half written."""
    calls = iter(range(number))

    def fsync(descriptor: int) -> None:
        if next(calls, None) is None:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise CutOffError
        real(descriptor)

    return fsync


def test_a_file_that_cannot_be_written_whole_keeps_its_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file"
    files.write_file(path, b"old", files.SECRET)
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "fsync", cut_off_at(0, os.fsync))
    with pytest.raises(CutOffError):
        files.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    files.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_first_start_that_is_cut_off_anywhere_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: no torn file is ever taken for a whole one. Method: cut off the first plan at one file
    after the other, plan again, and read what must be there."""
    done = False
    number = 0
    while not done:
        folder = tmp_path / str(number)
        network = create_network(folder)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", cut_off_at(number, os.fsync))
            try:
                plan_network(network, quiet)
                done = True
            except CutOffError:
                done = False
        plan_network(network, quiet)
        layout = network.layout
        provider = open_provider()
        genesis = [parse_genesis(layout.genesis(chain).read_bytes()) for chain in CHAINS]
        trust = parse_trust(layout.trust.read_bytes(), provider.verify)
        assert [chain.genesis_hash for chain in trust.chains] == [each.hash() for each in genesis]
        for chain, each in zip(CHAINS, genesis, strict=True):
            assert each.hash().hex() in layout.chain_trust(chain).read_text(encoding="utf-8")
        for name in ("identity-digest.key", "bodies.key"):
            assert len((layout.process("shandong-registry") / name).read_text()) > 32
        number += 7  # Every seventh file: they are written in the same few ways.
    assert number > 70


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A shell that would let everybody write everything."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_folders_and_keys_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet" / "network"
    plan_network(create_network(folder), quiet)
    found = [folder.parent, folder, *folder.rglob("*")]
    assert {path.name for path in found} >= {"ca", "processes", "traces"}
    for path in found:
        mode = path.stat().st_mode & 0o777
        if path.is_dir():
            assert mode == 0o700, path
        else:
            assert mode & 0o022 == 0, path
            assert (
                path.suffix not in {".key", ".pem"}
                or b"PRIVATE" not in path.read_bytes()
                or (mode == 0o600)
            ), path


@pytest.mark.usefixtures("open_umask")
def test_a_ledgers_folder_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    make_folder(tmp_path / "data" / "segments")
    for path in (tmp_path / "data", tmp_path / "data" / "segments"):
        assert path.stat().st_mode & 0o777 == 0o700
    make_folder(tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
