"""The crash campaigns in small; `make crash` runs them at their full size (T-10 to T-13).

Goal: whatever a process, a disk or a power supply does, nothing acknowledged is lost, nothing is
doubled, no answer is wrong, and what is damaged is said and repaired.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.consensus.store.files import SYSTEM_FILES
from tests.crash import damage, kills, sweep
from tests.crash.__main__ import Report, main
from tests.crash.checking import check_folder, truth
from tests.crash.writer import Acknowledged, write_chain

SEED = 20_261_127


@pytest.mark.timeout(300)
@pytest.mark.req("G2-07-3", "G2-13-2")
def test_kill_9_again_and_again_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    counts = kills.run(tmp_path, kills=30, seed=SEED)
    assert counts["kills"] == 30
    assert counts["blocks"] >= counts["acknowledged"] > 0


@pytest.mark.timeout(300)
@pytest.mark.req("G2-07-3", "G2-13-2")
def test_the_nth_write_fsync_or_rename_may_fail_in_any_way(tmp_path: Path) -> None:
    counts = sweep.run(tmp_path, every=53)
    assert all(counts[fault] > 0 for fault in sweep.FAULTS)


@pytest.mark.timeout(300)
@pytest.mark.req("G2-07-3", "G2-13-2")
def test_damage_of_any_file_gives_no_wrong_answer_and_is_repaired(tmp_path: Path) -> None:
    counts = damage.run(tmp_path, cases=40, seed=SEED)
    assert all(counts[name] > 0 for name in (*damage.FILES, *damage.HOW))
    assert counts["whole again"] + counts.get("refused to start", 0) == 40


@pytest.mark.timeout(300)
@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize("name", ["power", "strace"])
def test_what_the_machine_does_not_allow_is_said_and_is_no_pass(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["--only", name, "--power-cuts", "2"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (name in report["campaigns"]) is not (name in report["not_run"])
    assert all(count > 0 for each in report["campaigns"].values() for count in each.values())


def test_a_fault_that_never_fired_and_a_finding_fail_the_campaign(tmp_path: Path) -> None:
    def finds(_: Path) -> dict[str, int]:
        raise AssertionError("an acknowledged block is lost")

    unfired, found = Report(), Report()
    unfired.run("some", lambda _: {"EIO": 3, "kill": 0}, in_memory=False)
    found.run("other", finds, in_memory=False)
    assert (unfired.is_good, unfired.unfired) == (False, ["some: kill"])
    assert (found.is_good, found.found) == (False, ["other"])


@pytest.mark.parametrize("lie", ["a block that was lost", "another block", "a vote that was lost"])
def test_the_check_notices_what_it_is_there_for(tmp_path: Path, lie: str) -> None:
    said = Acknowledged()
    write_chain(tmp_path / "data", said.take, files=SYSTEM_FILES, blocks=3)
    assert check_folder(tmp_path / "data", said) == 3
    match lie:
        case "a block that was lost":
            said.headers[4] = truth().header(4).hash().hex()
        case "another block":
            said.headers[2] = bytes(32).hex()
        case _:
            said.voted = 4
    with pytest.raises(AssertionError):
        check_folder(tmp_path / "data", said)
