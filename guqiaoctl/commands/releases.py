"""What `guqiao contract deploy` and `upgrade` bring beside the source, where the chain asks for it:
a template in force, the report of tests, the risk review, and the signature of who reviewed both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import DEPTH_BOUND, Json, JsonError, parse_json_strict
from guqiao_sdk.rules import messages
from guqiaoctl.commands.proven_templates import proven_notice, read_proven_template
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.output import shown
from guqiaoctl.template_files import require_own_source
from services.consensus.domain.contracts.deployed import (
    BY_LIFE_CYCLE,
    BY_RELEASE,
    BY_TEMPLATE,
    CONTRACTS,
)
from services.consensus.domain.contracts.deployment_changes import FORMER_TEMPLATE
from services.consensus.domain.contracts.deployment_notice import (
    CHANGE_LIST_BYTES_MAX,
    NOTICE,
)
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.ledger.genesis_json import parse_genesis

REVIEWERS: Final = {CSRC: "tech", MARKET: "checker"}
"""The account of each chain that reviews contracts."""
REPORT_BYTES_MAX: Final = 16 * 1024 * 1024
REVIEW_BYTES_MAX: Final = 64 * 1024 * 1024
_SPELLED: Final = re.compile(r"([a-z][a-z0-9_]{1,47})@([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Release:
    """`template` as `id@version`, None where nobody gave one."""

    template: str | None = None
    tests: Path | None = None
    risk_review: Path | None = None
    notice: int | None = None
    change_list: Path | None = None


def asks_for_template(network: Network, chain: str) -> bool:
    """Whether contracts on this chain run by templates: its genesis says so."""
    return _version_at(network, chain) >= BY_TEMPLATE


def _version_at(network: Network, chain: str) -> int:
    genesis = parse_genesis(network.layout.genesis(chain).read_bytes())
    return genesis.active_version(CONTRACTS, 0) or 1


async def members_of(network: Network, chain: str, release: Release) -> dict[str, Json]:
    """The members of a deployment that the release adds; raises `CliError`."""
    given = (release.template, release.tests, release.risk_review)
    if not asks_for_template(network, chain):
        if any(each is not None for each in given):
            raise _wrong(
                f"{chain} is of a release that asks for no template",
                f"{chain} 链所属版本不要求模板",
                "leave --template, --tests and --risk-review out",
                "请去掉 --template、--tests 和 --risk-review",
            )
        return {}
    template, tests, review = given
    if template is None or tests is None or review is None:
        raise _wrong(
            f"{chain} asks for --template, --tests and --risk-review",
            f"{chain} 链要求 --template、--tests 和 --risk-review",
            "see docs/contracts.md, On a chain",
            "请参阅 docs/contracts.md",
        )
    report = report_for(tests, _version_at(network, chain))
    risks = sm3(read_input(review, REVIEW_BYTES_MAX)).hex()
    identifier, version = _version_of(template)
    found = await read_proven_template(network, identifier, version)
    require_own_source(read_template(found.record["template"]))
    return {
        "template": found.record["template"],
        "standing": None if chain == CSRC else found.proof,
        "tests": report,
        "risk_review": risks,
    }


async def members_of_upgrade(
    network: Network, chain: str, record: Mapping[str, Json] | None, release: Release
) -> dict[str, Json]:
    """The members that an upgrade adds where templates are compared: the one by which the contract
    of this record runs, null where that does not change, and the notice, null where none is given.
    """
    if _version_at(network, chain) < BY_LIFE_CYCLE:
        return {}
    notice = await _notice(network, chain, release)
    named = None if record is None else record.get("template")
    if not isinstance(named, dict) or release.template == f"{named['id']}@{named['version']}":
        return {FORMER_TEMPLATE: None, NOTICE: notice}
    identifier, version = named["id"], named["version"]
    assert isinstance(identifier, str)
    assert isinstance(version, int)
    found = await read_proven_template(network, identifier, version)
    return {FORMER_TEMPLATE: found.record["template"], NOTICE: notice}


async def _notice(network: Network, chain: str, release: Release) -> Json:
    if (release.notice is None) is not (release.change_list is None):
        raise _wrong(
            "--notice and --change-list are given together",
            "--notice 与 --change-list 须一并给出",
            "give the number of the notice, and the change list that it was filed with",
            "请给出通知编号及提交通知时的变更清单",
        )
    if release.notice is None or release.change_list is None:
        return None
    try:
        listed = read_input(release.change_list, CHANGE_LIST_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise _wrong(
            f"{shown(release.change_list)} is no text in UTF-8",
            f"{shown(release.change_list)} 不是 UTF-8 文本",
            "give the change list that the notice was filed with",
            "请给出提交通知时的变更清单",
        ) from None
    return {**await proven_notice(network, chain, release.notice), "change_list": listed}


async def members_of_approval(
    network: Network, chain: str, facts: Mapping[str, Json]
) -> dict[str, Json]:
    """The members that an approval adds: where the template of a proposal stands now, and the
    notice of an upgrade.
    """
    found: dict[str, Json] = {}
    if asks_for_template(network, chain):
        found["standing"] = await _standing(network, chain, facts.get("template"))
    if _version_at(network, chain) >= BY_LIFE_CYCLE:
        named = facts.get("notice")
        found[NOTICE] = None
        if named is not None:
            assert isinstance(named, dict), "the contract wrote it"
            found[NOTICE] = await proven_notice(network, chain, int(str(named["number"])))
    return found


async def _standing(network: Network, chain: str, named: Json) -> Json:
    if named is None or chain == CSRC:
        return None
    assert isinstance(named, dict), "the contract wrote it"
    identifier, version = named["id"], named["version"]
    assert isinstance(identifier, str)
    assert isinstance(version, int)
    return (await read_proven_template(network, identifier, version)).proof


def _version_of(spelled: str) -> tuple[str, int]:
    found = _SPELLED.fullmatch(spelled)
    if found is None:
        raise _wrong(
            f"--template {shown(spelled[:64])} is not an id and a version",
            f"--template {shown(spelled[:64])} 不是模板编号和版本",
            "spell it like `transfer@1`",
            "写法如 `transfer@1`",
        )
    return found[1], int(found[2])


def report_for(path: Path, asked_by: int) -> dict[str, Json]:
    """What this version of `contracts` asks of a report; whether it is of this form, passed and
    complete, the chain judges.
    """
    content = read_input(path, REPORT_BYTES_MAX)
    try:
        report = parse_json_strict(content, depth_max=DEPTH_BOUND, size_max=REPORT_BYTES_MAX)
    except JsonError:
        report = None
    wanted = ("form", "passed", "failed")
    if not isinstance(report, dict) or any(name not in report for name in wanted):
        fault = {
            "en": "this is no output of `guqiao contract test -o json`",
            "zh": "该文件不是 `guqiao contract test -o json` 的输出",
        }
        en, zh = (messages("CONTRACT_UNTESTED", fault=fault[name]) for name in ("en", "zh"))
        raise CliError(
            "CONTRACT_UNTESTED",
            f"{shown(path)}: {en.en}",
            f"{shown(path)}：{zh.zh}",
            en.remedy_en,
            en.remedy_zh,
            exit_code=EXIT_CONFLICT,
        )
    told: dict[str, Json] = {
        "report": sm3(content).hex(),
        **{each: report[each] for each in wanted},
    }
    return told if asked_by < BY_RELEASE else told | _evidence(report)


def _evidence(report: Mapping[str, Json]) -> dict[str, Json]:
    """The members of a report that name its analysis and its run on a test network, if it does."""
    found = {name: report[name] for name in ("analysis", "test_run") if name in report}
    analysis = found.get("analysis")
    if isinstance(analysis, dict):
        # What was found stays in the report: its digest stands for it.
        found["analysis"] = {name: each for name, each in analysis.items() if name != "found"}
    return found


def _wrong(english: str, chinese: str, remedy: str, chinese_remedy: str) -> CliError:
    return CliError(
        "REQUEST_MALFORMED", english, chinese, remedy, chinese_remedy, exit_code=EXIT_USAGE
    )
