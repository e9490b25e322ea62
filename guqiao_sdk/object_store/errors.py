"""What can go wrong with a stored body, as typed errors with a symbolic code and both texts."""

from __future__ import annotations


class ObjectStoreError(Exception):
    """Base of the failures a caller is meant to handle. No text ever holds a body or a key."""

    code: str = "OBJECT_STORE_UNAVAILABLE"

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class StoreUnavailableError(ObjectStoreError):
    """The store cannot be used now, or is not there."""

    code = "OBJECT_STORE_UNAVAILABLE"


class StoreFullError(ObjectStoreError):
    """The store has no room; nothing was kept."""

    code = "OBJECT_STORE_FULL"


class ReferenceInvalidError(ObjectStoreError):
    """It is no reference of a body."""

    code = "BODY_REFERENCE_INVALID"


class BodySizeError(ObjectStoreError):
    """The body is empty or too large."""

    code = "BODY_SIZE_INVALID"


class BodyExistsError(ObjectStoreError):
    """Something is kept under this reference already; it is never replaced."""

    code = "BODY_EXISTS"


class BodyUnknownError(ObjectStoreError):
    """Nothing is kept under this reference."""

    code = "BODY_UNKNOWN"


class BodyErasedError(ObjectStoreError):
    """Key and salt of the body were destroyed."""

    code = "BODY_ERASED"


class BodyTamperedError(ObjectStoreError):
    """What is kept is not the body that was described."""

    code = "BODY_TAMPERED"


class BodyKeyDamagedError(ObjectStoreError):
    """The record of a body's key cannot be read, or is wrapped under another key."""

    code = "BODY_KEY_DAMAGED"
