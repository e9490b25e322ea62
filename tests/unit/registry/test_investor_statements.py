"""The statement on an investor's identity says what may be on chain, and nothing more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain.statements import Investor, state

INVESTOR = Investor("I-1", "Q370000000000001", "王小明", "resident_id", "11010119900307002X")
KEY = bytes(range(32))
TEXTS = st.text(min_size=1, max_size=6)


@pytest.mark.req("G2-17-7", "G2-17-8")
def test_equal_numbers_have_equal_digests_under_one_key_only() -> None:
    """Two references of one person meet; two markets' registers do not."""
    first = state(INVESTOR, key=KEY, as_of="2025-09-01")
    twin = state(replace(INVESTOR, investor_ref="I-2", name="王"), key=KEY, as_of="2025-09-01")
    other_market = state(INVESTOR, key=bytes(32), as_of="2025-09-01")
    assert first.identity_digest == twin.identity_digest
    assert first.identity_digest != other_market.identity_digest
    assert len(first.identity_digest) == 32
    assert b"19900307" not in first.identity_digest


@pytest.mark.req("G2-17-7")
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_digest_does_not_confuse_type_and_number(a: str, b: str, c: str, d: str) -> None:
    """Lengths are part of what is digested: ("ab", "c") is not ("a", "bc")."""
    one = state(replace(INVESTOR, id_type=a, id_number=b), key=KEY, as_of="2025-09-01")
    two = state(replace(INVESTOR, id_type=c, id_number=d), key=KEY, as_of="2025-09-01")
    assert (one.identity_digest == two.identity_digest) == ((a, b) == (c, d))


def test_a_number_with_a_wrong_check_character_is_never_valid() -> None:
    wrong = state(replace(INVESTOR, id_number="110101199003070021"), key=KEY, as_of="2025-09-01")
    assert wrong.identity_valid_from is None


@given(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS))
def test_two_bodies_have_the_same_bytes_only_if_they_are_the_same(
    first: tuple[str, str, str, str, str], second: tuple[str, str, str, str, str]
) -> None:
    assert (Investor(*first).encode() == Investor(*second).encode()) == (first == second)
