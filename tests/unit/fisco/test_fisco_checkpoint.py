"""The checkpoint file says from where on a chain is believed, and is held to its form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    encode_checkpoint,
    parse_checkpoint,
)
from guqiao_sdk.proof.fisco.genesis import verify_genesis
from tests.plugins.fisco_chain import FiscoChain, hexed, unhexed

pytestmark = pytest.mark.req("T2-13")


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    chain = FiscoChain(weights=(2, 1, 1, 1))
    chain.add_block()
    assert parse_checkpoint(encode_checkpoint(chain.trusted(1))) == chain.trusted(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "guqiao-fisco-checkpoint/2"),
        ("chain_id", ""),
        ("chain_id", "a\nb"),
        ("group_id", "群"),
        ("genesis_hash", "00" * 32),
        ("genesis_hash", "11" * 31),
        ("header_hash", "0x" + "11" * 32),
        ("header_hash", None),
        ("height", -1),
        ("height", "1"),
        ("sealers", []),
        ("sealers", [{"node_id": "11" * 64, "weight": 1}] * 4),
        ("sealers", [{"node_id": "11" * 63, "weight": 1}]),
        ("sealers", [{"node_id": "11" * 64}]),
        ("sealers", [{"node_id": "11" * 64, "weight": 1, "name": "x"}]),
        ("another", 1),
    ],
)
def test_a_checkpoint_with_anything_wrong_is_refused(name: str, value: Any) -> None:
    good = json.loads(encode_checkpoint(FiscoChain().trusted()))
    with pytest.raises(ProofError):
        parse_checkpoint(json.dumps({**good, name: value}).encode())
    with pytest.raises(ProofError):
        parse_checkpoint(json.dumps({k: v for k, v in good.items() if k != "sealers"}).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"[" * 100_000, b" " * (CHECKPOINT_BYTES_MAX + 1), b"\xff"]
)
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        parse_checkpoint(data)


def test_a_genesis_block_that_is_not_the_trusted_one_is_refused() -> None:
    chain = FiscoChain()
    verify_genesis(chain.trusted(), chain.genesis)
    text = unhexed(chain.genesis["extraData"])
    spoiled = {
        "HEADER_UNVERIFIED": text + b"more: 1\n",
        "CHAIN_MISMATCH": text.replace(b"chain0", b"chain1"),
        "ALG_NOT_GM": text.replace(b"sm_crypto:1", b"sm_crypto:0"),
        "OBSERVED_VERSION_UNKNOWN": text + b"chainID: chain0\n",
    }
    for code, changed in spoiled.items():
        with pytest.raises(ProofError) as caught:
            verify_genesis(chain.trusted(), {**chain.genesis, "extraData": hexed(changed)})
        assert caught.value.code == code
    with pytest.raises(ProofError):
        verify_genesis(chain.trusted(), {**chain.genesis, "version": 0x03040000})
