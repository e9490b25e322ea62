"""Mistakes with signatures and sets that others made, each by its row: a P of the reliability plan,
or a row of the field lessons.
"""

from __future__ import annotations

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm2 import N, signature_to_der, split_signature
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, follow_set_changes
from tests.unit.proof.proof_keys import FakeKeys, Replicas

PROVIDER = open_provider()
KEY = PROVIDER.load_private_key(bytes(31) + b"\x07")
MESSAGE = b"shares move once"
GOOD = PROVIDER.sign(KEY, MESSAGE)


def spelled(r: int, s: int) -> bytes:
    """64 bytes, whatever the numbers."""
    return (r % 2**256).to_bytes(32, "big") + (s % 2**256).to_bytes(32, "big")


def odd_signatures() -> list[bytes]:
    """Other spellings of a good signature, and numbers that none may have."""
    r, s = int.from_bytes(GOOD[:32], "big"), int.from_bytes(GOOD[32:], "big")
    numbers = [(r, N - s), (N - r, s), (0, s), (r, 0), (N, s), (r, N), (N + 1, s), (r, N + 1)]
    numbers += [(r, N - r), (s, r), (2**256 - 1, s)]
    return [spelled(*pair) for pair in numbers]


@pytest.mark.req("G2-09-2")
def test_p18_a_signature_has_one_spelling_of_64_bytes() -> None:
    assert PROVIDER.verify(KEY.public_key, MESSAGE, GOOD)
    longer = [GOOD + b"\x00", b"\x00" + GOOD, GOOD[:-1], b"", signature_to_der(GOOD)]
    for odd in [*odd_signatures(), *longer]:
        assert not PROVIDER.verify(KEY.public_key, MESSAGE, odd)


@pytest.mark.parametrize("r", [0, N, N + 1])
@pytest.mark.parametrize("s", [0, N, N + 1])
def test_p18_numbers_outside_the_order_are_no_signature(r: int, s: int) -> None:
    assert split_signature(spelled(r, s)) is None
    assert split_signature(spelled(r, 5)) is None
    assert split_signature(spelled(5, s)) is None


def test_p18_a_sum_of_zero_is_no_signature() -> None:
    assert split_signature(spelled(5, N - 5)) is None
    assert split_signature(spelled(5, N - 6)) == (5, N - 6)


@pytest.mark.parametrize("count", [1, 3, 70])
def test_p19_one_bad_signature_is_found_at_every_position(count: int) -> None:
    good = [(KEY.public_key, MESSAGE, GOOD)] * count
    assert PROVIDER.verify_many(good) == [True] * count
    bad = (KEY.public_key, MESSAGE, GOOD[:32] + digest("other", GOOD))
    for position in range(count):
        mixed = [*good[:position], bad, *good[position + 1 :]]
        expected = [number != position for number in range(count)]
        assert PROVIDER.verify_many(mixed) == expected


def test_row12_a_set_that_came_with_a_header_is_believed_only_if_the_old_quorum_named_it() -> None:
    keys = FakeKeys()
    first = Replicas(keys)
    second = first.next_epoch()
    foreign = Replicas(keys, epoch=1, size=7)
    trusted = TrustedChain.from_genesis(b"g" * 32, first.set)
    header = first.header(5, next_set=second.set)
    told = SetChange(header, first.certify(header), second.set)
    assert follow_set_changes(trusted, [told], keys.verify).replica_set == second.set
    for signed_by in (first, second, foreign):
        lie = SetChange(header, signed_by.certify(header), foreign.set)
        with pytest.raises(ProofError):
            follow_set_changes(trusted, [lie], keys.verify)
