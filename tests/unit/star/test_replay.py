"""What star/1 once came to, it comes to for ever (design section 6)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from tests.replay import star_1

RECORDS = star_1.corpus()
RECORDINGS = [
    (188, "f7a92fb584927d2adc73bfce51e3278aef2a2a790c784ee6d5c17e5a0af6ee3e"),
    (257, "db45b70f858a1d83ff0d4e4e35472a0d791fbd76c25a2c5dd5eb0b1e31c1661a"),
    (269, "89ab948bde916b158ac56b3420979cb34a070e436df294b1aa2595e95a5be2d4"),
]
"""Lines and digest at each recording: nobody changes or drops a line of it."""


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("kept", RECORDS, ids=[kept["name"] for kept in RECORDS])
def test_a_source_and_its_calls_come_to_what_was_recorded(kept: dict[str, Any]) -> None:
    assert star_1.encoded(star_1.again(kept)) == star_1.encoded(kept)


def test_the_recording_is_never_changed_and_holds_all_that_is_worth_it() -> None:
    lines = star_1.CORPUS.read_bytes().splitlines(keepends=True)
    for count, digest in RECORDINGS:
        assert hashlib.sha256(b"".join(lines[:count])).hexdigest() == digest
    assert {kept["name"] for kept in RECORDS} >= {name for name, *_ in star_1.inputs()}
    assert len({kept["name"] for kept in RECORDS}) == len(RECORDS)


def test_another_price_or_another_form_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = next(each for each in RECORDS if each["name"] == "transfer")
    monkeypatch.setattr(star_1, "TABLE", replace(star_1.TABLE, read=51))
    assert star_1.again(kept) != kept
    monkeypatch.undo()
    assert star_1.again({**kept, "source": kept["source"] + "\nA = 1\n"}) != kept
