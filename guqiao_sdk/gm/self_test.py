"""The standard vectors every backend must pass before it is used.

GB/T 32905 (SM3), GB/T 32907 (SM4), RFC 8998 appendix A (SM4-GCM), GB/T 32918.5 (SM2 signature and
encryption), and round trips. A backend that fails one refuses to start: a wrong signature is worse
than none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import ECB

from guqiao_sdk.gm import sm2
from guqiao_sdk.gm.errors import GmError, GmSelfTestError
from guqiao_sdk.gm.sm2_cipher import Sm2Cipher
from guqiao_sdk.gm.sm3 import sm3

if TYPE_CHECKING:
    from guqiao_sdk.gm.provider import GmProvider

SM3_VECTORS: Final = (
    (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
)
SM4_KEY: Final = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_BLOCK: Final = bytes.fromhex("681edf34d206965e86b3e94f536e4246")
GCM_NONCE: Final = bytes.fromhex("00001234567800000000abcd")
GCM_AAD: Final = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_PLAINTEXT: Final = bytes.fromhex(
    "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
    "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
)
GCM_SEALED: Final = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    "83de3541e4c2b58177e065a9bf7b62ec"
)
SM2_SCALAR: Final = bytes.fromhex(
    "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8"
)
SM2_PUBLIC_KEY: Final = bytes.fromhex(
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
SM2_MESSAGE: Final = b"message digest"
SM2_ZA: Final = bytes.fromhex("b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3")
SM2_SIGNATURE: Final = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)

SM2_PLAINTEXT: Final = b"encryption standard"
SM2_CIPHER: Final = Sm2Cipher(
    point=bytes.fromhex(
        "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
        "e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
    ),
    check=bytes.fromhex("59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766"),
    masked=bytes.fromhex("21886ca989ca9c7d58087307ca93092d651efa"),
)


def run_self_test(provider: GmProvider) -> None:
    """Raise `GmSelfTestError` naming the first vector that `provider` gets wrong."""
    checks: tuple[tuple[str, Callable[[GmProvider], bool]], ...] = (
        ("GB/T 32905 SM3", _sm3_is_right),
        ("GB/T 32907 SM4", _sm4_is_right),
        ("RFC 8998 SM4-GCM", _sm4_gcm_is_right),
        ("GB/T 32918 SM2 public key", _public_key_is_right),
        ("GB/T 32918 SM2 signature", _signature_is_right),
        ("SM2 sign and verify", _round_trip_is_right),
        ("GB/T 32918 SM2 encryption", _encryption_is_right),
    )
    for vector, is_right in checks:
        try:
            passed = is_right(provider)
        except GmError:
            passed = False
        if not passed:
            raise GmSelfTestError(
                f"the backend {provider.name} fails the standard vector {vector}: refusing to "
                "start. Repair or replace the cryptographic library.",
                f"后端 {provider.name} 未通过标准向量 {vector}:拒绝启动。请修复或更换密码库。",
            )


def _sm3_is_right(_: GmProvider) -> bool:
    return all(sm3(data).hex() == digest for data, digest in SM3_VECTORS)


def _sm4_is_right(_: GmProvider) -> bool:
    encryptor = Cipher(SM4(SM4_KEY), ECB()).encryptor()  # noqa: S305 - one block, a vector
    return encryptor.update(SM4_KEY) + encryptor.finalize() == SM4_BLOCK


def _sm4_gcm_is_right(provider: GmProvider) -> bool:
    sealed = provider.sm4_gcm_encrypt(SM4_KEY, GCM_NONCE, GCM_PLAINTEXT, GCM_AAD)
    opened = provider.sm4_gcm_decrypt(SM4_KEY, GCM_NONCE, GCM_SEALED, GCM_AAD)
    return sealed == GCM_SEALED and opened == GCM_PLAINTEXT


def _public_key_is_right(provider: GmProvider) -> bool:
    derived = provider.load_private_key(SM2_SCALAR).public_key
    return derived == SM2_PUBLIC_KEY and sm2.za(SM2_PUBLIC_KEY) == SM2_ZA


def _signature_is_right(provider: GmProvider) -> bool:
    changed = bytes([SM2_SIGNATURE[0] ^ 1]) + SM2_SIGNATURE[1:]
    return (
        provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, SM2_SIGNATURE)
        and not provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE, changed)
        and not provider.verify(SM2_PUBLIC_KEY, SM2_MESSAGE + b".", SM2_SIGNATURE)
    )


def _round_trip_is_right(provider: GmProvider) -> bool:
    private = provider.keygen()
    first, second = (provider.sign(private, SM2_MESSAGE) for _ in range(2))
    # Equal signatures would mean a repeated nonce, which gives the key away.
    return first != second and provider.verify(private.public_key, SM2_MESSAGE, first)


def _encryption_is_right(provider: GmProvider) -> bool:
    private = provider.load_private_key(SM2_SCALAR)
    sealed = [provider.sm2_encrypt(SM2_PUBLIC_KEY, SM2_PLAINTEXT) for _ in range(2)]
    # Equal ciphertexts would mean a repeated nonce, which gives the plaintexts away.
    return sealed[0] != sealed[1] and all(
        provider.sm2_decrypt(private, each) == SM2_PLAINTEXT
        for each in (SM2_CIPHER.encode(), *sealed)
    )
