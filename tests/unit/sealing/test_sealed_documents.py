"""A document sealed to readers: who can open it, where, and that nothing of it can be changed."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guqiao_sdk.gm.errors import GmError, GmKeyError, GmParameterError
from guqiao_sdk.gm.provider import GmProvider, PrivateKey, open_provider
from guqiao_sdk.proof.json_values import canonical_json, parse_json_strict
from guqiao_sdk.proof.transaction import BODY_BYTES_MAX as TRANSACTION_BODY_BYTES_MAX
from guqiao_sdk.sealed_form import (
    BODY_BYTES_MAX,
    READERS_MAX,
    Envelope,
    SealContext,
    Sealed,
    SealedFormError,
    associated_data,
    commitment_to,
    parse_sealed,
)
from guqiao_sdk.sealing import NotAReaderError, SealedChangedError, open_sealed, seal

pytestmark = pytest.mark.req("G2-17-5", "G2-19-1")

HERE = SealContext("shandong", "documents", "prospectus-1", 1)
TEXT = "私募说明书：仅供合格投资者".encode()
ANNE, BO, EVE = (f"did:rem:shandong:{name}" for name in ("anne", "bo", "eve"))
FORM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)


@cache
def provider() -> GmProvider:
    return open_provider()


@cache
def keys() -> dict[str, PrivateKey]:
    return {did: provider().keygen() for did in (ANNE, BO, EVE)}


def public(*dids: str) -> dict[str, bytes]:
    return {did: keys()[did].public_key for did in dids}


@cache
def sealed_to_two() -> Sealed:
    return seal(provider(), TEXT, public(ANNE, BO), HERE)


def opened(sealed: Sealed, did: str = ANNE, context: SealContext = HERE) -> bytes:
    return open_sealed(provider(), did, keys()[did], sealed, context)


def test_each_reader_opens_it_and_nobody_else_does() -> None:
    sealed = sealed_to_two()
    assert opened(sealed, ANNE) == opened(sealed, BO) == TEXT
    with pytest.raises(NotAReaderError) as caught:
        opened(sealed, EVE)
    assert caught.value.code == "SEALED_FOR_OTHERS"
    assert TEXT not in canonical_json(sealed.to_json())


def test_another_key_of_a_reader_does_not_open_it() -> None:
    with pytest.raises(NotAReaderError):
        open_sealed(provider(), ANNE, keys()[EVE], sealed_to_two(), HERE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"chain": "beijing"},
        {"contract": "other"},
        {"document": "prospectus-2"},
        {"version": 2},
    ],
)
def test_it_opens_in_its_own_place_only(elsewhere: dict[str, Any]) -> None:
    with pytest.raises(SealedChangedError) as caught:
        opened(sealed_to_two(), context=replace(HERE, **elsewhere))
    assert caught.value.code == "SEALED_CHANGED"


def test_nobody_becomes_a_reader_by_an_envelope_from_another_document() -> None:
    sealed = sealed_to_two()
    other = seal(provider(), b"of no matter", public(EVE), HERE)
    added = replace(sealed, envelopes=(*sealed.envelopes, *other.envelopes))
    for did in (ANNE, BO, EVE):
        with pytest.raises(SealedChangedError):
            opened(added, did)


def test_a_reader_who_knows_the_key_adds_nobody_unseen() -> None:
    """He makes a right envelope for Eve; the list of readers is another one, so all refuse."""
    sealed = sealed_to_two()
    own = sealed.envelope_of(ANNE)
    assert own is not None
    key = provider().sm2_decrypt(keys()[ANNE], own.sealed_key)
    eve = keys()[EVE].public_key
    made = Envelope(EVE, eve, provider().sm2_encrypt(eve, key))
    for did in (ANNE, EVE):
        with pytest.raises(SealedChangedError):
            opened(replace(sealed, envelopes=(*sealed.envelopes, made)), did)


def test_a_reader_cannot_be_taken_away_or_exchanged() -> None:
    sealed = sealed_to_two()
    with pytest.raises(SealedChangedError):
        opened(replace(sealed, envelopes=sealed.envelopes[:1]), ANNE)
    anne, bo = sealed.envelopes
    swapped = (replace(anne, sealed_key=bo.sealed_key), replace(bo, sealed_key=anne.sealed_key))
    with pytest.raises(SealedChangedError):
        opened(replace(sealed, envelopes=swapped), ANNE)


def test_all_readers_are_tied_to_one_key() -> None:
    """A publisher who puts different keys into envelopes is found out by the one who is misled."""
    nonce, key, other = bytes(12), b"k" * 16, b"o" * 16
    anne, bo = public(ANNE, BO).values()
    envelopes = (
        Envelope(ANNE, anne, provider().sm2_encrypt(anne, key)),
        Envelope(BO, bo, provider().sm2_encrypt(bo, other)),
    )
    bound = associated_data(HERE, nonce, envelopes)
    body = provider().sm4_gcm_encrypt(key, nonce, TEXT, bound)
    sealed = Sealed(nonce, commitment_to(key, bound), envelopes, body)
    assert opened(sealed, ANNE) == TEXT
    with pytest.raises(SealedChangedError, match="envelopes"):
        opened(sealed, BO)


def test_the_same_text_is_sealed_under_another_key_and_nonce_each_time() -> None:
    first, second = (seal(provider(), TEXT, public(ANNE), HERE) for _ in range(2))
    assert first.nonce != second.nonce
    assert first.body != second.body
    assert first.commitment != second.commitment


@FORM
@given(data=st.data())
def test_a_changed_byte_anywhere_is_refused_by_every_reader(data: st.DataObject) -> None:
    form = bytearray(canonical_json(sealed_to_two().to_json()))
    place = data.draw(st.integers(0, len(form) - 1))
    form[place] ^= data.draw(st.integers(1, 255))
    try:
        value = parse_json_strict(bytes(form), depth_max=8, size_max=len(form))
    except ValueError:
        return
    for did in (ANNE, BO):
        with pytest.raises(GmError) as caught:
            opened(parse_sealed(value), did)
        assert caught.value.code in ("SEALED_MALFORMED", "SEALED_CHANGED", "SEALED_FOR_OTHERS")


def test_the_form_has_one_reading() -> None:
    sealed = sealed_to_two()
    assert parse_sealed(sealed.to_json()) == sealed
    assert parse_sealed(sealed.to_json()).to_json() == sealed.to_json()


def changed(path: str, value: Any) -> dict[str, Any]:
    form: dict[str, Any] = copy.deepcopy(sealed_to_two().to_json())
    place: Any = form
    *way, last = path.split(".")
    for name in way:
        place = place[int(name)] if name.isdigit() else place[name]
    if value is KeyError:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return form


ROWS: Any = sealed_to_two().to_json()["envelopes"]
BODY: Any = sealed_to_two().to_json()["body"]
SPOILED: dict[str, tuple[Any, str]] = {
    "no object": (7, "sealed"),
    "another format": (changed("format", "guqiao-sealed/2"), "sealed.format"),
    "a member more": (changed("more", 1), "sealed.more"),
    "a member less": (changed("nonce", KeyError), "sealed.nonce"),
    "a short nonce": (changed("nonce", "00" * 11), "sealed.nonce"),
    "capital digits": (changed("nonce", "AB" * 12), "sealed.nonce"),
    "a long commitment": (changed("commitment", "00" * 33), "sealed.commitment"),
    "no envelope": (changed("envelopes", []), "sealed.envelopes"),
    "no list of envelopes": (changed("envelopes", {}), "sealed.envelopes"),
    "too many envelopes": (changed("envelopes", ROWS * (READERS_MAX // 2 + 1)), "sealed.envelopes"),
    "a reader twice": (changed("envelopes", [ROWS[0], ROWS[0]]), "sealed.envelopes"),
    "another order": (changed("envelopes", ROWS[::-1]), "sealed.envelopes"),
    "no DID": (changed("envelopes.0.reader", "anne"), "sealed.envelopes[0].reader"),
    "a key off the curve": (
        changed("envelopes.0.public_key", "04" + "00" * 64), "sealed.envelopes[0].public_key",
    ),
    "no ciphertext": (
        changed("envelopes.0.sealed_key", "00" * 16), "sealed.envelopes[0].sealed_key",
    ),
    "an envelope of another size": (
        changed(
            "envelopes.0.sealed_key",
            provider().sm2_encrypt(keys()[ANNE].public_key, b"k" * 17).hex(),
        ),
        "sealed.envelopes[0].sealed_key",
    ),
    "no base64": (changed("body", BODY[:-4] + "!===" ), "sealed.body"),
    "base64 with a line end": (changed("body", BODY + "\n"), "sealed.body"),
    "base64 with loose bits": (changed("body", "A" * 22 + "B="), "sealed.body"),
    "base64 without its end": (changed("body", "A" * 23), "sealed.body"),
    "nothing but a tag": (changed("body", "A" * 22 + "=="), "sealed.body"),
    "a body too long": (changed("body", "A" * (4 * BODY_BYTES_MAX)), "sealed.body"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "field"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_form_is_refused_and_the_place_named(value: Any, field: str) -> None:
    with pytest.raises(SealedFormError) as caught:
        parse_sealed(value)
    assert (caught.value.code, caught.value.field) == ("SEALED_MALFORMED", field)


def test_the_largest_document_for_the_most_readers_fits_into_a_transaction() -> None:
    key = keys()[ANNE].public_key
    prefix = "did:rem:" + "a" * 20 + ":"
    envelope = Envelope(prefix + "x" * 64, key, b"\0" * (16 + 128))
    largest = Sealed(bytes(12), bytes(32), (envelope,) * READERS_MAX, bytes(BODY_BYTES_MAX + 16))
    assert len(canonical_json(largest.to_json())) < TRANSACTION_BODY_BYTES_MAX - 4_096


@pytest.mark.parametrize("size", [0, BODY_BYTES_MAX + 1])
def test_a_body_has_its_bounds(size: int) -> None:
    with pytest.raises(GmParameterError, match="524288 bytes"):
        seal(provider(), bytes(size), public(ANNE), HERE)


def test_readers_have_their_bounds_and_keys() -> None:
    with pytest.raises(GmParameterError, match="256 readers"):
        seal(provider(), TEXT, {}, HERE)
    many = {f"did:rem:shandong:r{number}": b"" for number in range(READERS_MAX + 1)}
    with pytest.raises(GmParameterError, match="256 readers"):
        seal(provider(), TEXT, many, HERE)
    with pytest.raises(GmKeyError):
        seal(provider(), TEXT, {ANNE: bytes(65)}, HERE)
