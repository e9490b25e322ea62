"""Each planted bug still finds its place in the source: a campaign takes too long to learn that."""

from __future__ import annotations

import pytest

from tests.planted.bugs import BUGS, Bug
from tests.tidy.source import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.row}-{bug.name}" for bug in BUGS])
def test_a_planted_bug_finds_its_place_once_and_changes_it(bug: Bug) -> None:
    for file, old, new in bug.places:
        assert (ROOT / file).read_text(encoding="utf-8").count(old) == 1
        assert new != old
