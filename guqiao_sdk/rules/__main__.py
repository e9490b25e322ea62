"""`python -m guqiao_sdk.rules` writes docs/errors.md: the catalogue as a page, one anchor a code.

Refusals link to these anchors; a test compares the page with the catalogue.
"""

from __future__ import annotations

import sys

from guqiao_sdk.rules import Rule, catalogue, readable

_HEAD = """# Codes / 代码

Made from `guqiao_sdk/rules/catalogue.json` by `python -m guqiao_sdk.rules`; do not edit by hand.
`guqiao explain CODE` prints one entry. 本页由规则目录生成，请勿手工修改。
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(rule) for _, rule in sorted(catalogue().items()))])


def _section(rule: Rule) -> str:
    return "\n".join(
        [
            f"## {rule.code}",
            "",
            readable(f"{rule.text_zh}{rule.remedy_zh}"),
            "",
            readable(f"{rule.text_en} {rule.remedy_en}"),
            "",
            f"{', '.join(rule.rule_id)} · {rule.article} · {rule.severity} · {rule.grpc} · "
            f"{'; '.join(rule.basis)}",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(page())
