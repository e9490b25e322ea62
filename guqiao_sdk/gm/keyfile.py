"""SM2 private keys in files: PEM PKCS#8 as OpenSSL writes it, readable by the owner only.

A key file that its group or the world can read is refused, not merely complained about. Keys in
files are for development and for sites that name them explicitly; production keys live in a device.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from asn1crypto import keys, pem

from guqiao_sdk.files import write_beside
from guqiao_sdk.gm import sm2
from guqiao_sdk.gm.asn1 import SM2_CURVE_OID, curve_parameters
from guqiao_sdk.gm.errors import GmError, KeyFileError
from guqiao_sdk.gm.provider import GmProvider, PrivateKey

_LABEL: Final = "PRIVATE KEY"
_SIZE_MAX: Final = 16 * 1024
_MODE: Final = 0o600


def save_private_key(path: Path, private: PrivateKey) -> None:
    """Write a new key file with mode 0600, whole or not at all. An existing file is never
    overwritten.
    """
    new = write_beside(path, private_key_to_pem(private), _MODE)
    try:
        os.link(new, path)  # Unlike a rename, it takes nobody's place.
    except FileExistsError:
        raise _refused(
            path,
            "it exists already, and a key is never overwritten; move it away first",
            "文件已存在,密钥不会被覆盖;请先移走该文件",
        ) from None
    finally:
        new.unlink()


def load_private_key(path: Path, provider: GmProvider) -> PrivateKey:
    """Read a key file, or raise `KeyFileError`."""
    return private_key_from_pem(read_guarded(path), provider, path)


def read_guarded(path: Path) -> bytes:
    """Return the bytes of a file that only its owner can read, or raise `KeyFileError`."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _refused(
                    path,
                    f"its mode is {mode:04o}, so others can reach it; run chmod 600",
                    f"其权限为 {mode:04o},他人可访问;请执行 chmod 600",
                )
            return file.read(_SIZE_MAX)
    except OSError as error:
        text = error.strerror or type(error).__name__
        raise _refused(path, f"it cannot be read ({text})", f"无法读取({text})") from error


def private_key_to_pem(private: PrivateKey) -> bytes:
    """Return PEM PKCS#8, which holds the secret in the clear: for key files and TLS only."""
    scalar = int.from_bytes(private.export_scalar(), "big")
    inner = keys.ECPrivateKey(
        {"version": "ecPrivkeyVer1", "private_key": scalar, "public_key": private.public_key}
    )
    inner.set_key_size(sm2.SCALAR_SIZE)
    info = keys.PrivateKeyInfo(
        {
            "version": 0,
            "private_key_algorithm": {"algorithm": "ec", "parameters": curve_parameters()},
            "private_key": inner,
        }
    )
    armoured: bytes = pem.armor(_LABEL, info.dump())
    return armoured


def private_key_from_pem(data: bytes, provider: GmProvider, path: Path) -> PrivateKey:
    """Parse PEM PKCS#8; `path` names the file in errors."""
    try:
        label, _, encoded = pem.unarmor(data)
        info = keys.PrivateKeyInfo.load(encoded, strict=True)
        algorithm = info["private_key_algorithm"]
        curve = algorithm["parameters"].chosen.dotted
        inner = info["private_key"].parsed
        scalar = inner["private_key"].contents
        public = inner["public_key"].native
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise _malformed(path) from None
    if label != _LABEL or curve != SM2_CURVE_OID:
        raise _malformed(path)
    try:
        private = provider.load_private_key(scalar)
    except GmError as error:
        raise _refused(path, error.en, error.zh) from None
    if public is not None and public != private.public_key:
        raise _malformed(path)
    return private


def _malformed(path: Path) -> KeyFileError:
    return _refused(
        path,
        "it is not an unencrypted PEM PKCS#8 key on the SM2 curve",
        "它不是 SM2 曲线上的未加密 PEM PKCS#8 私钥",
    )


def _refused(path: Path, en: str, zh: str) -> KeyFileError:
    return KeyFileError(f"key file {path.name} refused: {en}", f"拒绝密钥文件 {path.name}:{zh}")
