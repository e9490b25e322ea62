"""The demonstration says when it was slow; it does not fail for it."""

from __future__ import annotations

import pytest

from guqiaoctl.demo.scenario import slow


@pytest.mark.parametrize(
    ("start", "total", "named"),
    [
        (15.0, 120.0, []),
        (15.1, 120.0, ["start"]),
        (9.0, 120.2, ["total"]),
        (40.0, 300.0, ["start", "total"]),
    ],
)
def test_what_took_longer_than_intended_is_named(
    monkeypatch: pytest.MonkeyPatch, start: float, total: float, named: list[str]
) -> None:
    seconds = {"setup": 500.0, "start": start, "import": 500.0, "total": total}
    monkeypatch.setenv("GUQIAO_LANG", "en")
    lines = slow(seconds)
    assert [line.split()[1] for line in lines] == named
    assert all(line.startswith("warning: ") for line in lines)
    monkeypatch.setenv("GUQIAO_LANG", "zh")
    assert [line.startswith("警告：") for line in slow(seconds)] == [True] * len(named)
