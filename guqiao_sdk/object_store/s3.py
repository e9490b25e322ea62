"""Objects in a bucket of an S3-compatible store, by the library obstore.

The bucket is made by whoever runs the store. The library signs requests with what that protocol
asks for, which is no national algorithm: nothing but reaching the store rests on it, since bodies
are sealed under SM4 before they come here and held against their SM3 digest when they come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store as Bucket

from guqiao_sdk.object_store.errors import (
    BodyUnknownError,
    ObjectStoreError,
    StoreFullError,
    StoreUnavailableError,
)
from guqiao_sdk.object_store.port import (
    OBJECT_BYTES_MAX,
    ObjectFacts,
    check_reference,
    exists,
    unknown,
)
from guqiao_sdk.proof.json_values import JsonError, parse_json_strict

SETTINGS_BYTES_MAX: Final = 16_384
REQUEST_SECONDS: Final = 60
RETRIES_MAX: Final = 3
RETRY_SECONDS: Final = 30
_NO_BUCKET: Final = "NoSuchBucket"
_NO_ROOM: Final = ("507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded")


class S3SettingsError(ValueError):
    """What is wrong with settings of a bucket; the text never shows the secret."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is. `endpoint` is a URL; http is taken where it is asked for, for stores
    that are reached through the GM tunnel.
    """

    endpoint: str
    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    prefix: str = ""

    @staticmethod
    def from_json(content: bytes) -> S3Settings:
        """Read a JSON object of these members, of which `prefix` may be left out; raises
        `S3SettingsError`.
        """
        try:
            value = parse_json_strict(content, depth_max=2, size_max=SETTINGS_BYTES_MAX)
        except JsonError as error:
            raise S3SettingsError(f"not JSON ({error})") from None
        names = {each.name for each in fields(S3Settings)}
        if not isinstance(value, dict) or not names - {"prefix"} <= value.keys() <= names:
            raise S3SettingsError(f"not an object of {', '.join(sorted(names))}")
        texts = {name: part for name, part in value.items() if isinstance(part, str) and part}
        wrong = sorted(value.keys() - texts.keys() - {"prefix"})
        if wrong:
            raise S3SettingsError(f"{wrong[0]} is no text")
        if not texts["endpoint"].startswith(("http://", "https://")):
            raise S3SettingsError("endpoint is no URL of http or https")
        return S3Settings(**texts)


class S3Store:
    """`ObjectStore` over a bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._name = f"{settings.endpoint}/{settings.bucket}"
        self._bucket = Bucket(
            settings.bucket,
            prefix=settings.prefix or None,
            endpoint=settings.endpoint,
            region=settings.region,
            access_key_id=settings.access_key_id,
            secret_access_key=settings.secret_access_key,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": settings.endpoint.startswith("http://"),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            },
        )

    async def put(self, reference: str, content: bytes) -> None:
        """See `ObjectStore`."""
        check_reference(reference)
        with self._naming(reference):
            try:
                await obstore.put_async(
                    self._bucket, reference, content, mode="create", use_multipart=False
                )
            except AlreadyExistsError:
                raise exists(reference) from None

    async def get(self, reference: str) -> bytes:
        """See `ObjectStore`."""
        check_reference(reference)
        with self._naming(reference):
            found = await obstore.get_async(self._bucket, reference)
            if found.meta["size"] <= OBJECT_BYTES_MAX:
                return bytes(await found.bytes_async())
            first = await obstore.get_range_async(
                self._bucket, reference, start=0, length=OBJECT_BYTES_MAX + 1
            )
            return bytes(first)

    async def delete(self, reference: str) -> None:
        """See `ObjectStore`."""
        check_reference(reference)
        with self._naming(reference):
            await obstore.delete_async(self._bucket, reference)

    async def stat(self, reference: str) -> ObjectFacts | None:
        """See `ObjectStore`."""
        check_reference(reference)
        try:
            with self._naming(reference):
                found = await obstore.head_async(self._bucket, reference)
        except BodyUnknownError:
            return None
        return ObjectFacts(found["size"])

    @contextmanager
    def _naming(self, reference: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise self._unavailable("there is no such bucket", "没有该存储桶") from error
            raise unknown(reference) from None
        except (BaseError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ObjectStoreError:
        """The library's text is for logs, which the cause keeps; a user is told which kind."""
        if any(sign in str(error) for sign in _NO_ROOM):
            return StoreFullError(
                f"the store {self._name} has no room", f"存储 {self._name} 空间不足"
            )
        kind = type(error).__name__
        return self._unavailable(f"the request failed ({kind})", f"请求失败（{kind}）")

    def _unavailable(self, en: str, zh: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"the store {self._name} cannot be used: {en}", f"无法使用存储 {self._name}：{zh}"
        )
