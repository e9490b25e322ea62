"""`guqiao archive` as an operator and an auditor meet it, with SM2 keys and no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.trust import encode_trust
from guqiaoctl.__main__ import main
from services.consensus.store import ChainStore
from tests.integration.ledger.set_chain import ISSUER, SetChain
from tests.integration.ledger.store_builder import OPTIONS, edit_file, flip, segment_files
from tests.unit.proof.proof_keys import Sm2Keys

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def chain() -> SetChain:
    return SetChain(Sm2Keys(open_provider()))


@pytest.fixture
def place(chain: SetChain, tmp_path: Path) -> Path:
    """A folder with settings, genesis, trust file, the replica's data and its archive."""
    chain.write(tmp_path)
    (tmp_path / "genesis.json").write_bytes(chain.genesis.to_bytes())
    trust = encode_trust(chain.trust(), lambda message: chain.keys.sign(ISSUER, message))
    (tmp_path / "trust.json").write_bytes(trust)
    settings = {
        "development": True,
        "domain": "testing",
        "chain_id": chain.genesis.chain_id,
        "replica": 0,
        "genesis_file": str(tmp_path / "genesis.json"),
        "data_folder": str(tmp_path / "data"),
        "vote_key_file": "vote.key",
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    peers = ["[peers]", "port = 1", 'addresses = ["127.0.0.1:1"]']
    (tmp_path / "settings.toml").write_text("\n".join([*lines, *peers]))
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path) -> Run:
    monkeypatch.chdir(place)

    def call(*arguments: str, language: str = "en") -> tuple[int, str, str]:
        monkeypatch.setenv("GUQIAO_LANG", language)
        monkeypatch.setattr(sys, "argv", ["guqiao", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, written.out, written.err

    return call


def answer(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run(*arguments, "-o", "json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.req("G2-13-2", "G2-07-3")
def test_an_archive_is_made_verified_pruned_and_restored_by_command(run: Run, place: Path) -> None:
    assert answer(run, "archive", "create", "archive", "--config", "settings.toml")["added"] == 0
    made = answer(run, "archive", "create", "again", "--config", "settings.toml")
    verified = answer(run, "archive", "verify", "again", "--trust", "trust.json")
    assert made["added"] == verified["segments"] > 3
    assert (verified["chain"], verified["set_changes"], verified["replica"]) == ("testing", 2, 0)
    assert verified["manifest_digest"] == made["manifest_digest"]
    assert verified["trust_issuer"] == ISSUER
    pruned = answer(run, "archive", "prune", "again", "--config", "settings.toml")
    assert pruned["removed"] == made["added"]
    links = [path for path in segment_files(place / "data") if path.is_symlink()]
    assert [path.name for path in links] == pruned["segments"]
    restored = answer(run, "archive", "restore", "again", "--config", "settings.toml")
    assert restored["segments"] == pruned["segments"]
    assert not any(path.is_symlink() for path in segment_files(place / "data"))


@pytest.mark.req("G2-07-3", "G2-19-3")
def test_a_proof_from_the_archive_verifies_like_any_other(chain: SetChain, run: Run) -> None:
    wanted = chain.transaction(17).id().hex()
    code, _, err = run(
        "archive", "proof", "archive", wanted, "--trust", "trust.json", "--to", "proof.bundle"
    )
    assert code == 0, err
    verdict = answer(run, "verify", "proof.bundle", "--trust", "trust.json")
    assert (verdict["height"], verdict["transaction"]) == (17, wanted)
    code, _, err = run(
        "archive", "proof", "archive", "00" * 32, "--trust", "trust.json", "--to", "none"
    )
    assert (code, err.split(":")[0]) == (3, "TRANSACTION_UNKNOWN")


@pytest.mark.req("G2-07-3")
def test_what_does_not_hold_is_7_and_what_is_no_archive_is_2(run: Run, place: Path) -> None:
    for arguments in (
        ("archive", "verify", "data", "--trust", "trust.json"),
        ("archive", "prune", "nowhere", "--config", "settings.toml"),
        ("archive", "proof", "data", "00" * 32, "--trust", "trust.json", "--to", "none"),
    ):
        for language, text in (("en", "no archive"), ("zh", "不是归档")):
            code, _, err = run(*arguments, language=language)
            assert (code, err.startswith("ARCHIVE_MALFORMED"), text in err) == (2, True, True)
    edit_file(place / "archive" / "00000002.seg", lambda data: flip(data, 99))
    code, _, err = run("archive", "verify", "archive", "--trust", "trust.json")
    assert (code, "00000002.seg" in err, err.split(":")[0]) == (7, True, "ARCHIVE_INVALID")
    code, _, err = run("archive", "prune", "archive", "--config", "settings.toml")
    assert (code, "00000002.seg" in err) == (7, True)
    edit_file(place / "data" / "segments" / "00000001.seg", lambda data: flip(data, 99))
    for language in ("en", "zh"):
        code, _, err = run(
            "archive", "create", "again", "--config", "settings.toml", language=language
        )
        assert (code, "00000001.seg" in err) == (7, True)
        assert err.startswith("STORAGE_RECORD_DAMAGED")


def test_commands_that_meet_a_running_replica_or_a_wrong_file_say_so(
    chain: SetChain, run: Run, place: Path
) -> None:
    store = ChainStore.open(place / "new", chain.genesis, replica=0, options=OPTIONS)
    (place / "other.toml").write_text(
        (place / "settings.toml").read_text().replace("/data", "/new")
    )
    for language in ("en", "zh"):
        code, _, err = run(
            "archive", "prune", "archive", "--config", "other.toml", language=language
        )
        assert (code, str(place / "new") in err) == (5, True)
        assert err.startswith("DATA_FOLDER_IN_USE")
    store.close()
    code, _, err = run("archive", "create", "archive", "--config", "nowhere.toml")
    assert (code, err.split(":")[0]) == (2, "SETTINGS_INVALID")
