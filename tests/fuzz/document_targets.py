"""What readers and contracts are given as documents: ciphertexts under SM2 and the sealed form."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.errors import GmDecryptError, KeyFileError
from guqiao_sdk.gm.self_test import SM2_CIPHER
from guqiao_sdk.gm.sm2_cipher import decode_cipher
from guqiao_sdk.object_store.body_keys import BodyKeys, DataKey, load_wrapping_key
from guqiao_sdk.object_store.errors import BodyErasedError, BodyKeyDamagedError
from guqiao_sdk.proof.json_values import JsonError, canonical_json
from guqiao_sdk.sealed_form import Sealed, SealedFormError, parse_sealed
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_value, of_file
from tests.unit.sealing.test_sealed_documents import provider, sealed_to_two

REFERENCE: Final = "5a" * 16


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
        Target(
            "key record of a body", _data_key, (BodyKeyDamagedError, BodyErasedError),
            [_key_record()], mutations.of_bytes,
        ),
    )  # fmt: skip


def _key_record() -> bytes:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        _keys(folder).make(REFERENCE)
        return Path(folder, REFERENCE).read_bytes()


def _data_key(data: bytes) -> DataKey:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        Path(folder, REFERENCE).write_bytes(data)
        return _keys(folder).find(REFERENCE)


def _keys(folder: str) -> BodyKeys:
    return BodyKeys(Path(folder), b"w" * 16, provider())


def _sealed(data: bytes) -> Sealed:
    return parse_sealed(json_value(data))


def _spelled(sealed: Sealed) -> bytes:
    return canonical_json(sealed.to_json())
