"""The crash campaigns can fail; `make crash` runs them whole after these tests (T-10 to T-13).

Goal: whatever a process, a disk or a power supply does, nothing acknowledged is lost, nothing is
doubled, no answer is wrong, and what is damaged is said and repaired.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path

import pytest

from services.consensus.store.files import SYSTEM_FILES
from tests.crash.__main__ import CAMPAIGNS, EXIT_FOUND, EXIT_NOT_RUN, Campaign, main
from tests.crash.checking import check_folder, truth
from tests.crash.damage import folders_of
from tests.crash.spoiling import CHANGES, FILES, HOW, damage, path_of
from tests.crash.writer import Acknowledged, write_chain


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder with every file that one can have, and as it was early on."""
    return folders_of(tmp_path_factory.mktemp("folders"))


@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize("name", ["power", "blackout", "strace"])
def test_what_the_machine_does_not_allow_is_said_and_is_no_pass(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code = main(["--only", name, "--power-cuts", "2", "--blackouts", "2"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (name in report["campaigns"]) is not (name in report["not_run"])
    assert code == (EXIT_NOT_RUN if name in report["not_run"] else 0)
    assert all(count > 0 for each in report["campaigns"].values() for count in each.values())


def test_a_campaign_that_could_not_run_beside_one_that_held_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in CAMPAIGNS:
        monkeypatch.setitem(CAMPAIGNS, name, Campaign(lambda *_: {"kill": 1}))
    assert main([]) == 0
    without = Campaign(lambda *_: {"kill": 1}, why_not=lambda: "no loop device")
    monkeypatch.setitem(CAMPAIGNS, "power", without)
    assert main([]) == EXIT_NOT_RUN
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["not_run"] == {
        "power": "no loop device"
    }
    monkeypatch.setitem(CAMPAIGNS, "kills", Campaign(lambda *_: {"kill": 0}))
    assert main([]) == EXIT_FOUND, "what was found counts for more"


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
    code = main(["--only", "kills"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: report[name] for name in says} == says
    assert code == (EXIT_FOUND if any(says.values()) else 0)


@pytest.mark.parametrize(
    "lie",
    [
        "a block that was lost",
        "another block",
        "a vote that was lost",
        "a nonce that was lost",
        "a proof that was lost",
        "a divergence that was lost",
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
        case "a divergence that was lost":
            said.has_diverged = True
        case _:
            said.voted = 4
    with pytest.raises(AssertionError):
        check_folder(tmp_path / "data", said)


@pytest.mark.parametrize(("name", "how"), list(itertools.product(FILES, HOW)))
def test_what_counts_as_damage_changed_the_file(
    tmp_path: Path, folders: tuple[Path, Path], name: str, how: str
) -> None:
    """Over many draws, since a flip or a cut can be anywhere; what is no change is said."""
    base, old = folders
    for seed in range(12):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        data = shutil.copytree(base, tmp_path / "data")
        path = path_of(data, name)
        assert path is not None
        before = path.read_bytes()
        is_changed = damage(data, old, name, how, random.Random(seed))
        after = path.read_bytes() if path.exists() else None
        assert is_changed is (after != before)
        assert is_changed is ((name, how) in CHANGES)
        if how == "stale" and is_changed and path.suffix == ".seg":
            assert after is not None
            assert before.startswith(after), "the same segment, as it was earlier"


def test_every_kind_of_file_of_a_data_folder_is_damaged(folders: tuple[Path, Path]) -> None:
    """A file that is new here needs a name in `FILES`."""
    base, _ = folders
    named = {path_of(base, name) for name in FILES}
    kinds = {(path.parent, path.suffix) for path in named if path is not None}
    for path in base.rglob("*"):
        if path.is_file() and path not in named:
            assert path.parent != base, f"{path.name} is never damaged"
            assert (path.parent, path.suffix) in kinds, f"{path.parent.name} is never damaged"
