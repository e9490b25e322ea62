"""`guqiao calendar`: deadlines in working days, without a network."""

from __future__ import annotations

import pytest

from tests.unit.cli.running import Command, command_of


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("calendar", monkeypatch, capsys)


@pytest.mark.req("G2-14-3")
def test_the_earliest_cutover_is_the_day_after_the_last_working_day(calendar: Command) -> None:
    count = ("--working-days", "20", "-o", "json")
    ended = calendar("earliest-cutover", "--notice", "2025-09-15T10:00:00+08:00", *count)
    assert (ended.code, ended.err) == (0, "")
    told = {"nth_working_day": "2025-10-17", "earliest_cutover": "2025-10-18"}
    assert ended.json == told
    # Twenty where nobody says; in China the notice is a day later than in UTC.
    utc = ("earliest-cutover", "--notice", "2025-09-14T16:00:00Z")
    assert calendar(*utc, "-o", "json").json == told
    head, row = calendar(*utc).out.splitlines()[:2]
    assert head.split() == [
        "NOTICE",
        "NOTICE",
        "DAY",
        "WORKING",
        "DAYS",
        "LAST",
        "WORKING",
        "DAY",
        "EARLIEST",
        "CUTOVER",
    ]
    assert row.split()[1:] == ["2025-09-15", "20", "2025-10-17", "2025-10-18"]


@pytest.mark.req("G2-14-3")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_unknown_year_is_named_and_never_guessed(calendar: Command, language: str) -> None:
    notice = ("--notice", "2026-12-04T10:00:00+08:00")
    for arguments in (("earliest-cutover", *notice), ("show", "2027")):
        ended = calendar(*arguments, language=language)
        assert (ended.code, ended.out) == (5, "")
        assert ended.err.replace("：", ": ").startswith("CALENDAR_YEAR_UNKNOWN: 2027")
        assert any("\u4e00" <= each <= "\u9fff" for each in ended.err) is (language == "zh")
    assert calendar("earliest-cutover", "--notice", "2026-12-03T10:00:00+08:00").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--notice", "2025-09-15"),
        ("--notice", "2025-09-15T10:00:00"),
        ("--notice", "tomorrow"),
        ("--notice", ""),
        ("--notice", "9999-12-31T23:59:59-12:00"),
        ("--notice", "2025-09-15T10:00:00+08:00", "--working-days", "0"),
        ("--notice", "2025-09-15T10:00:00+08:00", "--working-days", "1001"),
        ("--notice", "2025-09-15T10:00:00+08:00", "--working-days", "x"),
        (),
    ],
)
def test_what_is_no_moment_or_count_is_refused(
    calendar: Command, arguments: tuple[str, ...]
) -> None:
    ended = calendar("earliest-cutover", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


def test_a_year_is_shown_with_its_notices(calendar: Command) -> None:
    told = calendar("show", "2026", "-o", "json").json
    assert told["notices"] == ["国办发明电〔2025〕7号"]
    assert told["worked"] == [
        "2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10",
    ]  # fmt: skip
    assert told["working_days"] == 248
    table = calendar("show", "2026").out
    assert "2026-09-20  worked 班" in table
    assert "国办发明电〔2025〕7号" in table
