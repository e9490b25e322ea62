"""What each command answers, and how it refuses: one line, a code, an exit code, two languages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guqiao_sdk.gm.keyfile import save_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.network.genesis import ensure_genesis
from guqiaoctl.network.layout import create_network
from guqiaoctl.network.pki import ensure_certificates
from guqiaoctl.network.trust_file import ensure_trust
from tests.end_to_end.harness import BASIC, ROOT, Answer, environment, guqiao
from tests.end_to_end.market.conftest import Market

pytestmark = pytest.mark.end_to_end
NO_TRANSACTION = "00" * 32
NO_REQUEST = "00000000-0000-0000-0000-000000000000"


def test_json_outputs_parse_and_say_the_same_as_the_tables(market: Market, transfer: str) -> None:
    market.machine.wait_ready()
    status = market.machine.status()
    assert status["ready"] is True
    assert {process["state"] for process in status["processes"]} == {"ready"}
    assert set(status["endpoints"]) == {process["name"] for process in status["processes"]}
    table = market.machine.must("dev", "status").out
    assert all(process["name"] in table for process in status["processes"])
    found = market.machine.must("tx", "get", transfer, "-o", "json").json()
    assert (found["transaction"], found["outcome"], found["code"]) == (transfer, "APPLIED", "")
    assert found["payload"]["method"] == "transfer"
    assert transfer in market.machine.must("tx", "get", transfer).out
    checks = market.machine.run("doctor", "-o", "json")
    assert {"python", "network", "certificates", "disk"} <= {row["check"] for row in checks.json()}
    assert checks.code == (0 if all(row["ok"] for row in checks.json()) else 6)
    explained = market.machine.must("explain", "shares_insufficient", "-o", "json").json()
    assert explained["code"] == "SHARES_INSUFFICIENT"


def test_logs_are_shown_whole_or_of_one_process(market: Market) -> None:
    lines = market.machine.must("dev", "logs", "shandong/0", "-n", "3").out.splitlines()
    assert 0 < len(lines) <= 3
    assert all(isinstance(json.loads(line), dict) for line in lines)
    every = market.machine.must("dev", "logs", "-n", "1").out
    assert "csrc-enablement: " in every
    assert "postgres: " in every
    whole = market.machine.must("dev", "logs", "postgres", "-n", 100_000).out
    assert "ready to accept connections" in whole


REFUSALS = [
    (("import",), 2, ""),
    (("register", "roster", "--height", "-1"), 2, ""),
    (("import", BASIC, "--on-malformed", "perhaps"), 2, ""),
    (("tx", "get", "xyz"), 2, "REQUEST_MALFORMED"),
    (("tx", "find", "xyz"), 2, "REQUEST_MALFORMED"),
    (("tx", "find", NO_REQUEST[:-1]), 2, "REQUEST_MALFORMED"),
    (("dev", "reset"), 5, "DATA_FOLDER_IN_USE"),
    (("import", "no-such-folder"), 3, "FILE_UNREADABLE"),
    (("tx", "get", NO_TRANSACTION), 3, "TRANSACTION_UNKNOWN"),
    (("tx", "find", NO_REQUEST), 3, "TRANSACTION_UNKNOWN"),
    (("tx", "proof", NO_TRANSACTION, "--to", "proof.gqb"), 3, "TRANSACTION_UNKNOWN"),
    (("register", "roster", "--height", "1000000"), 3, "HEIGHT_UNKNOWN"),
    (("register", "roster", "--product", "NOPE"), 3, "PRODUCT_UNKNOWN"),
    (("dev", "node", "kill", "shandong/9"), 3, "PROCESS_UNKNOWN"),
    (("dev", "logs", "nobody"), 3, "PROCESS_UNKNOWN"),
    (("explain", "NO_SUCH_CODE"), 3, "CODE_UNKNOWN"),
    (("verify", "no-bundle", "--trust", "no-trust"), 3, "FILE_UNREADABLE"),
    (("dev", "node", "start", "shandong/0"), 5, "PROCESS_STATE"),
    (("dev", "up", "--detach"), 5, "DATA_FOLDER_IN_USE"),
    (("dev", "up"), 5, "DATA_FOLDER_IN_USE"),
]


@pytest.mark.parametrize(("arguments", "code", "error"), REFUSALS, ids=str)
def test_a_refusal_is_one_line_with_its_code_in_both_languages(
    market: Market, arguments: tuple[object, ...], code: int, error: str
) -> None:
    answers = {
        language: market.machine.run(*arguments, language=language) for language in ("en", "zh")
    }
    for language, answer in answers.items():
        assert (answer.code, answer.error if error else "") == (code, error), answer.err
        assert answer.out == ""
        if error:
            assert len(answer.said.splitlines()) == 1
            assert bool(re.search("[\u4e00-\u9fff]", answer.err)) is (language == "zh")


def test_commands_on_a_folder_without_a_network_name_the_remedy(tmp_path: Path) -> None:
    for arguments in (
        ("dev", "status"),
        ("register", "roster"),
        ("import", BASIC),
        ("dev", "down"),
    ):
        answer = guqiao(*arguments, folder=tmp_path / "none")
        assert (answer.code, answer.error) == (3, "NETWORK_UNKNOWN")
        assert "guqiao dev up" in answer.err
    assert not (tmp_path / "none").exists()


@pytest.mark.req("G2-16-1")
def test_a_caller_whose_key_the_chain_does_not_know_is_denied(
    market: Market, tmp_path: Path
) -> None:
    """The same network seen from a folder in which the maker's key is another one."""
    stolen = tmp_path / "data"
    for part in ("network.json", "genesis", "identities"):
        source = market.machine.folder / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        stolen.mkdir(exist_ok=True)
        copy(source, stolen / part)
    key = stolen / "identities" / "shandong-maker.pem"
    key.unlink()
    save_private_key(key, open_provider().keygen())
    for arguments in (("register", "roster"), ("tx", "get", NO_TRANSACTION)):
        answer = guqiao(*arguments, folder=stolen)
        assert (answer.code, answer.error) == (4, "REQUEST_SIGNATURE_INVALID"), answer.err


@pytest.mark.req("G2-09-2")
def test_a_bundle_is_verified_on_a_machine_that_has_no_network_folder(
    papers: tuple[Path, Path], transfer: str
) -> None:
    bundle, trust = papers
    answer = guqiao("verify", bundle.name, "--trust", trust.name, "-o", "json", cwd=bundle.parent)
    assert answer.code == 0, answer.err
    said = answer.json()
    assert (said["transaction"], said["outcome"]) == (transfer, "accepted")
    assert said["operation"] == "register.transfer"
    assert said["anchor"].startswith("csrc height ")
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["transfer.gqb", "trust.json"]


def verify(bundle: Path, trust: Path) -> Answer:
    return guqiao("verify", bundle, "--trust", trust, cwd=bundle.parent)


def test_a_bundle_that_was_touched_is_refused_by_name(
    papers: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, trust = papers
    original, altered = bundle.read_bytes(), tmp_path / "altered.gqb"
    for place in (0, len(original) // 3, len(original) - 1):
        changed = bytearray(original)
        changed[place] ^= 1
        altered.write_bytes(changed)
        answer = verify(altered, trust)
        assert answer.code == 7, (place, answer.err)
        assert len(answer.said.splitlines()) == 1
        assert re.match(r"[A-Z_]+: .+: .+", answer.said), answer.err
    for length in (len(original) - 1, len(original) // 2, 40):
        altered.write_bytes(original[:length])
        assert verify(altered, trust).code == 7, length


def test_what_is_no_bundle_at_all_is_a_usage_error(
    papers: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "letter.txt"
    for content in (b"", b"dear auditor\n", b"{}"):
        other.write_bytes(content)
        answer = verify(other, papers[1])
        assert (answer.code, answer.error) == (2, "BUNDLE_MALFORMED"), answer.err


def test_what_is_no_trust_file_at_all_is_a_usage_error(
    papers: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, _ = papers
    other = tmp_path / "letter.txt"
    for content in (b"", b"dear auditor\n", b"{}", bundle.read_bytes()):
        other.write_bytes(content)
        answer = verify(bundle, other)
        assert (answer.code, answer.error) == (2, "TRUST_INVALID"), answer.err
        assert "letter.txt is no trust file" in answer.err


def other_trust(folder: Path) -> Path:
    """The trust file of another network with the same chain names."""
    provider, network = open_provider(), create_network(folder)
    ensure_certificates(network.layout, provider, print)
    ensure_genesis(network.layout, provider, print)
    ensure_trust(network.layout, provider)
    return network.layout.trust


def test_another_networks_trust_or_a_changed_one_verifies_nothing(
    papers: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, trust = papers
    foreign = verify(bundle, other_trust(tmp_path / "other"))
    assert foreign.code == 7, foreign.err
    content = json.loads(trust.read_text())
    changed = tmp_path / "changed.json"
    text = trust.read_text()
    issuer = re.search(r"did:rem:csrc:[0-9A-Z]+\.admin", text)
    assert issuer is not None, sorted(content)
    changed.write_text(text.replace(issuer[0], issuer[0][:-5] + "other"))
    answer = verify(bundle, changed)
    assert (answer.code, answer.error) == (7, "TRUST_INVALID"), answer.err


HELP = """
import sys
from guqiaoctl.__main__ import app
try:
    app(sys.argv[1:])
finally:
    print(" ".join(sorted(name for name in sys.modules if "." not in name)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [(), ("dev",), ("import",), ("tx", "proof")], ids=str)
def test_help_imports_nothing_heavy_so_that_it_is_instant(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *arguments, "--help"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage" in done.stdout
    imported = set(done.stderr.split())
    heavy = {"grpc", "google", "asyncpg", "structlog", "cryptography", "asyncio", "opentelemetry"}
    assert "typer" in imported
    assert imported & {*heavy, "services", "guqiao", "guqiao_sdk"} == set()


def test_every_private_key_is_readable_by_its_owner_only(market: Market) -> None:
    folder = market.machine.folder
    keys = [*folder.glob("identities/*.pem"), *folder.glob("processes/*/*.key")]
    keys += folder.glob("ca/*/*.key")
    assert len(keys) > 30
    assert [path for path in keys if path.stat().st_mode & 0o077] == []
