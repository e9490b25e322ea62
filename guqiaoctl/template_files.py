"""Templates in files: YAML, with the source of the contract in a file beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.rules import messages
from guqiaoctl.commands.contracts import source_refused
from guqiaoctl.failures import EXIT_UNVERIFIED, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import shown
from guqiaoctl.strict_yaml import BYTES_MAX, YamlError, read_yaml
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.package import (
    Code,
    code_of_source,
    is_of_source,
)
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX
from services.consensus.domain.contracts.template.faults import (
    Path as Place,
)
from services.consensus.domain.contracts.template.faults import (
    TemplateError,
    sentences,
    shown_path,
)
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import Template

MALFORMED: Final = "TEMPLATE_MALFORMED"
SOURCE_OTHER: Final = "TEMPLATE_SOURCE_OTHER"
SOURCE: Final = "source"
_SOURCE_FILE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\.star")


def load_template(path: Path) -> Template:
    """The template that a file and its contract's source are; raises `CliError`, exit code 7, with
    file, line, place and a sentence.
    """
    try:
        value, lines = read_yaml(read_input(path, BYTES_MAX))
    except YamlError as error:
        raise _refused(path, error.line, error.fault) from None
    try:
        return read_template(_with_code(value, path))
    except TemplateError as error:
        raise _refused(path, _line(lines, error.path), error) from None


def load_code(path: Path) -> Code:
    """The contract in a file; raises `CliError`, exit code 7, with file, line and a sentence."""
    source = read_input(path, SOURCE_BYTES_MAX)
    try:
        return code_of_source(source)
    except SourceError as error:
        raise source_refused(path, error) from None


def require_own_source(template: Template) -> None:
    """Raise `CliError`, exit code 7, unless the source that a template shows is the program that it
    holds: a chain reads the program alone.
    """
    code = template.contract
    try:
        is_same = is_of_source(code.source, code.module.digest.hex())
    except SourceError:
        is_same = False
    if not is_same:
        texts = messages(SOURCE_OTHER)
        raise CliError(
            SOURCE_OTHER,
            texts.en,
            texts.zh,
            texts.remedy_en,
            texts.remedy_zh,
            exit_code=EXIT_UNVERIFIED,
        )


def _with_code(value: Json, path: Path) -> Json:
    """The value as it goes on chain: the contract itself in place of its file's name."""
    if not isinstance(value, dict):
        raise TemplateError("object", ())
    if "contract" in value:
        raise TemplateError("unknown", ("contract",), member="contract")
    if SOURCE not in value:
        raise TemplateError("missing", (), member=SOURCE)
    name = value[SOURCE]
    if not isinstance(name, str) or not _SOURCE_FILE.fullmatch(name):
        raise TemplateError("source_file", (SOURCE,))
    rest = {member: part for member, part in value.items() if member != SOURCE}
    return {**rest, "contract": load_code(path.with_name(name)).to_json()}


def _line(lines: dict[Place, int], path: Place) -> int:
    """Where a place stands; what is missing stands where it should be a member."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _refused(path: Path, line: int, error: TemplateError) -> CliError:
    zh, en = sentences(error)
    texts = messages(MALFORMED, rule=error.rule)
    at = shown_path(error.path)
    place = f"{shown(path)}:{line}"
    return CliError(
        MALFORMED,
        f"{place}: {shown(f'{at}: ' if at else '')}{shown(en)}",
        f"{place}：{shown(f'{at}：' if at else '')}{shown(zh)}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_UNVERIFIED,
    )
