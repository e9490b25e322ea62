"""The bytes that a request's signature covers: fixed for ever, different whenever anything
differs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.signing import (
    Audience,
    RequestSigner,
    RequestStamp,
    request_sign_bytes,
    stream_item_sign_bytes,
)

AUDIENCE = Audience("shandong", "registry")
METHOD = "/guqiao.registry.v1.RegistryService/GetStatus"
STAMP = RequestStamp(
    did="did:rem:shandong:SD000001",
    key_id="sign-1",
    time_ms=1_700_000_000_000,
    nonce="000102030405060708090a0b0c0d0e0f",
)


def field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def test_the_bytes_are_those_of_the_written_recipe() -> None:
    """Built here by hand from docs/protocol/request-signatures.md, as a client in another language
    would.
    """
    expected = b"".join(
        field(part)
        for part in (
            b"guqiao/request/1",
            b"shandong",
            b"registry",
            METHOD.encode(),
            sm3(b"message"),
            (1_700_000_000_000).to_bytes(8, "big"),
            bytes(range(16)),
            b"did:rem:shandong:SD000001",
            b"sign-1",
        )
    )
    assert request_sign_bytes(AUDIENCE, METHOD, b"message", STAMP) == expected


def test_the_published_vector_holds() -> None:
    signed = request_sign_bytes(AUDIENCE, METHOD, b"message", STAMP)
    assert sm3(signed).hex() == VECTOR


VECTOR = "7e3ec1bd6bb611c3aa2bab2dba9af873d71fa56f4857ffa5f66cf30367742de7"

texts = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=12)
stamps = st.builds(
    RequestStamp,
    did=texts,
    key_id=texts,
    time_ms=st.integers(0, 2**63),
    nonce=st.binary(min_size=16, max_size=16).map(bytes.hex),
)
requests = st.tuples(st.builds(Audience, texts, texts), texts, st.binary(max_size=20), stamps)


@given(requests, requests)
def test_two_requests_share_their_bytes_only_if_they_are_one(
    first: tuple[Audience, str, bytes, RequestStamp],
    second: tuple[Audience, str, bytes, RequestStamp],
) -> None:
    same = request_sign_bytes(*first) == request_sign_bytes(*second)
    assert same is (first == second)


@given(requests, st.integers(0, 2**63))
def test_an_item_of_a_stream_is_never_taken_for_a_request(
    request: tuple[Audience, str, bytes, RequestStamp], counter: int
) -> None:
    assert stream_item_sign_bytes(*request, counter) != request_sign_bytes(*request)
    assert stream_item_sign_bytes(*request, counter) != stream_item_sign_bytes(
        *request, counter + 1
    )


def test_every_stamp_is_fresh() -> None:
    provider = open_provider()
    signer = RequestSigner("d", "k", provider.keygen(), provider, "shandong", "registry")
    nonces = {signer.stamp().nonce for _ in range(100)}
    assert len(nonces) == 100
    assert all(len(nonce) == 32 for nonce in nonces)


@pytest.mark.req("G2-09-2")
def test_the_signature_is_sm2_over_these_bytes() -> None:
    provider = open_provider()
    private = provider.keygen()
    signer = RequestSigner(STAMP.did, STAMP.key_id, private, provider, "shandong", "registry")
    metadata = dict(signer.metadata(METHOD, b"message", STAMP))
    signature = metadata["guqiao-signature-bin"]
    assert isinstance(signature, bytes)
    signed = request_sign_bytes(AUDIENCE, METHOD, b"message", STAMP)
    assert provider.verify(private.public_key, signed, signature)
    other = request_sign_bytes(AUDIENCE, METHOD, b"message", replace(STAMP, key_id="sign-2"))
    assert not provider.verify(private.public_key, other, signature)
