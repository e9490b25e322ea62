"""A wrong command line: one message with code and remedy in the user's language, exit code 2."""

from __future__ import annotations

import sys

import pytest

from guqiaoctl.__main__ import main

WRONG = [
    (["dev", "upp"], "No such command 'upp'", "没有命令 upp", "guqiao dev --help"),
    (["import"], "Missing argument 'dataset'", "缺少参数 dataset", "guqiao import --help"),
    (["import", "a", "b"], "unexpected extra argument", "多余的参数 b", "guqiao import --help"),
    (["dev", "up", "--foo"], "No such option: --foo", "没有选项 --foo", "guqiao dev up --help"),
    (["verify", "a", "--trust"], "requires an argument", "选项 --trust 需要一个值", "guqiao"),
    (
        ["register", "roster", "--height", "x"],
        "Invalid value for '--height'",
        "参数 --height 的值无效",
        "guqiao register roster --help",
    ),
    (
        ["register", "roster", "--height", "99999999999999999999999"],
        "Invalid value for '--height'",
        "参数 --height 的值无效",
        "guqiao register roster --help",
    ),
    (
        ["doctor", "-o", "csv"],  # What is no table of rows has no CSV.
        "not one of",
        "参数 -o / --output 的值无效",
        "guqiao doctor --help",
    ),
    (
        ["dev", "status", "-o", "xml"],
        "not one of",
        "参数 -o / --output 的值无效",
        "guqiao dev status --help",
    ),
]


def _run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    language: str,
) -> tuple[int, str, str]:
    monkeypatch.setenv("GUQIAO_LANG", language)
    monkeypatch.setattr(sys, "argv", ["guqiao", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    written = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, written.out, written.err


@pytest.mark.parametrize(("arguments", "english", "chinese", "see"), WRONG)
def test_a_wrong_command_line_says_what_is_wrong_in_both_languages(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    english: str,
    chinese: str,
    see: str,
) -> None:
    for language, says in (("en", english), ("zh", chinese)):
        code, out, err = _run(monkeypatch, capsys, arguments, language)
        assert (code, out) == (2, "")
        assert err.startswith("USAGE_WRONG")
        assert says in err
        assert see in err
        assert err.count("\n") == 1


def test_help_is_no_failure_and_a_bare_noun_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, capsys, ["--help"], "en")[0] == 0
    code, out, _ = _run(monkeypatch, capsys, ["dev"], "en")
    assert code == 2
    assert "status" in out
