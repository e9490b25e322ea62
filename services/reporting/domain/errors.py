"""What reporting refuses."""

from __future__ import annotations

from services.chassis.errors import InvalidError, NotFoundError


class ObjectUnknownError(NotFoundError):
    """An object, or a version of it, that the chain has not recorded."""

    def __init__(self, object_id: str, version: int) -> None:
        super().__init__("OBJECT_UNKNOWN", object_id=object_id, version=version)


class PageTokenInvalidError(InvalidError):
    """A page token that this service did not give."""

    def __init__(self) -> None:
        super().__init__("PAGE_TOKEN_INVALID")
