"""The crash campaigns can fail; `make crash` runs them whole after these tests (T-10 to T-13).

Goal: whatever a process, a disk or a power supply does, nothing acknowledged is lost, nothing is
doubled, no answer is wrong, and what is damaged is said and repaired.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.consensus.store.files import SYSTEM_FILES
from tests.crash.__main__ import CAMPAIGNS, Campaign, main
from tests.crash.checking import check_folder, truth
from tests.crash.writer import Acknowledged, write_chain

SEED = 20_261_127


@pytest.mark.timeout(300)
@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize("name", ["power", "blackout", "strace"])
def test_what_the_machine_does_not_allow_is_said_and_is_no_pass(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["--only", name, "--power-cuts", "2", "--blackouts", "2"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (name in report["campaigns"]) is not (name in report["not_run"])
    assert all(count > 0 for each in report["campaigns"].values() for count in each.values())


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"EIO": 3, "kill": 1}, {"unfired": [], "found": []}),
        ({"EIO": 3, "kill": 0}, {"unfired": ["kills: kill"], "found": []}),
        (None, {"unfired": [], "found": ["kills"]}),
    ],
)
def test_a_fault_that_never_fired_and_a_finding_fail_the_campaign(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    counts: dict[str, int] | None,
    says: dict[str, list[str]],
) -> None:
    def plays(_: Path, asked: object) -> dict[str, int]:
        assert counts is not None, "an acknowledged block is lost"
        return counts

    monkeypatch.setitem(CAMPAIGNS, "kills", Campaign(plays))
    is_good = main(["--only", "kills"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: report[name] for name in says} == says
    assert is_good is not any(says.values())


@pytest.mark.parametrize(
    "lie",
    [
        "a block that was lost",
        "another block",
        "a vote that was lost",
        "a nonce that was lost",
        "a proof that was lost",
    ],
)
def test_the_check_notices_what_it_is_there_for(tmp_path: Path, lie: str) -> None:
    said = Acknowledged()
    write_chain(tmp_path / "data", said.take, files=SYSTEM_FILES, blocks=3)
    assert check_folder(tmp_path / "data", said) == 3
    match lie:
        case "a block that was lost":
            said.headers[4] = truth().header(4).hash().hex()
        case "another block":
            said.headers[2] = bytes(32).hex()
        case "a nonce that was lost":
            said.nonces.add(4)
        case "a proof that was lost":
            said.evidence.add(4)
        case _:
            said.voted = 4
    with pytest.raises(AssertionError):
        check_folder(tmp_path / "data", said)
