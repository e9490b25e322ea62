"""What can go wrong with national cryptography, as typed errors with a symbolic code.

Every error carries an English text (`str(error)`) and a Chinese one (`error.zh`): what happened,
with which facts, and what to do about it. No text ever holds key material.
"""

from __future__ import annotations


class GmError(Exception):
    """Base of the failures a caller of `guqiao_sdk.gm` is meant to handle."""

    code: str = "GM_ERROR"

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class GmBackendUnavailableError(GmError):
    """The asked-for backend cannot be used on this machine."""

    code = "GM_BACKEND_UNAVAILABLE"


class GmSelfTestError(GmError):
    """A backend failed a standard vector. It must not be used: the process refuses to start."""

    code = "GM_SELF_TEST_FAILED"


class GmKeyError(GmError):
    """A private key is not an SM2 scalar, or cannot be used."""

    code = "GM_KEY_INVALID"


class GmSignError(GmError):
    """The backend could not sign."""

    code = "GM_SIGN_FAILED"


class GmDecryptError(GmError):
    """Authenticated decryption failed: wrong key, nonce or context, or the data was changed."""

    code = "GM_DECRYPT_FAILED"


class GmParameterError(GmError):
    """A key or nonce has the wrong size."""

    code = "GM_PARAMETER_INVALID"


class AlgorithmNotGmError(GmError):
    """An algorithm outside the allow-list was named."""

    code = "ALG_NOT_GM"


class KeyFileError(GmError):
    """A key file is missing, malformed, or readable by others."""

    code = "KEY_FILE_REFUSED"
