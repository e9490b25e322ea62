"""Turns the SDK's errors into failures that a user is meant to see, with the catalogue's texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import grpc

from guqiao_sdk.errors import (
    DeniedError,
    ExhaustedError,
    GuqiaoError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
    error_from_rpc,
)
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.rules import UnknownCodeError, messages
from guqiaoctl.failures import (
    EXIT_CONFLICT,
    EXIT_DENIED,
    EXIT_NOT_FOUND,
    EXIT_UNAVAILABLE,
    EXIT_UNVERIFIED,
    EXIT_USAGE,
    CliError,
)
from guqiaoctl.proof_problems import in_chinese

P = ParamSpec("P")
R = TypeVar("R")

_EXIT_CODES: Final[tuple[tuple[type[GuqiaoError], int], ...]] = (
    (InvalidRequestError, EXIT_USAGE),
    (NotFoundError, EXIT_NOT_FOUND),
    (DeniedError, EXIT_DENIED),
    (UnavailableError, EXIT_UNAVAILABLE),
    (OutcomeUnknownError, EXIT_UNAVAILABLE),
    (ExhaustedError, EXIT_UNAVAILABLE),
)

_CODELESS: Final[tuple[tuple[type[GuqiaoError], str], ...]] = (
    (UnavailableError, "SERVICE_UNAVAILABLE"),
    (OutcomeUnknownError, "OUTCOME_UNKNOWN"),
)


def guarded(function: Callable[P, R], /, *arguments: P.args, **keywords: P.kwargs) -> R:
    """Call, and let every failure of the network come out as a `CliError`."""
    try:
        return function(*arguments, **keywords)
    except grpc.aio.AioRpcError as error:
        raise failure_of(error_from_rpc(error)) from error
    except GuqiaoError as error:
        raise failure_of(error) from error
    except ProofError as error:
        raise unverified(error) from error


def code_of(error: GuqiaoError) -> str:
    """The error's code. What no service of ours could say has one by its kind: the transport's own
    failures, such as a connection that is refused.
    """
    if error.code:
        return error.code
    return next((code for kind, code in _CODELESS if isinstance(error, kind)), "INTERNAL")


def failure_of(error: GuqiaoError) -> CliError:
    """The failure for an error of a service or a chain."""
    exit_code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_CONFLICT)
    code = code_of(error)
    try:
        texts = messages(code, **{"detail": str(error).lstrip(": "), **error.fields})
    except UnknownCodeError:
        return CliError(
            code,
            str(error),
            str(error),
            "try again, or look into `guqiao dev status` and `guqiao dev logs`",
            "请重试，或查看 `guqiao dev status` 与 `guqiao dev logs`",
            exit_code=exit_code,
        )
    return CliError(code, texts.en, texts.zh, texts.remedy_en, texts.remedy_zh, exit_code=exit_code)


def unverified(error: ProofError) -> CliError:
    """The failure for a proof that does not hold: it names the piece."""
    piece_zh, reason_zh = in_chinese(error)
    if error.code.startswith(("RESTART_", "CERTIFICATE_", "CRL_", "SEAL_", "TRUST_EXPIRED")):
        texts = messages(error.code)
        remedies = (texts.remedy_en, texts.remedy_zh)
    else:
        remedies = (
            "do not rely on it; ask its sender for the original",
            "请勿采信；请向提供者索取原件",
        )
    return CliError(
        error.code,
        f"{error.piece}: {error.detail}",
        f"{piece_zh}：{reason_zh}",
        *remedies,
        exit_code=EXIT_UNVERIFIED,
    )
