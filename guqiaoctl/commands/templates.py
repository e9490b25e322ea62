"""`guqiao template show`, `ls`, `check` and `diff`: templates in files, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from guqiao_sdk.rules import messages
from guqiaoctl.failures import EXIT_NOT_FOUND, EXIT_UNVERIFIED, CliError
from guqiaoctl.output import choose, language, print_json, print_table, shown
from guqiaoctl.result_files import beside, whole_file
from guqiaoctl.template_files import load_code, load_own_form, load_template
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.template import changes as comparison
from services.consensus.domain.contracts.template import conformance
from services.consensus.domain.contracts.template.diagram import draw_states
from services.consensus.domain.contracts.template.differences import Change
from services.consensus.domain.contracts.template.model import Event, Template, Transition
from services.consensus.domain.contracts.template.shapes import Field, Form, TieredField
from services.consensus.domain.contracts.template.vocabulary import (
    CLASSES,
    ORIENTATIONS,
    TIERS,
    TYPES_2,
    UNITS_2,
    Label,
    Tier,
)

TITLES: Final = ("中文", "ENGLISH")

# --- show -------------------------------------------------------------------------------------


def show(path: Path, *, svg: Path | None, as_json: bool) -> None:
    """Show what a template says; with `svg`, write its states as a picture."""
    found = load_template(path)
    with whole_file(svg) as write, redirect_stdout(beside(svg)):
        write(draw_states(found).encode())
        if as_json:
            print_json({"digest": found.digest.hex(), "template": found.to_json()})
        else:
            print_template(found)


def print_template(found: Template) -> None:
    """The template as tables in both languages."""
    head = [
        (choose("template", "模板"), f"{found.id}@{found.version}"),
        (choose("title", "名称"), _both(found.title)),
        (choose("class", "类别"), f"{found.template_class} {_both(CLASSES[found.template_class])}"),
        (choose("digest", "摘要"), found.digest.hex()),
        (choose("format", "格式"), found.format),
        *_basis(found),
        *((choose("orientation", "应用导向"), _both(ORIENTATIONS[x])) for x in found.orientation),
    ]
    for name, value in head:
        print(f"{name}: {value}")
    print(f"\n{found.description.zh}\n{found.description.en}")
    fields = [
        (group.name, _tier(group.tier), *_field(field))
        for group in found.groups
        for field in group.fields
    ]
    columns: tuple[str, ...] = ("GROUP", "TIER", "FIELD", "TYPE", "UNIT", "VALUES")
    _section(choose("Fields", "字段"), (*columns, *TITLES), fields)
    roles = [(each.name, *_titles(each.title)) for each in found.roles]
    _section(choose("Roles", "角色"), ("ROLE", *TITLES), roles)
    states = [
        (each.name, choose("yes", "是") if each.is_final else "", *_titles(each.title))
        for each in found.states
    ]
    _section(choose("States", "状态"), ("STATE", "FINAL", *TITLES), states)
    _print_shapes(found)
    columns = ("METHOD", "FROM", "TO", "ROLE", "CHECKER", "EVENT", "TAKES")
    _section(choose("Transitions", "步骤"), (*columns, *TITLES), map(_step, found.transitions))
    columns = ("TOPIC", "TIER", "MEMBERS")
    _section(choose("Events", "必备事件"), (*columns, *TITLES), map(_event, found.events))
    views = [(x.method, ", ".join(x.takes), *_titles(x.title)) for x in found.views]
    _section(choose("Views", "查询"), ("METHOD", "TAKES", *TITLES), views)
    columns = ("NAME", "DEFAULT", "LEAST", "GREATEST", "UNIT")
    parameters = [
        (x.name, x.default, x.least, x.greatest, _both(UNITS_2[x.unit]), *_titles(x.title))
        for x in found.parameters
    ]
    _section(choose("Parameters", "参数"), (*columns, *TITLES), parameters)


def _basis(found: Template) -> list[tuple[str, str]]:
    """What the contract is, and how its businesses are known."""
    own = found.own
    if own is not None:
        name = f"{own.name} v{own.version}, {own.form}"
        return [(choose("contract of the chain's own", "链自带的合约"), name)]
    return [
        (choose("contract", "合约"), found.contract.module.digest.hex()),
        (choose("key", "业务编号"), found.key),
        (choose("supervision", "监管视图"), f"{found.supervision.view}(business_id)"),
    ]


def _print_shapes(found: Template) -> None:
    """What format 2 has besides: arguments, records and data objects."""
    columns: tuple[str, ...] = ("ARGUMENT", "TIER", "TYPE", "UNIT", "VALUES")
    _section(
        choose("Arguments that no group keeps", "不留存的参数"),
        (*columns, *TITLES),
        map(_tiered, found.arguments),
    )
    records = [
        (record.name, *_tiered(field)) for record in found.records for field in record.fields
    ]
    columns = ("RECORD", "FIELD", "TIER", "TYPE", "UNIT", "VALUES")
    _section(choose("Records", "记录"), (*columns, *TITLES), records)
    objects = [
        (
            each.type,
            _tier(each.tier),
            ", ".join(each.methods),
            f"{each.protocol} {each.model_version}",
            f"{each.operation} {each.object_version}",
            ", ".join(each.body),
            *_titles(each.title),
        )
        for each in found.objects
    ]
    columns = ("TYPE", "TIER", "METHODS", "MODEL", "OPERATION", "BODY")
    _section(choose("Data objects", "数据对象"), (*columns, *TITLES), objects)


def _section(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    listed = list(rows)
    if listed:
        print(f"\n{title}")
        print_table(header, listed)


def _field(field: Field) -> tuple[str, ...]:
    kind = f"{field.type} {TYPES_2[field.type].title.zh}"
    if field.record is not None:
        kind = f"{kind} {field.record}"
    if field.many is not None:
        several = choose("list", "列表") if field.many.form is Form.LIST else choose("map", "映射")
        kind = f"{kind} ({several} {field.many.least}..{field.many.most})"
    unit = "" if field.unit is None else _both(UNITS_2[field.unit])
    needed = choose(" (optional)", "（可选）") if field.is_optional else ""
    return field.name + needed, kind, unit, ", ".join(field.values), *_titles(field.title)


def _tiered(each: TieredField) -> tuple[str, ...]:
    name, *rest = _field(each.field)
    return name, _tier(each.tier), *rest


def _step(each: Transition) -> tuple[str, ...]:
    sources = ", ".join(each.sources) or "-"
    second = " / ".join(each.checkers) or "-"
    if each.checker_by_parameter:
        second += choose(" (where the chain asks)", "（按链参数要求）")
    events, takes = ", ".join(each.events) or "-", ", ".join(each.takes) or "-"
    ends = (" / ".join(each.targets), " / ".join(each.roles), second, events, takes)
    return each.method, sources, *ends, *_titles(each.title)


def _event(each: Event) -> tuple[str, ...]:
    body = ", ".join(each.members) if each.record is None else each.record
    if each.is_in_clear:
        body += choose(" (in the clear, on the market's chain)", "（在市场链上未加密）")
    return each.topic, _tier(each.tier or Tier.PUBLIC), body, *_titles(each.title)


def _tier(tier: Tier) -> str:
    return f"{tier} {TIERS[tier].zh}"


def _titles(title: Label) -> tuple[str, str]:
    return title.zh, title.en


def _both(title: Label) -> str:
    return f"{title.zh} {title.en}"


# --- ls ---------------------------------------------------------------------------------------


def list_templates(folder: Path, *, as_json: bool) -> None:
    """List the templates in a folder by their id, each with its digest."""
    if not folder.is_dir():
        raise CliError(
            "FILE_UNREADABLE",
            f"{folder} is no folder",
            f"{folder} 不是目录",
            "name a folder of templates",
            "请指定模板所在的目录",
            exit_code=EXIT_NOT_FOUND,
        )
    found = [load_template(path) for path in sorted(folder.glob("*.yaml"))]
    if as_json:
        print_json({"templates": [_summary(each) for each in found]})
        return
    print_table(
        ("TEMPLATE", "CLASS", "中文", "ENGLISH", "DIGEST"),
        [
            (
                f"{each.id}@{each.version}",
                each.template_class,
                *_titles(each.title),
                each.digest.hex()[:16],
            )
            for each in found
        ],
    )


def _summary(each: Template) -> dict[str, object]:
    return {
        "id": each.id,
        "version": each.version,
        "class": each.template_class.value,
        "title": {"zh": each.title.zh, "en": each.title.en},
        "digest": each.digest.hex(),
    }


# --- check ------------------------------------------------------------------------------------


def check(path: Path, source: Path | None, *, as_json: bool) -> None:
    """Say where a contract, the template's own or another, does not keep to the template."""
    found = load_template(path)
    module = _module(path, found) if source is None else load_code(source).module
    odd = conformance.deviations(found, module)
    rows = [each.to_json() | {"sentence": _sentences(each)} for each in odd]
    if as_json:
        print_json({"template": found.digest.hex(), "conforms": not odd, "deviations": rows})
    place = path if source is None else source
    for each in () if as_json else odd:
        print(f"{shown(place)}:{each.line}: {each.rule}: {_sentences(each)[language()]}")
    if odd:
        raise nonconforming(odd)
    if not as_json:
        print(f"{found.id}@{found.version}: {choose('conforms', '符合')}")


def _module(path: Path, found: Template) -> Module:
    """The template's own program."""
    return found.contract.module if found.own is None else load_own_form(path)


def nonconforming(odd: Sequence[conformance.Deviation]) -> CliError:
    """The failure for a contract that does not keep to its template."""
    first = odd[0]
    texts = messages("TEMPLATE_NONCONFORMING", what=f"{first.rule} {first.what}")
    more = len(odd) - 1
    return CliError(
        "TEMPLATE_NONCONFORMING",
        f"{texts.en.rstrip('.')}{f' (and {more} more)' if more else ''}",
        f"{texts.zh.rstrip('。')}{f'（另有 {more} 处）' if more else ''}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_UNVERIFIED,
    )


def _sentences(each: conformance.Deviation) -> dict[str, str]:
    zh, en = conformance.SENTENCES[each.rule]
    return {"zh": zh.format(what=each.what), "en": en.format(what=each.what)}


# --- diff -------------------------------------------------------------------------------------


def diff(old: Path, new: Path, *, as_json: bool) -> None:
    """Tell what changes between two versions, and whether any of it breaks."""
    found = comparison.changes(load_template(old), load_template(new))
    breaking = sum(each.is_breaking for each in found)
    if as_json:
        rows = [each.to_json() for each in found]
        print_json({"compatible": not breaking, "changes": rows})
        return
    if found:
        print_table(
            (choose("BREAKS", "不兼容"), choose("CHANGE", "变化"), choose("PLACE", "位置")),
            [
                (choose("yes", "是") if each.is_breaking else "-", _worded(each), each.place)
                for each in found
            ],
        )
    if breaking:
        print(
            choose(f"incompatible: {breaking} of {len(found)}", f"不兼容：{breaking}/{len(found)}")
        )
    else:
        print(choose("compatible", "兼容"))


def _worded(each: Change) -> str:
    zh, en = comparison.SENTENCES[each.rule]
    return choose(en, zh)
