"""Failures that the client itself finds out, with the same texts as those a service sends."""

from __future__ import annotations

from typing import TypeVar

from guqiao_sdk import rules
from guqiao_sdk.errors import ErrorFacts, GuqiaoError, OutcomeUnknownError
from guqiao_sdk.proof.transaction import SignedTransaction

E = TypeVar("E", bound=GuqiaoError)


def failure(kind: type[E], code: str, **fields: str) -> E:
    """An error of `kind` with the catalogue's texts for `code`."""
    texts = rules.messages(code, **fields)
    return kind(
        ErrorFacts(
            code=code,
            message=f"{code}: {texts.en}",
            zh=f"{texts.zh}{texts.remedy_zh}",
            en=f"{texts.en} {texts.remedy_en}",
            fields=fields,
        )
    )


def unknown_outcome(transaction: SignedTransaction) -> OutcomeUnknownError:
    """Nobody could tell what became of `transaction`: ask again with the same transaction."""
    return failure(OutcomeUnknownError, "OUTCOME_UNKNOWN", transaction_id=transaction.id().hex())
