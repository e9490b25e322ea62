"""What readers and contracts are given as documents: ciphertexts, sealed forms, publications."""

from __future__ import annotations

from functools import partial
from typing import Final

from guqiao_sdk.gm.errors import GmDecryptError, KeyFileError
from guqiao_sdk.gm.self_test import SM2_CIPHER
from guqiao_sdk.gm.sm2_cipher import decode_cipher
from guqiao_sdk.object_store.s3 import S3Settings, S3SettingsError
from guqiao_sdk.object_store.wrapping_keys import load_wrapping_key
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.sealed_form import Sealed, SealedFormError, parse_sealed
from services.consensus.domain.contracts.document_form import (
    Publication,
    condition,
    read_publication,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.template.vocabulary import Tier
from tests.fuzz import mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import json_object, json_value, of_file
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
        Target(
            "settings of a bucket", S3Settings.from_json, (S3SettingsError,), [_BUCKET],
            mutations.of_json,
        ),
        *(
            Target(
                f"{tier.value} publication", partial(_publication, tier), (Refusal, JsonError),
                [canonical_json({**PUBLICATION, **payload})], mutations.of_json,
            )
            for tier, payload in _PAYLOADS.items()
        ),
        Target(
            "condition of a grant", lambda data: condition(json_value(data)),
            (Refusal, JsonError), [canonical_json(each) for each in _CONDITIONS], mutations.of_json,
        ),
    )  # fmt: skip


PUBLICATION: Final[dict[str, Json]] = {
    "document": "report",
    "version": 1,
    "area": "offers",
    "type": "announcement",
    "title": "公告",
}
_PAYLOADS: Final[dict[Tier, dict[str, Json]]] = {
    Tier.PUBLIC: {"content": {"name": "齐鲁演示科技", "capital": 5_000_000}},
    Tier.RESTRICTED: {"sealed": sealed_to_two().to_json()},
    Tier.NONPUBLIC: {
        "digest": "ab" * 32,
        "size": 1_234,
        "owner": "did:rem:shandong:owner",
        "reference": "5a" * 16,
    },
}
_CONDITIONS: Final[tuple[dict[str, Json], ...]] = (
    {"kind": "role", "role": "observer"},
    {"kind": "holder", "product": "P1", "account": "Q1"},
)


_BUCKET: Final = canonical_json(
    {
        "endpoint": "https://objects.example",
        "bucket": "bodies",
        "region": "cn",
        "access_key_id": "id",
        "secret_access_key": "secret",
        "prefix": "shandong",
    }
)


def _publication(tier: Tier, data: bytes) -> Publication:
    return read_publication(json_object(data), tier)


def _sealed(data: bytes) -> Sealed:
    return parse_sealed(json_value(data))


def _spelled(sealed: Sealed) -> bytes:
    return canonical_json(sealed.to_json())
