"""What a report of tests says beside its cases: the static analysis, and the run on a test network.

Both go onto the chain with the digest of the report (G2-16-5). The analysis is made here, of the
very source that is tested; the run was made by whoever tests, and is named by its transaction.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiaoctl.failures import EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import shown
from services.consensus.domain.contracts.star.linting import lint_source
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX
from services.consensus.domain.contracts.template.conformance import deviations
from services.consensus.domain.contracts.template.model import Template

TOOL: Final = "guqiao contract lint"
_RUN: Final = re.compile(r"([a-z][a-z0-9_-]{1,63})/([0-9a-f]{64})")


def analysis_of(source: Path, template: Template | None) -> dict[str, Json]:
    """What is found in a source without running it: refusals, and where a template is given, what
    does not keep to it. `findings` is the SM3 digest of `found` as canonical JSON.
    """
    module = lint_source(read_input(source, SOURCE_BYTES_MAX))
    found: list[Json] = []
    if isinstance(module, list):
        found += [{"rule": each.rule, "line": each.line} for each in module]
    elif template is not None:
        found += [
            {"rule": each.rule, "line": each.line, "what": each.what}
            for each in deviations(template, module)
        ]
    findings = sm3(canonical_json(found)).hex()
    return {"tool": TOOL, "version": version("guqiao"), "findings": findings, "found": found}


def named_run(spelled: str) -> dict[str, Json]:
    """A chain of a test network and the transaction there; raises `CliError`."""
    found = _RUN.fullmatch(spelled)
    if found is None:
        raise CliError(
            "REQUEST_MALFORMED",
            f"--test-run {shown(spelled[:64])} is not a chain and the id of a transaction",
            f"--test-run {shown(spelled[:64])} 不是链名和交易编号",
            "spell it like `shandong/` and 64 hexadecimal digits, of a transaction",
            "写法为 `shandong/` 加 64 位十六进制交易编号，见 `guqiao contract call` 的输出",
            exit_code=EXIT_USAGE,
        )
    return {"chain": found[1], "transaction": found[2]}
