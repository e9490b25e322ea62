"""`guqiao explain CODE`: the rule catalogue for people."""

from __future__ import annotations

from dataclasses import asdict

from guqiao_sdk.rules import UnknownCodeError, catalogue, rule
from guqiao_sdk.rules import explain as explain_rule
from guqiaoctl.failures import EXIT_NOT_FOUND, CliError
from guqiaoctl.output import language, print_json


def explain(code: str, *, as_json: bool) -> None:
    """Print what a code means, which rule it enforces, and what to do."""
    wanted = code.strip().upper()
    try:
        entry = rule(wanted)
    except UnknownCodeError:
        near = sorted(name for name in catalogue() if wanted.split("_")[0] in name)[:8]
        raise CliError(
            "CODE_UNKNOWN",
            f"the catalogue has no code {wanted}",
            f"规则目录中没有 {wanted}",
            f"near it: {', '.join(near) or 'none'}",
            f"相近的有：{'、'.join(near) or '无'}",
            exit_code=EXIT_NOT_FOUND,
        ) from None
    if as_json:
        print_json(asdict(entry))
    else:
        print(explain_rule(wanted, "zh" if language() == "zh" else "en"))
