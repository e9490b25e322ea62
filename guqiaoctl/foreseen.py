"""Turns every failure that is foreseen into one message with code, remedy and exit code.

Whatever a command meets (a service that is away, a full disk, a file that cannot be read) comes out
here as a `CliError`; what is left is a bug of ours and keeps its traceback. Imported only when a
command has failed, so that help stays instant.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import asyncpg
import grpc

from guqiao_sdk.errors import GuqiaoError, error_from_rpc
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.object_store.errors import ObjectStoreError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.rules import Messages, UnknownCodeError, messages
from guqiaoctl.commands.calls import failure_of, unverified
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_DENIED,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_UNVERIFIED,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.supervisor.supervisor import StartError
from services.chassis.bus.transient import is_transient
from services.chassis.errors import causes
from services.chassis.postgres.errors import (
    DataFolderInUseError,
    DiskFullError,
    PortInUseError,
    PostgresError,
)
from services.chassis.settings import SettingsError
from services.consensus.domain.ledger.genesis import GenesisError
from services.consensus.store.errors import StorageError

_POSTGRES: Final[tuple[tuple[type[PostgresError], str, int], ...]] = (
    (DataFolderInUseError, "DATA_FOLDER_IN_USE", EXIT_CONFLICT),
    (PortInUseError, "PORT_IN_USE", EXIT_UNAVAILABLE),
    (DiskFullError, "DISK_FULL", EXIT_UNAVAILABLE),
    (PostgresError, "START_FAILED", EXIT_UNAVAILABLE),
)
_STORAGE: Final = {
    "STORAGE_RECORD_DAMAGED": EXIT_UNVERIFIED,
    "STORAGE_FAILED": EXIT_UNAVAILABLE,
    "SEGMENT_ARCHIVED": EXIT_UNAVAILABLE,
    "INDEX_FULL": EXIT_UNAVAILABLE,
    "DISK_FULL": EXIT_UNAVAILABLE,
}
"""Of a replica's data folder; the others are conflicts."""
_OF_DOCUMENTS: Final = {
    "SEALED_CHANGED": EXIT_UNVERIFIED,
    "SEALED_FOR_OTHERS": EXIT_DENIED,
    "BODY_TAMPERED": EXIT_UNVERIFIED,
    "BODY_KEY_DAMAGED": EXIT_UNVERIFIED,
    "BODY_UNKNOWN": EXIT_NOT_FOUND,
    "BODY_SIZE_INVALID": EXIT_USAGE,
    "OBJECT_STORE_FULL": EXIT_UNAVAILABLE,
    "OBJECT_STORE_UNAVAILABLE": EXIT_UNAVAILABLE,
}
"""What a sealed or stored document fails with."""
_OF_DATABASE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_NO_SPACE: Final = os.strerror(errno.ENOSPC)
_OF_SYSTEM: Final = {
    errno.EADDRINUSE: ("PORT_IN_USE", EXIT_UNAVAILABLE),
    errno.ENOSPC: ("DISK_FULL", EXIT_UNAVAILABLE),
    errno.EDQUOT: ("DISK_FULL", EXIT_UNAVAILABLE),
    errno.ENOENT: ("FILE_UNREADABLE", EXIT_NOT_FOUND),
    errno.EISDIR: ("FILE_UNREADABLE", EXIT_USAGE),
    errno.EACCES: ("FILE_UNREADABLE", EXIT_DENIED),
    errno.EPERM: ("FILE_UNREADABLE", EXIT_DENIED),
}


def foreseen(error: BaseException) -> CliError | None:
    """The failure to show, or None for a bug."""
    for cause in causes(error):
        failure = _failure(cause)
        if failure is not None:
            return failure
    return None


def _failure(cause: BaseException) -> CliError | None:
    match cause:
        case CliError():
            return cause
        case StartError():
            return _start_failure(cause)
        case GenesisError():
            return _with_remedy("GENESIS_INVALID", str(cause), str(cause), EXIT_USAGE)
        case ProofError():
            return unverified(cause)
        case grpc.aio.AioRpcError():
            return failure_of(error_from_rpc(cause))
        case GuqiaoError():
            return failure_of(cause)
        case _:
            return _failure_of_system(cause)


def _failure_of_system(cause: BaseException) -> CliError | None:
    match cause:
        case SettingsError():
            return _with_remedy("SETTINGS_INVALID", str(cause), str(cause), EXIT_USAGE)
        case StorageError():
            return _storage_failure(cause)
        case GmError():
            exit_code = _OF_DOCUMENTS.get(cause.code, EXIT_USAGE)
            return _with_remedy(cause.code, cause.en, cause.zh, exit_code)
        case ObjectStoreError():
            exit_code = _OF_DOCUMENTS.get(cause.code, EXIT_CONFLICT)
            return _with_remedy(cause.code, cause.en, cause.zh, exit_code)
        case PostgresError():
            _, code, exit_code = next(row for row in _POSTGRES if isinstance(cause, row[0]))
            return _with_remedy(code, cause.text_en, cause.text_zh, exit_code)
        case _ if isinstance(cause, _OF_DATABASE) and is_transient(cause):
            # A server that ran out of space under a connection says so in words alone.
            is_full = isinstance(cause, asyncpg.DiskFullError) or _NO_SPACE in str(cause)
            code = "DISK_FULL" if is_full else "DATABASE_UNAVAILABLE"
            return _with_remedy(code, str(cause), str(cause), EXIT_UNAVAILABLE)
        case OSError():
            default = ("FILE_UNREADABLE", EXIT_UNAVAILABLE)
            code, exit_code = _OF_SYSTEM.get(cause.errno or 0, default)
            text = f"{cause.filename or ''} {cause.strerror or cause}".strip()
            return _with_remedy(code, text, text, exit_code)
    return None


def _storage_failure(error: StorageError) -> CliError:
    """One of a replica's data folder or archive; its own text is in English."""
    text = str(error).removeprefix(f"{error.code}: ").partition(";")[0]
    subject = error.subject
    texts = messages(error.code, path=subject, segment=Path(subject).name, archive=subject)
    zh = texts.zh if subject in texts.zh else f"{texts.zh.rstrip('。')}：{subject}"
    return _with_remedy(error.code, text, zh, _STORAGE.get(error.code, EXIT_CONFLICT))


def _start_failure(error: StartError) -> CliError:
    """A process that refused to start said why in its last line, with a code of its own."""
    if not error.code:
        return _with_remedy("START_FAILED", error.text_en, error.text_zh, EXIT_UNAVAILABLE)
    exit_code = error.exit_code if error.exit_code in _EXIT_CODES else EXIT_UNAVAILABLE
    remedy = f". {_texts(error.code).remedy_en}"  # It said that as well: once is enough.
    text_en, text_zh = (text.removesuffix(remedy) for text in (error.text_en, error.text_zh))
    return _with_remedy(error.code, text_en, text_zh, exit_code)


_EXIT_CODES: Final = frozenset({EXIT_USAGE, EXIT_CONFLICT, EXIT_UNAVAILABLE})


def _with_remedy(code: str, text_en: str, text_zh: str, exit_code: int) -> CliError:
    texts = _texts(code)
    return CliError(
        code,
        " ".join(text_en.split()),
        " ".join(text_zh.split()),
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=exit_code,
    )


def _texts(code: str) -> Messages:
    try:
        return messages(code)
    except UnknownCodeError:
        return Messages("", "", f"请执行 `guqiao explain {code}`", f"see `guqiao explain {code}`")
