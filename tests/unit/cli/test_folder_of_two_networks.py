"""Files of another network, or of none, in a network's folder: found before anything starts."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guqiaoctl.commands import doctor
from guqiaoctl.failures import CliError
from guqiaoctl.foreseen import foreseen
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.layout import Layout, create_network, load_network
from guqiaoctl.network.parties import CHAINS
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.store import StorageError
from tests.integration.ledger.store_builder import open_store


def quiet(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two networks that were never started; a replica of each chain has data."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for folder in folders:
        network = create_network(folder / "network")
        plan_network(network, quiet)
        for chain in CHAINS:
            genesis = parse_genesis(network.layout.genesis(chain).read_bytes())
            open_store(network.layout.process(f"{chain}-0") / "data", genesis=genesis).close()
    return folders[0] / "network", folders[1] / "network"


@pytest.fixture
def folder(tmp_path: Path, made: tuple[Path, Path]) -> Path:
    """The first of the two, to be damaged."""
    place = tmp_path / "network"
    shutil.copytree(made[0], place)
    return place


CHECKS = ("network", "genesis", "account keys", "trust file", "certificates", "revocation lists")


def wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """What `guqiao doctor` finds wrong with a network's files."""
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        doctor.check(folder, as_json=True)
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert {*CHECKS} <= rows.keys()
    return {name: rows[name] for name in CHECKS if not rows[name]["ok"]}


def refusal(folder: Path) -> CliError:
    """Why `guqiao dev up` does not start it."""
    with pytest.raises((CliError, StorageError)) as raised:
        plan_network(load_network(folder), quiet)
    failure = foreseen(raised.value)
    assert failure is not None, raised.value
    return failure


def empty(layout: Layout, _: Layout) -> None:
    layout.trust.write_bytes(b"")


def altered(layout: Layout, _: Layout) -> None:
    layout.trust.write_bytes(layout.trust.read_bytes().replace(b'"height":0', b'"height":1', 1))


def of_another(layout: Layout, other: Layout) -> None:
    shutil.copy(other.trust, layout.trust)


def genesis_of_another(layout: Layout, other: Layout) -> None:
    shutil.copytree(other.folder / "genesis", layout.folder / "genesis", dirs_exist_ok=True)


def all_of_another(layout: Layout, other: Layout) -> None:
    genesis_of_another(layout, other)
    of_another(layout, other)


def start_of_another(layout: Layout, other: Layout) -> None:
    shutil.copy(other.chain_trust("csrc"), layout.chain_trust("csrc"))


def cut_start(layout: Layout, _: Layout) -> None:
    layout.chain_trust("shandong").write_bytes(b"{")


def one_genesis_of_another(layout: Layout, other: Layout) -> None:
    """The regulatory chain's, of which no replica has data yet."""
    for chain in CHAINS:
        shutil.rmtree(layout.process(f"{chain}-0") / "data")
    for path in (other.genesis("csrc"), other.chain_trust("csrc")):
        shutil.copy(path, layout.folder / "genesis")


def genesis_gone(layout: Layout, _: Layout) -> None:
    """A new one would replace the other as well."""
    layout.genesis("csrc").unlink()
    layout.trust.unlink()


def all_genesis_gone(layout: Layout, _: Layout) -> None:
    shutil.rmtree(layout.folder / "genesis")
    layout.trust.unlink()


def data_of_another_replica(layout: Layout, _: Layout) -> None:
    data = layout.process("csrc-0") / "data"
    data.rename(layout.process("csrc-1") / "data")


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize(
    ("damage", "found", "code"),
    [
        (empty, {"trust file"}, "TRUST_INVALID"),
        (altered, {"trust file"}, "TRUST_INVALID"),
        (of_another, {"trust file"}, "DATA_FOLDER_OTHER_NETWORK"),
        (
            genesis_of_another,
            {"genesis", "account keys", "trust file"},
            "DATA_FOLDER_OTHER_NETWORK",
        ),
        (all_of_another, {"genesis", "account keys"}, "DATA_FOLDER_OTHER_NETWORK"),
        (start_of_another, {"genesis"}, "DATA_FOLDER_OTHER_NETWORK"),
        (cut_start, {"genesis"}, "DATA_FOLDER_OTHER_NETWORK"),
        (
            one_genesis_of_another,
            {"genesis", "account keys", "trust file"},
            "DATA_FOLDER_OTHER_NETWORK",
        ),
        (genesis_gone, {"genesis", "account keys"}, "GENESIS_INVALID"),
        (all_genesis_gone, {"genesis", "account keys"}, "GENESIS_INVALID"),
        (data_of_another_replica, {"genesis"}, "DATA_FOLDER_OTHER_NETWORK"),
    ],
)
def test_doctor_finds_it_and_no_network_starts(
    folder: Path,
    made: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Layout, Layout], None],
    found: set[str],
    code: str,
) -> None:
    assert wrong(folder, capsys) == {}
    damage(Layout(folder), Layout(made[1]))
    findings = wrong(folder, capsys)
    assert findings.keys() == found
    assert all(row["remedy"] for row in findings.values())
    codes = {name: row["found"].partition(":")[0] for name, row in findings.items()}
    assert {codes.pop("account keys", code)} <= {code, "KEY_FILE_REFUSED"}
    assert {*codes.values()} == {code}
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    failure = refusal(folder)
    assert failure.code == code
    assert all(text and remedy for text, remedy in failure.texts.values())
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


@pytest.mark.req("G2-13-2")
def test_the_remedy_for_a_trust_file_makes_it_anew(tmp_path: Path, folder: Path) -> None:
    layout = Layout(folder)
    empty(layout, layout)
    assert str(layout.trust) in refusal(folder).texts["en"][1]
    layout.trust.rename(tmp_path / "away")
    plan_network(load_network(folder), quiet)
    assert layout.trust.stat().st_size > 0


def key_gone(path: Path, _: Path) -> None:
    path.unlink()


def key_emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def key_of_another(path: Path, other: Path) -> None:
    shutil.copy(other, path)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("name", ["shandong-maker.pem", "csrc-gateway.pem", "restart-csrc.pem"])
@pytest.mark.parametrize("damage", [key_gone, key_emptied, key_of_another])
def test_a_key_of_no_use_is_named_and_never_made_anew(
    folder: Path,
    made: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, Path], None],
    name: str,
) -> None:
    path, other = (place / "identities" / name for place in (folder, made[1]))
    damage(path, other)
    left = path.exists() and path.read_bytes()
    findings = wrong(folder, capsys)
    assert findings.keys() == {"account keys"}
    assert findings["account keys"]["found"].startswith(f"KEY_FILE_REFUSED: {path}: ")
    said: list[str] = []
    plan_network(load_network(folder), said.append)
    assert [line for line in said if line.startswith(f"KEY_FILE_REFUSED: {path}: ")] == said
    assert "backup" in said[0]
    assert (path.exists() and path.read_bytes()) == left


def authority_of_another(layout: Layout, other: Layout) -> None:
    shutil.copytree(other.folder / "ca", layout.folder / "ca", dirs_exist_ok=True)


def certificate_of_another(layout: Layout, other: Layout) -> None:
    shutil.copytree(other.process("csrc-0"), layout.process("csrc-0"), dirs_exist_ok=True)
    shutil.rmtree(layout.process("csrc-0") / "data")


def certificate_gone(layout: Layout, _: Layout) -> None:
    (layout.process("csrc-0") / "tls.pem").unlink()


def certificate_emptied(layout: Layout, _: Layout) -> None:
    (layout.process("csrc-0") / "tls.pem").write_bytes(b"")


def authority_emptied(layout: Layout, _: Layout) -> None:
    (layout.authority("csrc") / "ca.pem").write_bytes(b"")


def list_of_another(layout: Layout, other: Layout) -> None:
    shutil.copy(other.authority("csrc") / "crl.pem", layout.authority("csrc"))


def list_emptied(layout: Layout, _: Layout) -> None:
    (layout.authority("csrc") / "crl.pem").write_bytes(b"")


@pytest.mark.req("G2-13-2", "G2-16-1")
@pytest.mark.parametrize(
    ("damage", "found", "code", "named"),
    [
        (authority_of_another, {"certificates"}, "CERTIFICATE_UNTRUSTED", "csrc-0, csrc-1"),
        (certificate_of_another, {"certificates"}, "CERTIFICATE_UNTRUSTED", "csrc-0"),
        (certificate_gone, {"certificates"}, "CERTIFICATE_MISSING", "csrc-0"),
        (certificate_emptied, {"certificates"}, "CERTIFICATE_MALFORMED", "csrc-0/tls.pem"),
        (authority_emptied, {"certificates"}, "CERTIFICATE_MALFORMED", "csrc/ca.pem"),
        (list_of_another, {"certificates"}, "CERTIFICATE_MALFORMED", "csrc/crl.pem"),
        (
            list_emptied,
            {"certificates", "revocation lists"},
            "CERTIFICATE_MALFORMED",
            "csrc/crl.pem",
        ),
    ],
)
def test_doctor_names_certificates_of_no_use_and_looks_at_all_the_rest(
    folder: Path,
    made: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Layout, Layout], None],
    found: set[str],
    code: str,
    named: str,
) -> None:
    damage(Layout(folder), Layout(made[1]))
    findings = wrong(folder, capsys)
    assert findings.keys() == found
    for row in findings.values():
        assert row["found"].startswith(f"{code}: ")
        assert named in row["found"]
        assert row["remedy"]


@pytest.mark.req("G2-13-2", "G2-16-1")
@pytest.mark.parametrize("damage", [authority_of_another, certificate_of_another])
def test_no_network_starts_with_certificates_of_another(
    folder: Path, made: tuple[Path, Path], damage: Callable[[Layout, Layout], None]
) -> None:
    damage(Layout(folder), Layout(made[1]))
    failure = refusal(folder)
    assert failure.code == "CERTIFICATE_UNTRUSTED"
    assert "csrc-0" in failure.texts["en"][0]
    assert str(folder / "ca") in failure.texts["en"][1]


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("damage", [list_of_another, list_emptied])
def test_no_network_starts_with_a_revocation_list_of_no_use(
    folder: Path, made: tuple[Path, Path], damage: Callable[[Layout, Layout], None]
) -> None:
    damage(Layout(folder), Layout(made[1]))
    failure = refusal(folder)
    assert failure.code == "CERTIFICATE_MALFORMED"
    text, remedy = failure.texts["en"]
    assert "csrc/crl.pem" in text
    assert "backup" in remedy
