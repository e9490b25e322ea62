"""`guqiao notice`: what is wrong with a command is told before any network is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiaoctl.commands.notices import SIGNERS, references
from services.consensus.domain.contracts.notices import NoticesContract
from tests.unit.cli.running import Command, command_of
from tests.unit.contracts.notice_market import OLD


@pytest.fixture
def notice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("notice", monkeypatch, capsys)


def written(folder: Path, value: Any = OLD) -> Path:
    path = folder / "interface.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_every_step_has_its_signers() -> None:
    assert set(SIGNERS) == set(NoticesContract(2).methods())


def test_data_objects_are_named_by_id_and_version() -> None:
    assert references(["shandong:subject:ab/0", "a/b/12"]) == [
        {"object_id": "shandong:subject:ab", "version": 0},
        {"object_id": "a/b", "version": 12},
    ]


@pytest.mark.parametrize("named", ["", "a", "/0", "a/", "a/x", "a/-1", "a/１"])
def test_an_object_of_another_form_is_refused(notice: Command, tmp_path: Path, named: str) -> None:
    ended = notice("verify", "1", "--object", named, "--data", tmp_path / "none")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("REQUEST_MALFORMED")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("value", "code", "exit_code"),
    [
        ("{", "REQUEST_MALFORMED", 2),
        ("[]", "BODY_MALFORMED", 2),
        (OLD | {"model_version": ""}, "BODY_MALFORMED", 2),
        (OLD, "NETWORK_UNKNOWN", 3),
    ],
)
def test_a_description_is_judged_before_the_network_is_asked(
    notice: Command, tmp_path: Path, language: str, value: Any, code: str, exit_code: int
) -> None:
    data = ("--data", tmp_path / "none")
    ended = notice("adopt", written(tmp_path, value), *data, language=language)
    assert (ended.code, ended.out) == (exit_code, "")
    assert ended.err.replace("：", ":").startswith(f"{code}:")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kind", "hotfix", "--cutover", "2026-01-05"),
        ("--kind", "interface"),
        ("--cutover", "2026-01-05"),
        (),
    ],
)
def test_a_filing_needs_kind_and_day(
    notice: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ended = notice("file", written(tmp_path), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
