"""What readers and contracts are given as documents: ciphertexts under SM2 and the sealed form."""

from __future__ import annotations

from guqiao_sdk.gm.errors import GmDecryptError, KeyFileError
from guqiao_sdk.gm.self_test import SM2_CIPHER
from guqiao_sdk.gm.sm2_cipher import decode_cipher
from guqiao_sdk.object_store.body_keys import load_wrapping_key
from guqiao_sdk.proof.json_values import JsonError, canonical_json
from guqiao_sdk.sealed_form import Sealed, SealedFormError, parse_sealed
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_value, of_file
from tests.unit.sealing.test_sealed_documents import sealed_to_two


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    return (
        Target(
            "ciphertext under SM2", decode_cipher, (GmDecryptError,), [SM2_CIPHER.encode()],
            mutations.of_der, lambda v: v.encode(),
        ),
        Target(
            "sealed document", _sealed, (SealedFormError, JsonError),
            [canonical_json(sealed_to_two().to_json())], mutations.of_json, _spelled,
        ),
        Target(
            "key that wraps others", of_file(load_wrapping_key), (KeyFileError,),
            [(b"k" * 16).hex().encode()], mutations.of_bytes, lambda v: v.hex().encode(),
        ),
    )  # fmt: skip


def _sealed(data: bytes) -> Sealed:
    return parse_sealed(json_value(data))


def _spelled(sealed: Sealed) -> bytes:
    return canonical_json(sealed.to_json())
