"""The life of a network's folder: killed, restarted, two years old, damaged, occupied.

Each test brings the network into the state that it needs; those that need it stopped stand
together, because a start is the dearest of all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import time
import uuid
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from guqiao_sdk.gm.certificates import parse_certificate
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.network import pki
from guqiaoctl.network.layout import Layout, create_network
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from tests.end_to_end.harness import TINY, OneMachine, wait_until
from tests.unit.contracts.register_market import (
    RequestIdentity,
    loaded_host,
    roster_csv,
)

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def tiny(one_machine: OneMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of importing market-tiny into the network."""
    results = tmp_path_factory.mktemp("tiny") / "results.csv"
    one_machine.must("import", TINY, "--results", results, "-o", "json")
    return results


@pytest.fixture
def running(one_machine: OneMachine, tiny: Path) -> OneMachine:
    """The network with market-tiny, up before the test and looked after when it failed."""
    assert tiny.exists()
    if not one_machine.processes():
        one_machine.up()
    return one_machine


@pytest.fixture
def stopped(one_machine: OneMachine, tiny: Path) -> OneMachine:
    """The network with market-tiny, not running."""
    assert tiny.exists()
    if one_machine.processes():
        one_machine.must("dev", "down")
    return one_machine


def roster_of_tiny() -> str:
    """The roster after all events, through the contract alone."""
    market = read_dataset(TINY)
    assert isinstance(market, MarketDataset)
    host, identity = loaded_host(market), RequestIdentity()
    for event in market.events:
        identity.process(host, REGISTER_V3, event)
    return roster_csv(host).decode()


ROSTER = roster_of_tiny()


def roster_is_right(machine: OneMachine) -> bool:
    return machine.must("register", "roster").out == ROSTER


@pytest.mark.req("N0-17", "N0-18", "N0-20", "N0-21")
def test_a_dataset_with_all_operations_gives_the_expected_results_and_roster(
    one_machine: OneMachine, tiny: Path
) -> None:
    expected = TINY / "expected"
    assert tiny.read_bytes() == (expected / "results.csv").read_bytes()
    assert (expected / "roster.csv").read_bytes().decode() == ROSTER
    wait_until("roster", lambda: roster_is_right(one_machine))


@pytest.mark.req("G2-13-2")
def test_a_replica_and_a_service_are_killed_stopped_and_started(running: OneMachine) -> None:
    for target, name in (("shandong/2", "shandong-2"), ("shandong/registry", "shandong-registry")):
        for verb in ("kill", "stop"):
            assert running.must("dev", "node", verb, target).said == f"{name}: held"
            assert running.states()[name] == "held"
            again = running.run("dev", "node", verb, target)
            assert (again.code, again.error) == (5, "PROCESS_STATE")
            assert running.must("dev", "node", "start", target).said == f"{name}: ready"
    running.wait_ready()
    wait_until("roster", lambda: roster_is_right(running))


@pytest.mark.req("G2-13-2")
def test_a_process_that_falls_is_started_again(running: OneMachine) -> None:
    before = running.pid("csrc-gateway")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until("another process", lambda: running.pid("csrc-gateway") not in (before, None))
    running.wait_ready()


def test_a_service_that_is_away_is_an_unavailable_answer(running: OneMachine) -> None:
    running.must("dev", "node", "stop", "shandong/registry")
    for arguments in (("register", "roster"), ("import", TINY)):
        answer = running.run(*arguments)
        assert answer.code == 6, answer.err
        assert len(answer.said.splitlines()) == 1
    running.must("dev", "node", "start", "shandong/registry")


@pytest.mark.req("G2-13-2", "N0-19")
def test_what_follows_the_chain_says_so_while_it_is_behind(running: OneMachine) -> None:
    """The gateway, which publishes the blocks, is away: the chain goes on, the register cannot."""
    running.must("dev", "node", "stop", "shandong/gateway")
    roster = running.must("register", "roster").out
    wait_until("a block", lambda: "as of height" in running.must("register", "roster").err)
    assert running.must("register", "roster").out == roster
    unknown = running.run("tx", "find", str(uuid.uuid4()), language="zh")
    assert (unknown.code, unknown.error) == (3, "TRANSACTION_UNKNOWN")
    assert unknown.said.startswith("截至高度")
    running.must("dev", "node", "start", "shandong/gateway")
    wait_until("the register", lambda: running.must("register", "roster").said == "")


@pytest.mark.req("G2-13-2", "N0-15")
def test_a_dataset_that_is_refused_leaves_nothing_of_its_investors(
    running: OneMachine, tmp_path: Path
) -> None:
    """Its market contradicts the chain's; an investor's reference stays free for others."""
    refused, accepted = tmp_path / "refused", tmp_path / "accepted"
    for folder, name in ((refused, "甲某"), (accepted, "乙某")):
        shutil.copytree(TINY, folder)
        investors = folder / "investors.csv"
        header, first, *_ = investors.read_text(encoding="utf-8").splitlines()
        row = dict(zip(header.split(","), first.split(","), strict=True))
        row |= {"investor_ref": "I99999", "investor_code": "Q999999999", "name": f"{name}（演示）"}
        added = investors.read_text(encoding="utf-8") + ",".join(row.values()) + "\n"
        investors.write_text(added, encoding="utf-8")
    market = json.loads((refused / "market.json").read_text(encoding="utf-8"))
    market["operator"] = "另一家（演示）"
    (refused / "market.json").write_text(json.dumps(market) + "\n", encoding="utf-8")
    answer = running.run("import", refused, language="zh")
    assert (answer.code, answer.error) == (5, "REFERENCE_CONFLICT"), answer.err
    assert "configure_market 被拒绝" in answer.err
    assert answer.err.count("REFERENCE_CONFLICT") == 1
    assert running.run("import", accepted, "-o", "json").code == 0


def holds_nothing(lock: Path) -> bool:
    """Whether no process holds the folder: one that is killed still has to end."""
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.req("G2-13-2")
def test_a_killed_supervisor_leaves_no_process_and_the_next_start_works(
    running: OneMachine,
) -> None:
    pid = running.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until("the supervisor is gone", lambda: holds_nothing(running.folder / "lock"))
    began = time.monotonic()
    answer = running.up()  # At once: it waits for what still ends.
    assert "ready" in answer.err
    assert running.status()["pid"] != pid
    running.wait_ready()
    assert roster_is_right(running), f"{time.monotonic() - began:.1f} s"
    os.kill(running.status()["pid"], signal.SIGKILL)
    running.wait_nothing_left()
    assert running.run("dev", "status").code == 6


@pytest.mark.req("G2-13-2")
def test_a_port_in_use_is_named_with_the_remedy(stopped: OneMachine) -> None:
    port = stopped.network.ports["shandong-registry.grpc"]
    with socket.create_server(("127.0.0.1", port)):
        for language, words in (("en", "something else listens"), ("zh", "已被占用")):
            answer = stopped.run("dev", "up", "--detach", language=language)
            assert (answer.code, answer.error) == (6, "PORT_IN_USE"), answer.err
            assert str(port) in answer.err
            assert "shandong-registry.grpc" in answer.err
            assert words in answer.err
            assert "--new-ports" in answer.err
        assert stopped.processes() == {}


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "draft.txt").write_text("dear")
    other = OneMachine(tmp_path / "letters")
    for detach in ((), ("--detach",)):
        answer = other.run("dev", "up", *detach)
        assert (answer.code, answer.error) == (5, "DATA_FOLDER_OTHER_NETWORK")
    assert [path.name for path in other.folder.iterdir()] == ["draft.txt"]
    for content in ("[]", "{", json.dumps({"format": "guqiao-network/1", "ports": 3})):
        (other.folder / "network.json").write_text(content)
        answer = other.run("dev", "status")
        assert (answer.code, answer.error) == (5, "DATA_FOLDER_OTHER_NETWORK")


@pytest.mark.req("G2-13-2")
def test_data_of_another_replica_is_refused_and_nothing_is_harmed(stopped: OneMachine) -> None:
    first, second = (stopped.folder / "processes" / f"shandong-{n}" / "data" for n in (0, 1))
    swap(first, second)
    answer = stopped.run("dev", "up", "--detach")
    assert (answer.code, answer.error) == (5, "DATA_FOLDER_OTHER_NETWORK"), answer.err
    last = answer.err.strip().splitlines()[-1]
    assert "shandong-" in last
    assert last.lower().count("choose another") == 1, "its remedy once"
    stopped.wait_nothing_left()
    swap(first, second)


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.mark.req("G2-09-4")
def test_a_folder_of_two_years_ago_renews_its_certificates_and_says_so(
    stopped: OneMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_long_ago(stopped.network.layout, monkeypatch)
    assert earliest_end(stopped.folder) < datetime.now(UTC) - timedelta(days=300)
    checked = stopped.run("doctor", "-o", "json")
    assert checked.code == 6
    wrong = [row for row in checked.json() if not row["ok"]]
    assert [row["check"] for row in wrong] == ["certificates", "revocation lists"]
    assert all("guqiao dev up" in row["remedy"] for row in wrong)
    said = stopped.up(language="zh").err
    assert "14 张证书已到期" in said
    assert "shandong 的证书吊销列表已过期" in said
    stopped.wait_ready()
    assert earliest_end(stopped.folder) > datetime.now(UTC) + timedelta(days=300)
    assert roster_is_right(stopped)


def issue_long_ago(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue all certificates and revocation lists anew, by a clock that is two years behind."""

    class TwoYearsAgo(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> TwoYearsAgo:
            return cls.fromtimestamp(time.time() - 730 * 86_400, tz)

    for path in [*layout.folder.glob("processes/*/tls.pem"), *layout.folder.glob("ca/*/crl.pem")]:
        path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(pki, "datetime", TwoYearsAgo)
        pki.ensure_certificates(layout, open_provider(), print)


def earliest_end(folder: Path) -> datetime:
    paths = folder.glob("processes/*/tls.pem")
    return min(parse_certificate(path.read_bytes()).not_after for path in paths)


@pytest.mark.req("G2-09-4")
def test_missing_certificates_and_keys_are_made_anew_and_said_on_new_ports_too(
    stopped: OneMachine,
) -> None:
    processes = stopped.folder / "processes"
    (processes / "shandong-0" / "tls.pem").unlink()
    (processes / "csrc-gateway" / "tls.key").unlink()
    (stopped.folder / "ca" / "csrc" / "ca.key").unlink()
    port = stopped.network.ports["shandong-registry.grpc"]
    said = stopped.up("--new-ports").err
    assert stopped.network.ports["shandong-registry.grpc"] != port
    assert "2 certificates were missing and have been made" in said
    stopped.wait_ready()
    assert roster_is_right(stopped)


@pytest.mark.req("G2-13-2")
def test_the_databases_of_another_network_are_refused_and_nothing_is_harmed(
    stopped: OneMachine, tmp_path: Path
) -> None:
    """Another network is given this one's database folder, and gives it back."""
    other = OneMachine(tmp_path / "other")
    create_network(other.folder)
    own, foreign = stopped.folder / "postgres", other.folder / "postgres"
    own.rename(foreign)
    try:
        answer = other.run("dev", "up", "--detach")
        assert (answer.code, answer.error) == (5, "DATA_FOLDER_OTHER_NETWORK"), answer.err
        last = answer.err.strip().splitlines()[-1]
        # Whichever service came to its database first.
        assert re.search(r"the database (csrc|shandong)_(\w+) belongs to \2 of \1", last), last
        assert last.count("Put its own data back") == 1, "its remedy once"
        other.wait_nothing_left()
    finally:
        foreign.rename(own)
        other.close()
    stopped.up()
    assert roster_is_right(stopped)


def test_down_leaves_no_process_and_reset_removes_the_folder(running: OneMachine) -> None:
    """The last test upon this network."""
    running.must("dev", "down")
    assert running.processes() == {}
    again = running.run("dev", "down")
    assert (again.code, again.error) == (6, "NETWORK_DOWN")
    asked = running.run("dev", "reset")
    assert (asked.code, asked.error) == (2, "CONFIRMATION_MISSING")
    assert running.folder.exists()
    kept = running.folder.with_name("kept")
    shutil.copytree(running.folder / "ca", kept)
    running.must("dev", "reset", "--yes")
    assert not running.folder.exists()
    assert kept.exists()
