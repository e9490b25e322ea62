"""Templates in files: YAML, with the source of the contract in a file beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.package import (
    Code,
    code_of_source,
    is_of_source,
)
from services.consensus.domain.contracts.star.syntax import compile_parts
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX
from services.consensus.domain.contracts.template.faults import (
    Path as Place,
)
from services.consensus.domain.contracts.template.faults import (
    TemplateError,
    sentences,
    shown_path,
)
from services.consensus.domain.contracts.template.form import OWN, read_template
from services.consensus.domain.contracts.template.model import Template

MALFORMED: Final = "TEMPLATE_MALFORMED"
SOURCE_OTHER: Final = "TEMPLATE_SOURCE_OTHER"
SOURCE: Final = "source"
SOURCES: Final = "sources"
FORM: Final = "form"
SOURCES_MAX: Final = 32
_PART_FILE: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\.star")
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


def load_deployable(path: Path) -> Template:
    """The same of a template that contracts are deployed by; raises `CliError`, exit code 7, for
    one of a contract of the chain's own, which comes with the software.
    """
    found = load_template(path)
    if found.own is not None:
        _, lines = read_yaml(read_input(path, BYTES_MAX))
        raise _refused(path, _line(lines, (OWN,)), TemplateError("own_not_deployed", (OWN,)))
    return found


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


def load_own_form(path: Path) -> Module:
    """The program that a template of a contract of the chain's own is about, from the sources that
    its file names; raises `CliError`, exit code 7, with file, line and a sentence.
    """
    value, _ = read_yaml(read_input(path, BYTES_MAX))
    assert isinstance(value, dict), "it was loaded as a template"
    return _program(path, _sources(value[OWN]))


def _program(path: Path, names: Sequence[str]) -> Module:
    """Sources in several files, each within the bounds of one, are one program."""
    parts = [read_input(path.with_name(name), SOURCE_BYTES_MAX) for name in names]
    try:
        return compile_parts(parts)
    except SourceError as error:
        raise source_refused(path, error) from None


def _sources(named: Json) -> list[str]:
    """The names of the files, in the order of the program."""
    if not isinstance(named, dict):
        raise TemplateError("object", (OWN,))
    if SOURCES not in named:
        raise TemplateError("missing", (OWN,), member=SOURCES)
    names = named[SOURCES]
    if not isinstance(names, list) or not 0 < len(names) <= SOURCES_MAX:
        raise TemplateError("list", (OWN, SOURCES))
    found = []
    for number, name in enumerate(names):
        if not isinstance(name, str) or not _PART_FILE.fullmatch(name):
            raise TemplateError("source_file", (OWN, SOURCES, number))
        found.append(name)
    return found


def _with_form(value: dict[str, Json], path: Path) -> Json:
    """The value as it is known: the digest of a program in place of its files' names."""
    named = value[OWN]
    names = _sources(named)
    assert isinstance(named, dict), "its sources were read"
    if FORM in named:
        raise TemplateError("unknown", (OWN, FORM), member=FORM)
    rest = {member: part for member, part in named.items() if member != SOURCES}
    return {**value, OWN: {**rest, FORM: _program(path, names).digest.hex()}}


def _with_code(value: Json, path: Path) -> Json:
    """The value as it goes on chain: the contract itself in place of its file's name."""
    if not isinstance(value, dict):
        raise TemplateError("object", ())
    if OWN in value:
        return _with_form(value, path)
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
