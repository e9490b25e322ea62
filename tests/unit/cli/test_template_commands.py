"""`guqiao template show`, `ls`, `check` and `diff`: what they print and what they refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from guqiaoctl.failures import CliError
from guqiaoctl.template_files import load_template, require_own_source
from tests.unit.cli.running import Command, command_of

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "data" / "templates"
SUBJECT = FOLDER / "subject.yaml"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("template", monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one template that a test may change."""
    for name in ("subject.yaml", "subject.star"):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


def change(path: Path, old: str, new: str) -> int:
    """Change the one place of a file; the line at which it stands."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


# --- show -------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_person_sees_the_template_in_both_languages(command: Command, language: str) -> None:
    ended = command("show", SUBJECT, language=language)
    assert (ended.code, ended.err) == (0, "")
    template = load_template(SUBJECT)
    assert template.digest.hex() in ended.out
    for title in (
        *(field.title for group in template.groups for field in group.fields),
        *(each.title for each in template.roles),
        *(each.title for each in template.states),
        *(each.title for each in template.transitions),
        *(each.title for each in template.events),
        *(each.title for each in template.views),
    ):
        assert title.zh in ended.out
        assert title.en in ended.out
    row = next(line for line in ended.out.splitlines() if "id_number" in line)
    assert "NONPUBLIC" in row
    assert ("步骤" if language == "zh" else "Transitions") in ended.out


def test_scripts_see_the_canonical_form_and_its_digest(command: Command) -> None:
    told = command("show", SUBJECT, "-o", "json").json
    template = load_template(SUBJECT)
    assert told == {"digest": template.digest.hex(), "template": template.to_json()}


def test_the_picture_goes_to_a_file_or_to_standard_output_alone(
    command: Command, tmp_path: Path
) -> None:
    picture = tmp_path / "states.svg"
    assert command("show", SUBJECT, "--svg", picture).code == 0
    assert ElementTree.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")
    missing = command("show", SUBJECT, "--svg", tmp_path / "none" / "states.svg")
    assert (missing.code, missing.out) == (3, "")


@pytest.mark.parametrize(
    ("old", "new", "below", "says"),
    [
        ("tier: NONPUBLIC", "tier: PUBLIC", 4, "groups[1].fields[0].type: The type person_name"),
        (
            "version: 1",
            "version: 1\nversion: 2",
            1,
            "version: The member version stands here twice",
        ),
        ("class: COMMON", "class: &a COMMON", 0, "class: Anchors"),
        ("key: subject_id", "key: subject_id\nowner: me", 1, "owner: There is no member owner"),
        ("to: SUSPENDED", "to: HALTED", 0, "transitions[3].to: The template has no HALTED"),
        ("source: subject.star", "source: ../x.star", 0, "source: source is the name of a .star"),
    ],
)
def test_what_is_no_template_is_refused_with_its_line_and_a_sentence(
    command: Command, folder: Path, old: str, new: str, below: int, says: str
) -> None:
    path = folder / "subject.yaml"
    line = change(path, old, new) + below
    ended = command("show", path)
    assert (ended.code, ended.out) == (7, "")
    assert ended.err.startswith(f"TEMPLATE_MALFORMED: {path}:{line}: {says}")
    in_chinese = command("show", path, language="zh").err
    assert "。" in in_chinese
    assert "TEMPLATE_MALFORMED" in in_chinese


def test_a_source_that_is_not_star_is_refused_with_its_own_line(
    command: Command, folder: Path
) -> None:
    line = change(folder / "subject.star", "SCALES = [", "import os\nSCALES = [")
    ended = command("show", folder / "subject.yaml")
    assert ended.code == 7
    assert ended.err.startswith(f"CONTRACT_SOURCE_REFUSED: {folder / 'subject.star'}:{line}:1")
    (folder / "subject.star").unlink()
    assert command("show", folder / "subject.yaml").code == 3


# --- ls ---------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-6")
def test_the_common_set_is_listed_with_its_digests(command: Command) -> None:
    told = command("ls", FOLDER, "-o", "json").json["templates"]
    assert [each["id"] for each in told] == sorted(path.stem for path in FOLDER.glob("*.yaml"))
    shown = command("ls", FOLDER).out
    for each in told:
        assert each["class"] == "COMMON"
        assert each["digest"] == load_template(FOLDER / f"{each['id']}.yaml").digest.hex()
        assert each["digest"][:16] in shown
    assert command("ls", FOLDER / "none").code == 3


# --- check ------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-4")
def test_a_contract_without_a_mandatory_event_is_refused(command: Command, folder: Path) -> None:
    assert command("check", folder / "subject.yaml").out == "subject@1: conforms\n"
    source = folder / "subject.star"
    emit = '    emit("subject.amended", {"subject_id": subject_id, "state": "REGISTERED"})\n'
    change(source, emit, "")
    line = 1 + source.read_text(encoding="utf-8").split("def amend(")[0].count("\n")
    ended = command("check", SUBJECT, "--source", source)
    assert ended.code == 7
    assert ended.out.startswith(f"{source}:{line}: event_missing: ")
    assert ended.err.startswith("TEMPLATE_NONCONFORMING: ")
    told = command("check", SUBJECT, "--source", source, "-o", "json")
    assert told.code == 7
    assert told.json["conforms"] is False
    [deviation] = told.json["deviations"]
    assert deviation["what"] == "amend: subject.amended"
    assert deviation["sentence"]["zh"].startswith("方法没有产生必备事件")


# --- diff -------------------------------------------------------------------------------------


@pytest.mark.req("G2-14-4")
def test_an_upgrade_is_told_apart_by_its_changes(command: Command, folder: Path) -> None:
    new = folder / "subject.yaml"
    assert command("diff", SUBJECT, SUBJECT).out == "compatible\n"
    change(new, "title: {zh: 主体登记, en: Registration of subjects}", "title: {zh: 甲, en: a}")
    assert command("diff", SUBJECT, new, "-o", "json").json == {
        "compatible": True,
        "changes": [{"place": "title", "rule": "text_changed", "breaking": False}],
    }
    change(new, "from: [REGISTERED, SUSPENDED]", "from: [REGISTERED]")
    ended = command("diff", SUBJECT, new)
    assert ended.code == 0
    assert "transitions.deregister.from.SUSPENDED" in ended.out
    assert ended.out.endswith("incompatible: 1 of 2\n")


# --- On the regulatory chain ------------------------------------------------------------------


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize(
    "change_source", [lambda text: text + "\nX = 1\n", lambda text: "import x"]
)
def test_a_source_that_is_not_the_program_is_found_out(
    change_source: Callable[[str], str],
) -> None:
    found = load_template(SUBJECT)
    require_own_source(found)
    contract = replace(found.contract, source=change_source(found.contract.source))
    with pytest.raises(CliError) as refused:
        require_own_source(replace(found, basis=replace(found.business, contract=contract)))
    assert (refused.value.code, refused.value.exit_code) == ("TEMPLATE_SOURCE_OTHER", 7)
