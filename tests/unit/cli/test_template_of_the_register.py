"""`guqiao template …` on the template of the register, which is a contract of the chain's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from guqiao_sdk import register_rules
from guqiaoctl.failures import CliError
from guqiaoctl.template_files import load_deployable, load_template
from tests.unit.cli.running import Command, command_of
from tests.unit.cli.test_template_commands import change

FOLDER = Path(register_rules.__file__).parent
REGISTER = FOLDER / "register.yaml"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("template", monkeypatch, capsys)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The template and its sources, which a test may change."""
    for each in (REGISTER, *FOLDER.glob("*.star")):
        shutil.copy(each, tmp_path / each.name)
    return tmp_path / REGISTER.name


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_person_sees_records_arguments_events_and_objects(
    command: Command, language: str
) -> None:
    ended = command("show", REGISTER, language=language)
    assert (ended.code, ended.err) == (0, "")
    template = load_template(REGISTER)
    for title in (
        *(field.field.title for record in template.records for field in record.fields),
        *(each.field.title for each in template.arguments),
        *(each.title for each in template.objects),
        *(each.title for each in template.events),
    ):
        assert title.zh in ended.out
        assert title.en in ended.out
    rows = ended.out.splitlines()
    roster = next(row for row in rows if row.startswith("roster "))
    assert "RESTRICTED" in roster
    assert "roster_line" in roster
    assert "1..4000" in roster
    position = next(row for row in rows if row.startswith("register.position_changed"))
    clear = "未加密" if language == "zh" else "in the clear"
    assert clear in position
    transfer = next(row for row in rows if row.startswith("transfer "))
    assert "operator_maker / registration_institution" in transfer
    assert ("按链参数要求" if language == "zh" else "where the chain asks") in transfer


def test_the_states_of_the_register_are_a_picture(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "states.svg"
    assert command("show", REGISTER, "--svg", file).code == 0
    texts = {each.text for each in ElementTree.parse(file).iter() if each.text}
    for state in load_template(REGISTER).states:
        assert f"{state.title.en} · {state.name}" in texts


def test_the_sources_beside_it_are_held_against_it(command: Command, copied: Path) -> None:
    assert command("check", REGISTER).code == 0
    change(copied, "  - method: deduct\n", "  - method: deduct_shares\n")
    change(copied, "unfreeze, deduct,", "unfreeze, deduct_shares,")
    ended = command("check", copied)
    assert ended.code == 7
    assert "method_missing" in ended.out
    assert "method_undeclared" in ended.out
    other = copied.with_name("other.star")
    other.write_text("def f(a):\n    return a\n")
    ended = command("check", REGISTER, "--source", other)
    assert ended.code == 7
    for rule in ("other_form", "method_missing", "access"):
        assert rule in ended.out


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("    - 9_corporate_actions.star\n", "    - 9_corporate_actions\n", ".star"),
        ("  sources:\n", "  others:\n", "sources"),
        ("  version: 5\n", "  version: 5\n  form: ab\n", "form"),
        ("    - 9_corporate_actions.star\n", "    - ../9_corporate_actions.star\n", ".star"),
    ],
)
def test_files_that_make_no_program_are_refused(
    command: Command, copied: Path, old: str, new: str, sentence: str
) -> None:
    change(copied, old, new)
    ended = command("show", copied)
    assert (ended.code, "TEMPLATE_MALFORMED" in ended.err) == (7, True)
    assert sentence in ended.err


@pytest.mark.req("G2-14-4")
def test_a_source_that_changes_is_another_form_and_breaks_nobody(
    command: Command, copied: Path
) -> None:
    change(copied.with_name("9_corporate_actions.star"), "SCANNED_MAX = 1000", "SCANNED_MAX = 999")
    told = command("diff", REGISTER, copied, "-o", "json").json
    assert told["compatible"] is True
    assert [each["place"] for each in told["changes"]] == ["own.form"]


@pytest.mark.req("G2-08-7")
def test_it_is_not_filed_or_deployed(command: Command) -> None:
    with pytest.raises(CliError) as refused:
        load_deployable(REGISTER)
    assert (refused.value.code, refused.value.exit_code) == ("TEMPLATE_MALFORMED", 7)
    assert "own" in str(refused.value)
