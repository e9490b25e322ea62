"""Turns a wrong command line into one message with code, remedy and exit code 2, in zh and en.

The library that parses the command line knows English only and prints a box of its own. Imported
only when a command line was wrong, so that help stays instant.
"""

from __future__ import annotations

import re
from typing import Final

from typer._click.exceptions import BadParameter, UsageError

from guqiaoctl.failures import EXIT_USAGE, CliError

_CODE: Final = "USAGE_WRONG"

_SENTENCES: Final = (
    (re.compile(r"No such command '(.*?)'\.?(?: .*)?"), "没有命令 {}"),
    (re.compile(r"Missing command"), "缺少命令"),
    (re.compile(r"Got unexpected extra arguments? ?\(?s?\)? ?\((.*)\)"), "多余的参数 {}"),
    (re.compile(r"Option '(.*)' requires an argument"), "选项 {} 需要一个值"),
)


def usage_failure(error: UsageError) -> CliError:
    """The failure to show for a wrong command line."""
    text_en = " ".join(error.format_message().rstrip(".?").split())
    command = error.ctx.command_path if error.ctx is not None else "guqiao"
    return CliError(
        _CODE,
        text_en,
        _in_chinese(error, text_en),
        f"See `{command} --help`",
        f"请查看 `{command} --help`",
        exit_code=EXIT_USAGE,
    )


def _in_chinese(error: UsageError, text_en: str) -> str:
    """The sentence by kind of error; what has no sentence of its own keeps the parser's words."""
    for pattern, sentence in _SENTENCES:
        found = pattern.fullmatch(text_en)
        if found is not None:
            return sentence.format(*found.groups())
    kind = type(error).__name__
    option = getattr(error, "option_name", "")
    match kind:
        case "NoSuchOption":
            return f"没有选项 {option}" + _instead(error)
        case "BadOptionUsage":
            return f"选项 {option} 的用法有误（{text_en}）"
        case "MissingParameter":
            return f"缺少参数 {_parameter(error)}"
        case "BadParameter":
            return f"参数 {_parameter(error)} 的值无效（{error.message}）"
        case _:
            return f"命令行有误（{text_en}）"


def _parameter(error: UsageError) -> str:
    parameter = error.param if isinstance(error, BadParameter) else None
    if parameter is None:
        return "?"
    return " / ".join(parameter.opts) if parameter.opts else str(parameter.name)


def _instead(error: UsageError) -> str:
    possibilities = getattr(error, "possibilities", None) or ()
    return f"，是否想用 {'、'.join(possibilities)}" if possibilities else ""
