"""How the command line fails: one code, one sentence, one remedy, in the user's language, and an
exit code.

Exit codes: 0 ok, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable, 7 verification failed.
"""

from __future__ import annotations

from typing import Final

EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_DENIED: Final = 4
EXIT_CONFLICT: Final = 5
EXIT_UNAVAILABLE: Final = 6
EXIT_UNVERIFIED: Final = 7


class CliError(Exception):
    """A failure that the user is meant to see."""

    def __init__(
        self,
        code: str,
        text_en: str,
        text_zh: str,
        remedy_en: str,
        remedy_zh: str,
        *,
        exit_code: int = EXIT_CONFLICT,
    ) -> None:
        super().__init__(f"{code}: {text_en}. {remedy_en}.")
        self.code = code
        self.texts = {"en": (text_en, remedy_en), "zh": (text_zh, remedy_zh)}
        self.exit_code = exit_code
