"""The rule catalogue: every code that a caller may meet, with its rule, article and texts in two
languages.

One file, `catalogue.json`, is the only source; it is read on first use, so that importing this
module costs nothing. A code that is not in the catalogue is a bug of ours and raises
`UnknownCodeError`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

Language: TypeAlias = Literal["zh", "en"]

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+(?:\|[a-z_]+)*)\}")
"""`{roles|allowed}`: the fact `roles`, or `allowed` where that one is not given."""
_NO_VALUE: Final = {"zh": "（未给出）", "en": "(not given)"}


class UnknownCodeError(LookupError):
    """A code that the catalogue does not hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the catalogue."""

    code: str
    rule_id: tuple[str, ...]
    article: str
    severity: Literal["reject", "warn", "record"]
    service: str
    effective_from: str
    status: str
    basis: tuple[str, ...]
    text_zh: str
    text_en: str
    remedy_zh: str
    remedy_en: str
    grpc: str


@dataclass(frozen=True, slots=True)
class Messages:
    """The texts of one code with its facts filled in."""

    zh: str
    en: str
    remedy_zh: str
    remedy_en: str


@cache
def catalogue() -> dict[str, Rule]:
    """Every rule by its code."""
    text = resources.files(__name__).joinpath("catalogue.json").read_text(encoding="utf-8")
    rules = [_rule(entry) for entry in json.loads(text)["rules"]]
    by_code = {rule.code: rule for rule in rules}
    if len(by_code) != len(rules):
        raise ValueError("the rule catalogue lists a code twice")
    return by_code


def rule(code: str) -> Rule:
    """The rule of `code`, or `UnknownCodeError`."""
    try:
        return catalogue()[code]
    except KeyError:
        raise UnknownCodeError(code) from None


def messages(code: str, /, **fields: object) -> Messages:
    """The texts of `code` in both languages, `{field}` replaced by the facts, of a list by its
    parts.
    """
    entry = rule(code)
    return Messages(
        zh=_fill(entry.text_zh, "zh", fields),
        en=_fill(entry.text_en, "en", fields),
        remedy_zh=_fill(entry.remedy_zh, "zh", fields),
        remedy_en=_fill(entry.remedy_en, "en", fields),
    )


def explain(code: str, language: Language = "zh") -> str:
    """What `guqiao explain CODE` prints: the text, the remedy, the rule and its basis."""
    entry = rule(code)
    if language == "zh":
        text, remedy = entry.text_zh, entry.remedy_zh
        labels = ("怎么办", "规则", "条款", "依据", "级别", "状态")
    else:
        text, remedy = entry.text_en, entry.remedy_en
        labels = ("Remedy", "Rule", "Article", "Basis", "Severity", "Status")
    values = (
        remedy,
        ", ".join(entry.rule_id),
        entry.article,
        "; ".join(entry.basis),
        entry.severity,
        f"{entry.status} ({entry.effective_from})",
    )
    lines = [f"{label}: {value}" for label, value in zip(labels, values, strict=True)]
    return "\n".join([f"{entry.code}: {_unbraced(text)}", *map(_unbraced, lines)])


def _rule(entry: dict[str, Any]) -> Rule:
    return Rule(**{**entry, "rule_id": tuple(entry["rule_id"]), "basis": tuple(entry["basis"])})


def readable(template: str) -> str:
    """A text with its places as `{field}`, each by its first name."""
    return _PLACEHOLDER.sub(lambda match: f"{{{match[1].partition('|')[0]}}}", template)


def _fill(template: str, language: Language, fields: dict[str, object]) -> str:
    # Not str.format: facts come from outside, and a template must never reach into an object.
    def value(match: re.Match[str]) -> str:
        given = (fields.get(name) for name in match[1].split("|"))
        found = next((fact for fact in given if fact is not None), _NO_VALUE[language])
        return ", ".join(map(str, found)) if isinstance(found, list) else str(found)

    return _PLACEHOLDER.sub(value, template)


def _unbraced(template: str) -> str:
    return _PLACEHOLDER.sub(lambda match: f"<{match[1].partition('|')[0]}>", template)
