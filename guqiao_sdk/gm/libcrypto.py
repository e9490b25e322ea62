"""SM2 by the system's libcrypto (OpenSSL >= 1.1.1) through cffi: the default backend.

Nothing is built: the library is opened by name, and every call frees the GIL. The scalar
arithmetic and the signing nonce (OpenSSL's CSPRNG, seeded by the system) are the library's own;
this module computes the digest with Z_A, checks ranges, and keeps parsed keys in a bounded cache.
The calls exist from 1.1.1 on and are the same in 3.x, but 1.1.1 must be told the key type.
"""

from __future__ import annotations

import ctypes.util
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import cffi

from guqiao_sdk.gm import sm2, sm2_cipher, sm4
from guqiao_sdk.gm.errors import GmBackendUnavailableError, GmKeyError, GmSignError
from guqiao_sdk.gm.sm2 import PrivateKey
from guqiao_sdk.gm.sm3 import sm3

LIBRARY_NAMES: Final = (
    "libcrypto.so.3",
    "libcrypto.so.4",
    "libcrypto.so.1.1",
    "libcrypto.3.dylib",
)
VERSION_MIN: Final = 0x10101000
PARSED_KEYS_MAX: Final = 4096
VERIFY_THREADS_MAX: Final = 8
# Below this many items, handing work to threads costs more than it saves.
PARALLEL_ITEMS_MIN: Final = 4

_NID_SM2: Final = 1172
_EVP_PKEY_EC: Final = 408
_DER_SIGNATURE_SIZE_MAX: Final = 80
_POINT_UNCOMPRESSED: Final = 4

_DECLARATIONS: Final = """
unsigned long OpenSSL_version_num(void);
void ERR_clear_error(void);
void *BN_bin2bn(const unsigned char *, int, void *);
void BN_clear_free(void *);
void *EC_KEY_new_by_curve_name(int);
void EC_KEY_free(void *);
const void *EC_KEY_get0_group(const void *);
int EC_KEY_set_public_key(void *, const void *);
int EC_KEY_set_private_key(void *, const void *);
void *EC_POINT_new(const void *);
void EC_POINT_free(void *);
int EC_POINT_oct2point(const void *, void *, const unsigned char *, size_t, void *);
size_t EC_POINT_point2oct(const void *, const void *, int, unsigned char *, size_t, void *);
int EC_POINT_mul(const void *, void *, const void *, const void *, const void *, void *);
void *EVP_PKEY_new(void);
void EVP_PKEY_free(void *);
int EVP_PKEY_assign(void *, int, void *);
int EVP_PKEY_set_alias_type(void *, int);
void *EVP_PKEY_CTX_new(void *, void *);
void EVP_PKEY_CTX_free(void *);
int EVP_PKEY_sign_init(void *);
int EVP_PKEY_sign(void *, unsigned char *, size_t *, const unsigned char *, size_t);
int EVP_PKEY_verify_init(void *);
int EVP_PKEY_verify(void *, const unsigned char *, size_t, const unsigned char *, size_t);
int EVP_PKEY_encrypt_init(void *);
int EVP_PKEY_encrypt(void *, unsigned char *, size_t *, const unsigned char *, size_t);
int EVP_PKEY_decrypt_init(void *);
int EVP_PKEY_decrypt(void *, unsigned char *, size_t *, const unsigned char *, size_t);
"""

# Parsed once, at import: it takes longer than all else in a provider's making.
_FFI: Final = cffi.FFI()
_FFI.cdef(_DECLARATIONS)


class _PublicKey(NamedTuple):
    handle: Any
    za: bytes


class LibcryptoProvider:
    """`GmProvider` over the system's libcrypto. Safe to call from any number of threads."""

    name: Final = "libcrypto"

    def __init__(self, library_names: Sequence[str] = LIBRARY_NAMES) -> None:
        self._ffi: Any = _FFI
        self._lib: Any = self._open(library_names)
        self.version: Final = int(self._lib.OpenSSL_version_num())
        self._public = lru_cache(maxsize=PARSED_KEYS_MAX)(self._parse_public)
        self._threads: Final = min(VERIFY_THREADS_MAX, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gm-verify")

    def keygen(self) -> PrivateKey:
        """Make a new key from the system's CSPRNG."""
        return self.load_private_key((secrets.randbelow(sm2.N - 2) + 1).to_bytes(32, "big"))

    def load_private_key(self, scalar: bytes) -> PrivateKey:
        """Take a key from its 32-byte scalar, or raise `GmKeyError`."""
        sm2.check_scalar(scalar)
        lib, null = self._lib, self._ffi.NULL
        with _Guard(self) as guard:
            number = guard.keep(lib.BN_bin2bn(scalar, len(scalar), null), lib.BN_clear_free)
            key = guard.keep(lib.EC_KEY_new_by_curve_name(_NID_SM2), lib.EC_KEY_free)
            group = lib.EC_KEY_get0_group(key)
            point = guard.keep(lib.EC_POINT_new(group), lib.EC_POINT_free)
            guard.check(lib.EC_POINT_mul(group, point, number, null, null, null))
            guard.check(lib.EC_KEY_set_private_key(key, number))
            guard.check(lib.EC_KEY_set_public_key(key, point))
            encoded = self._ffi.new("unsigned char[]", sm2.PUBLIC_KEY_SIZE)
            size = lib.EC_POINT_point2oct(
                group, point, _POINT_UNCOMPRESSED, encoded, sm2.PUBLIC_KEY_SIZE, null
            )
            guard.check(size == sm2.PUBLIC_KEY_SIZE)
            handle = self._wrap(guard, key)
        return PrivateKey(scalar, bytes(self._ffi.buffer(encoded)), (self, handle))

    def sign(self, private: PrivateKey, message: bytes) -> bytes:
        """Return the 64-byte signature r||s of `message` under the default user id."""
        digest = sm3(self._za(private.public_key) + message)
        context = self._lib.EVP_PKEY_CTX_new(self._private_handle(private), self._ffi.NULL)
        try:
            encoded = self._ffi.new("unsigned char[]", _DER_SIGNATURE_SIZE_MAX)
            size = self._ffi.new("size_t *", _DER_SIGNATURE_SIZE_MAX)
            if (
                self._lib.EVP_PKEY_sign_init(context) != 1
                or self._lib.EVP_PKEY_sign(context, encoded, size, digest, len(digest)) != 1
            ):
                self._lib.ERR_clear_error()
                raise GmSignError(
                    "libcrypto could not sign with this key; check the key and the library",
                    "libcrypto 无法用该密钥签名;请检查密钥和密码库",
                )
            return sm2.signature_from_der(bytes(self._ffi.buffer(encoded, size[0])))
        finally:
            self._lib.EVP_PKEY_CTX_free(context)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is valid. Any bytes give an answer, never an exception."""
        if sm2.split_signature(signature) is None or len(public_key) != sm2.PUBLIC_KEY_SIZE:
            return False
        public = self._public(public_key)
        if public is None:
            return False
        digest = sm3(public.za + message)
        encoded = sm2.signature_to_der(signature)
        context = self._lib.EVP_PKEY_CTX_new(public.handle, self._ffi.NULL)
        # A failed allocation fails the init, and with it the signature: never the other way round.
        valid: bool = (
            self._lib.EVP_PKEY_verify_init(context) == 1
            and self._lib.EVP_PKEY_verify(context, encoded, len(encoded), digest, len(digest)) == 1
        )
        self._lib.EVP_PKEY_CTX_free(context)
        if not valid:
            # Python's own ssl and hashlib share this thread's error queue: leave nothing in it.
            self._lib.ERR_clear_error()
        return valid

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        """Judge (public key, message, signature) items on all cores; answers keep their order."""
        if len(items) < PARALLEL_ITEMS_MIN or self._threads == 1:
            return self._verify_slice(items)
        size = -(-len(items) // self._threads)
        slices = [items[start : start + size] for start in range(0, len(items), size)]
        return [valid for part in self._pool.map(self._verify_slice, slices) for valid in part]

    def sm2_encrypt(self, public_key: bytes, plaintext: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm2_cipher`."""
        sm2_cipher.check_plaintext(plaintext)
        public = self._public(public_key)
        if public is None:
            raise sm2_cipher.not_a_key()
        while True:
            sealed = self._transform("encrypt", public.handle, plaintext)
            # Not every version draws another nonce where the mask came out as zero.
            if sealed is not None and sm2_cipher.decode_cipher(sealed).masked != plaintext:
                return sealed
            if sealed is None:
                raise GmKeyError(
                    "libcrypto could not encrypt to this key; check the key and the library",
                    "libcrypto 无法用该公钥加密;请检查密钥和密码库",
                )

    def sm2_decrypt(self, private: PrivateKey, sealed: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm2_cipher`."""
        cipher = sm2_cipher.decode_cipher(sealed)
        plaintext = self._transform("decrypt", self._private_handle(private), sealed)
        if plaintext is None or plaintext == cipher.masked:
            raise sm2_cipher.refused()
        return plaintext

    def sm4_gcm_encrypt(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm4`."""
        return sm4.sm4_gcm_encrypt(key, nonce, plaintext, aad)

    def sm4_gcm_decrypt(self, key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """See `guqiao_sdk.gm.sm4`."""
        return sm4.sm4_gcm_decrypt(key, nonce, sealed, aad)

    def _transform(
        self, verb: Literal["encrypt", "decrypt"], handle: Any, data: bytes
    ) -> bytes | None:
        """Encrypt or decrypt under a key; None where libcrypto refuses."""
        begin = getattr(self._lib, f"EVP_PKEY_{verb}_init")
        transform = getattr(self._lib, f"EVP_PKEY_{verb}")
        room = len(data) + sm2_cipher.OVERHEAD_BYTES_MAX
        made, size = self._ffi.new("unsigned char[]", room), self._ffi.new("size_t *", room)
        context = self._lib.EVP_PKEY_CTX_new(handle, self._ffi.NULL)
        try:
            if begin(context) != 1 or transform(context, made, size, data, len(data)) != 1:
                self._lib.ERR_clear_error()
                return None
            return bytes(self._ffi.buffer(made, size[0]))
        finally:
            self._lib.EVP_PKEY_CTX_free(context)

    def _open(self, names: Sequence[str]) -> Any:
        tried = []
        for name in self._candidates(names):
            tried.append(name)
            try:
                library: Any = self._ffi.dlopen(name)
                version = library.OpenSSL_version_num()
            except (OSError, AttributeError):
                continue
            if version >= VERSION_MIN and self._has_sm2(library):
                return library
        raise GmBackendUnavailableError(
            f"no libcrypto >= 1.1.1 with SM2 was found (tried {', '.join(tried)}). "
            "Install OpenSSL 3, or choose the backend gmssl for trials.",
            f"未找到支持 SM2 的 libcrypto 1.1.1 或更高版本(已尝试 {', '.join(tried)})。"
            "请安装 OpenSSL 3,或仅为试用选择 gmssl 后端。",
        )

    @staticmethod
    def _candidates(names: Sequence[str]) -> Iterator[str]:
        yield from names
        if names is LIBRARY_NAMES and (found := ctypes.util.find_library("crypto")) is not None:
            yield found

    @staticmethod
    def _has_sm2(library: Any) -> bool:
        try:
            key = library.EC_KEY_new_by_curve_name(_NID_SM2)
        except AttributeError:
            return False
        usable = bool(key)
        library.EC_KEY_free(key)
        library.ERR_clear_error()
        return usable

    def _verify_slice(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        return [self.verify(*item) for item in items]

    def _za(self, public_key: bytes) -> bytes:
        public = self._public(public_key)
        assert public is not None, "a private key's own point is on the curve"
        return public.za

    def _private_handle(self, private: PrivateKey) -> Any:
        match private.handle:
            case (owner, handle) if owner is self:
                return handle
        # Made by another backend, or by another instance of this one: load it for this call.
        loaded = self.load_private_key(private.export_scalar()).handle
        assert isinstance(loaded, tuple)
        return loaded[1]

    def _parse_public(self, public_key: bytes) -> _PublicKey | None:
        if not sm2.is_public_key(public_key):
            return None
        lib, null = self._lib, self._ffi.NULL
        with _Guard(self) as guard:
            key = guard.keep(lib.EC_KEY_new_by_curve_name(_NID_SM2), lib.EC_KEY_free)
            group = lib.EC_KEY_get0_group(key)
            point = guard.keep(lib.EC_POINT_new(group), lib.EC_POINT_free)
            guard.check(lib.EC_POINT_oct2point(group, point, public_key, len(public_key), null))
            guard.check(lib.EC_KEY_set_public_key(key, point))
            return _PublicKey(self._wrap(guard, key), sm2.za(public_key))

    def _wrap(self, guard: _Guard, key: Any) -> Any:
        """Give the EC_KEY to an EVP_PKEY that is freed with the Python object."""
        package = self._ffi.gc(self._lib.EVP_PKEY_new(), self._lib.EVP_PKEY_free)
        guard.check(self._lib.EVP_PKEY_assign(package, _EVP_PKEY_EC, key))
        guard.give_up(key)
        if hasattr(self._lib, "EVP_PKEY_set_alias_type"):  # 1.1.1; later versions see the curve.
            guard.check(self._lib.EVP_PKEY_set_alias_type(package, _NID_SM2))
        return package


class _Guard:
    """Frees what C code allocated, on every path out, and turns a failed call into `GmKeyError`."""

    def __init__(self, provider: LibcryptoProvider) -> None:
        self._provider = provider
        self._kept: list[tuple[Any, Any]] = []

    def keep(self, pointer: Any, free: Any) -> Any:
        self.check(bool(pointer))
        self._kept.append((pointer, free))
        return pointer

    def give_up(self, pointer: Any) -> None:
        self._kept = [entry for entry in self._kept if entry[0] != pointer]

    def check(self, result: int) -> None:
        if result != 1:
            self._provider._lib.ERR_clear_error()
            raise GmKeyError(
                "libcrypto refused this SM2 key; check that it is one",
                "libcrypto 拒绝了该 SM2 密钥;请检查密钥是否正确",
            )

    def __enter__(self) -> _Guard:
        return self

    def __exit__(self, *_: object) -> None:
        for pointer, free in reversed(self._kept):
            free(pointer)
