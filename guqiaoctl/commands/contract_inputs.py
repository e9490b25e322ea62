"""What a contract that runs on this machine is given: arguments, state, who signs and when."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from guqiao_sdk.personal_data import find_personal_data
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX
from guqiao_sdk.rules import messages
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import shown
from guqiaoctl.result_files import whole_file
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.model import Template
from services.consensus.domain.contracts.template.tiers import TierMap

STATE_BYTES_MAX: Final = 64 * 1024 * 1024
DEPTH_MAX: Final = 32
PERSONAL: Final = "TIER_NONPUBLIC_ONCHAIN"

_BEIJING: Final = timezone(timedelta(hours=8))
_MILLISECONDS_MAX: Final = 253_370_764_800_000
"""The year 9999 in no time zone yet."""
_DID: Final = re.compile(r"did:[a-z0-9]{1,32}(?::[A-Za-z0-9._%-]{1,128}){1,8}")
_ROLE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY: Final = re.compile(r"[!-~]{1,256}")


class WrongArgumentsError(Exception):
    """The arguments are not what a contract can be called with."""

    def __init__(self, why: str, where: str) -> None:
        super().__init__(f"{why} at {where}")
        self.why = why
        self.where = where


def arguments_of(text: str) -> dict[str, Json]:
    """A JSON object by name, as strict as a chain reads it; raises `WrongArgumentsError`."""
    try:
        value = parse_json_strict(
            os.fsencode(text), depth_max=DEPTH_MAX, size_max=PAYLOAD_BYTES_MAX
        )
    except JsonError as error:
        raise WrongArgumentsError(error.fault.value, error.where) from None
    if not isinstance(value, dict):
        raise WrongArgumentsError("not an object", "$")
    return value


def refuse_personal_data(text: str) -> None:
    """Raise `CliError` for arguments with a number of a person, which no chain may hold. It is told
    where and of which kind, never the number. What are no arguments is not judged.
    """
    try:
        found = find_personal_data(arguments_of(text))
    except WrongArgumentsError:
        return
    if found is not None:
        texts = messages(PERSONAL)
        raise CliError(
            PERSONAL,
            f"--args: {shown(found.path)}: {found.kind}: {texts.en}",
            f"--args：{shown(found.path)}：{found.kind}：{texts.zh}",
            texts.remedy_en,
            texts.remedy_zh,
            exit_code=EXIT_USAGE,
        )


def state_of(path: Path | None, *, may_be_missing: bool) -> dict[str, Json]:
    """The state of the contract; none is empty, and a missing file too where it may be."""
    if path is None or (may_be_missing and not os.path.lexists(path)):
        return {}
    try:
        value = parse_json_strict(
            read_input(path, STATE_BYTES_MAX), depth_max=DEPTH_MAX + 1, size_max=STATE_BYTES_MAX
        )
    except JsonError as error:
        raise _no_state(path, str(error)) from None
    if not isinstance(value, dict):
        raise _no_state(path, "not an object")
    check_state(value, path)
    return value


def check_state(state: dict[str, Json], path: Path) -> None:
    """Raise `CliError` for what no state of a contract holds."""
    for key, part in state.items():
        if part is None or not _KEY.fullmatch(key):
            raise _no_state(path, f"member {shown(key[:64])}")


def write_state_file(path: Path, state: dict[str, Json]) -> None:
    """Replace the file in one step: it holds the old state or the new one, never a part."""
    text = json.dumps(state, ensure_ascii=False, indent=2)
    with whole_file(path) as write:
        write(f"{text}\n".encode())


def surroundings_of(
    sender: tuple[str, Sequence[str]],
    checker: tuple[str, Sequence[str]] | None,
    height: int,
    time: str,
) -> Surroundings:
    """Who signs and when; raises `CliError` for what is no DID, role or time."""
    at_ms = _milliseconds(time)
    at = datetime.fromtimestamp(at_ms // 1000, _BEIJING)
    return Surroundings(
        maker=_party("--sender", sender),
        checker=None if checker is None else _party("--checker", checker),
        height=height,
        block_time_ms=at_ms,
        business_time=at.isoformat(timespec="seconds"),
    )


def _party(option: str, signer: tuple[str, Sequence[str]]) -> Party:
    did, roles = signer
    if not _DID.fullmatch(did):
        raise _wrong(option, f"{shown(did)} is no DID", f"{shown(did)} 不是 DID")
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise _wrong(f"{option}-role", f"{shown(role)} is no role", f"{shown(role)} 不是角色")
    return Party(did, "", did, frozenset(roles))


def _milliseconds(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 15:
        at_ms = int(text)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise _no_time(text)
        at_ms = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if not 0 <= at_ms < _MILLISECONDS_MAX:
        raise _no_time(text)
    return at_ms


def _no_time(text: str) -> CliError:
    return _wrong(
        "--time",
        f"{shown(text)} is no time of the form 2026-01-05T10:00:00+08:00, and no milliseconds",
        f"{shown(text)} 不是形如 2026-01-05T10:00:00+08:00 的时间，也不是毫秒数",
    )


def _wrong(option: str, why_en: str, why_zh: str) -> CliError:
    return CliError(
        "USAGE_WRONG",
        f"{option}: {why_en}",
        f"{option}：{why_zh}",
        "See `guqiao contract run --help`",
        "请查看 `guqiao contract run --help`",
        exit_code=EXIT_USAGE,
    )


def _no_state(path: Path, why: str) -> CliError:
    texts = messages("CONTRACT_STATE_MALFORMED", why=why)
    return CliError(
        "CONTRACT_STATE_MALFORMED",
        f"{shown(path)}: {texts.en}",
        f"{shown(path)}：{texts.zh}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_USAGE,
    )


def host_by(
    template: Template | None, state: Mapping[str, Json], around: Surroundings, meter: Meter
) -> MemoryHost:
    """A host that holds calls against a template, if one is given, as a chain does."""
    if template is None:
        return MemoryHost(state, around)
    guard = TierGuard(TierMap.of(template), meter)
    return MemoryHost(state, around, guard=guard, life_cycle=LifeCycle.of(template))
