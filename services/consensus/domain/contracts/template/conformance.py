"""Whether a contract keeps to its template: interface, roles, states, events, tiers, supervision.

Judged on the checked program, by every replica alike. Each deviation has a rule, what it is about
and a line of the source; no deviation is the condition of a deployment (G2-08-4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.outline import WRITES, Emit, Function, Outline
from services.consensus.domain.contracts.template.model import Group, Template, Transition
from services.consensus.domain.contracts.template.shapes import OwnContract
from services.consensus.domain.contracts.template.vocabulary import (
    DESCRIPTION,
    STATE,
    TRACE_ARGUMENT,
    Tier,
)

SENTENCES: Final = {
    "method_missing": ("缺少方法 {what}。", "The method {what} is missing."),
    "method_undeclared": (
        "模板没有方法 {what}。",
        "The template has no method {what}.",
    ),
    "parameters": (
        "方法的参数与模板不同：{what}。",
        "A method's parameters are not the template's: {what}.",
    ),
    "view_writes": ("查询方法 {what} 不得写入或调用。", "The view {what} writes or calls."),
    "role_not_asked": ("方法没有核对角色：{what}。", "A method does not ask for the role: {what}."),
    "checker_not_asked": (
        "方法没有核对复核人角色：{what}。",
        "A method does not ask for the checker's role: {what}.",
    ),
    "state_not_named": (
        "方法没有写入目标状态：{what}。",
        "A method does not name the state that it leads to: {what}.",
    ),
    "event_missing": (
        "方法没有产生必备事件：{what}。",
        "A method does not make its mandatory event: {what}.",
    ),
    "event_undeclared": ("模板没有事件 {what}。", "The template has no event {what}."),
    "event_unclear": (
        "事件的主题和成员须直接写明：{what}。",
        "Topic and members of an event have to be spelled out: {what}.",
    ),
    "event_members": (
        "事件的成员与模板不同：{what}。",
        "An event's members are not the template's: {what}.",
    ),
    "access": (
        "ACCESS 的 write 须恰为模板的状态前缀：{what}。",
        "The write list of ACCESS has to be the prefixes of the template: {what}.",
    ),
    "key_unclear": (
        "写入的键须以模板的状态前缀开头并直接写明：{what}。",
        "The key of a write has to begin with a prefix, spelled out: {what}.",
    ),
    "wrong_tier": (
        "写入的成员不属于该字段组：{what}。",
        "What is written there does not belong to that group: {what}.",
    ),
    "not_whole": (
        "公开和特定范围的数据应全部上链，缺少：{what}。",
        "Public and restricted data has to be on chain as a whole; missing: {what}.",
    ),
    "nonpublic_named": (
        "非公开字段不得出现在合约中：{what}。",
        "A NONPUBLIC field has no place in a contract: {what}.",
    ),
    "not_described": (
        "非公开字段组须以摘要、引用和所有者上链：{what}。",
        "A NONPUBLIC group is described by digest, reference and owner: {what}.",
    ),
    "step_not_traced": (
        "方法没有记录监管步骤：{what}。",
        "A method does not keep its step for supervision: {what}.",
    ),
    "trace_reads": (
        "监管视图没有读取步骤：{what}。",
        "The supervision view does not read the steps: {what}.",
    ),
    "other_form": (
        "程序不是模板所指的程序：{what}。",
        "The program is not the one that the template names: {what}.",
    ),
    "parameter_missing": ("缺少参数常量 {what}。", "The constant {what} is missing."),
    "parameter_bounds": (
        "参数超出模板的范围：{what}。",
        "A parameter lies outside the template's bounds: {what}.",
    ),
}
"""By rule: zh and en."""


OPERATION: Final = ["body", "transaction"]
"""What an operation of a contract of the chain's own takes."""


@dataclass(frozen=True, slots=True, order=True)
class Deviation:
    """Where a contract does not keep to its template. `line` is 0 where something is missing."""

    line: int
    rule: str
    what: str

    def to_json(self) -> dict[str, Json]:
        """For receipts and for tools."""
        return {"rule": self.rule, "what": self.what, "line": self.line}


def deviations(template: Template, module: Module) -> list[Deviation]:
    """All of them, by line; none if the contract conforms."""
    if template.own is not None:
        return sorted(_own_deviations(template, template.own, module))
    return _Conformance(template, Outline(module)).all()


def _own_deviations(template: Template, own: OwnContract, module: Module) -> set[Deviation]:
    """Of a contract of the chain's own: the very program, its operations, and where it writes.

    Its operations take the body of a transaction and the transaction's id; what else is public are
    questions that the chain's own contracts ask of it.
    """
    outline = Outline(module)
    found = set()
    if module.digest.hex() != own.form:
        found.add(Deviation(0, "other_form", own.name))
    wanted = {each.method for each in template.transitions} | {x.method for x in template.views}
    operations = {
        name: each for name, each in outline.public.items() if list(each.parameters) == OPERATION
    }
    found |= {Deviation(0, "method_missing", name) for name in wanted - operations.keys()}
    for name in operations.keys() - wanted:
        found.add(Deviation(operations[name].line, "method_undeclared", name))
    odd = sorted(outline.write ^ {each.state for each in template.groups})
    if odd:
        found.add(Deviation(0, "access", ", ".join(odd)))
    return found


class _Conformance:
    def __init__(self, template: Template, outline: Outline) -> None:
        self._template = template
        self._outline = outline
        self._groups = {group.state: group for group in template.groups}

    def all(self) -> list[Deviation]:
        return sorted(
            {
                *self._interface(),
                *self._transitions(),
                *self._views(),
                *self._events(),
                *self._tiers(),
                *self._whole(),
                *self._parameters(),
            }
        )

    # --- Interface ----------------------------------------------------------------------------

    def _wanted(self) -> dict[str, dict[str, bool]]:
        """The public methods and what they take: by name whether it may be left out."""
        key, supervision = self._template.key, self._template.supervision
        return {
            **{each.method: self._taken(key, *each.takes) for each in self._template.transitions},
            **{each.method: self._taken(*each.takes) for each in self._template.views},
            supervision.view: {TRACE_ARGUMENT: False},
        }

    def _taken(self, *names: str) -> dict[str, bool]:
        values = self._template.values
        return {name: name in values and values[name].field.is_optional for name in names}

    def _interface(self) -> Iterator[Deviation]:
        wanted, public = self._wanted(), self._outline.public
        for name in wanted.keys() - public.keys():
            yield Deviation(0, "method_missing", name)
        for name in public.keys() - wanted.keys():
            yield Deviation(public[name].line, "method_undeclared", name)
        for name in public.keys() & wanted.keys():
            odd = sorted(
                {each for each, _ in wanted[name].items() ^ public[name].parameters.items()}
            )
            if odd:
                yield Deviation(public[name].line, "parameters", f"{name}: {', '.join(odd)}")

    # --- Transitions and views ----------------------------------------------------------------

    def _transitions(self) -> Iterator[Deviation]:
        for each in self._template.transitions:
            if each.method in self._outline.public:
                yield from self._transition(each)

    def _transition(self, each: Transition) -> Iterator[Deviation]:
        reached = self._outline.reached(each.method)
        line = reached[0].line
        calls = frozenset[str]().union(*(function.calls for function in reached))
        names = frozenset[str]().union(*(function.names for function in reached))
        if not {"sender", "require"} <= calls or not names.issuperset(each.roles):
            yield Deviation(line, "role_not_asked", f"{each.method}: {', '.join(each.roles)}")
        if each.checkers and not ("checker" in calls and names.issuperset(each.checkers)):
            yield Deviation(line, "checker_not_asked", f"{each.method}: {', '.join(each.checkers)}")
        for target in each.targets:
            if target not in names:
                yield Deviation(line, "state_not_named", f"{each.method}: {target}")
        made = {emit.topic for function in reached for emit in function.emits}
        for topic in each.events:
            if topic not in made:
                yield Deviation(line, "event_missing", f"{each.method}: {topic}")
        steps = self._template.supervision.state
        if steps not in {put.prefix for function in reached for put in function.puts}:
            yield Deviation(line, "step_not_traced", f"{each.method}: {steps}")

    def _views(self) -> Iterator[Deviation]:
        supervision = self._template.supervision
        for name in [supervision.view, *(each.method for each in self._template.views)]:
            if name not in self._outline.public:
                continue
            reached = self._outline.reached(name)
            if any(function.calls & WRITES for function in reached):
                yield Deviation(reached[0].line, "view_writes", name)
            reads = {prefix for function in reached for prefix in function.reads}
            if name == supervision.view and supervision.state not in reads:
                yield Deviation(reached[0].line, "trace_reads", f"{name}: {supervision.state}")

    # --- Events -------------------------------------------------------------------------------

    def _events(self) -> Iterator[Deviation]:
        for function in self._outline.functions.values():
            for emit in function.emits:
                yield from self._event(emit)

    def _event(self, emit: Emit) -> Iterator[Deviation]:
        if emit.topic is None or emit.members is None:
            yield Deviation(emit.line, "event_unclear", emit.topic or "?")
            return
        known = {each.topic: frozenset(each.members) for each in self._template.events}
        if emit.topic not in known:
            yield Deviation(emit.line, "event_undeclared", emit.topic)
            return
        odd = sorted(known[emit.topic] ^ emit.members)
        if odd:
            yield Deviation(emit.line, "event_members", f"{emit.topic}: {', '.join(odd)}")

    # --- Tiers --------------------------------------------------------------------------------

    def _tiers(self) -> Iterator[Deviation]:
        steps = self._template.supervision.state
        odd = sorted(self._outline.write ^ {*self._groups, steps})
        if odd:
            yield Deviation(0, "access", ", ".join(odd))
        hidden = {
            field.name
            for group in self._template.groups
            if group.tier is Tier.NONPUBLIC
            for field in group.fields
        }
        for name, function in self._outline.functions.items():
            for found in sorted(hidden & function.names):
                yield Deviation(function.line, "nonpublic_named", f"{name}: {found}")
            yield from self._writes(name, function)

    def _writes(self, name: str, function: Function) -> Iterator[Deviation]:
        for put in function.puts:
            if put.prefix == self._template.supervision.state:
                continue
            group = self._groups.get(put.prefix or "")
            if group is None:
                yield Deviation(put.line, "key_unclear", f"{name}: {put.prefix or '?'}")
            elif group.tier is Tier.NONPUBLIC:
                if put.members != frozenset(DESCRIPTION):
                    yield Deviation(put.line, "not_described", f"{name}: {group.name}")
            elif put.members is not None and not _is_many(group):
                odd = sorted(put.members - self._members(group))
                if odd:
                    yield Deviation(put.line, "wrong_tier", f"{group.state}: {', '.join(odd)}")

    def _members(self, group: Group) -> frozenset[str]:
        """What a record of the group may hold: its fields, and where it is the key's, the state. A
        group of one record is kept as that.
        """
        first = group.fields[0]
        if len(group.fields) == 1 and first.record is not None and first.many is None:
            record = self._template.record_of(first.record)
            return frozenset(each.field.name for each in record.fields)
        names = {field.name for field in group.fields}
        return frozenset(names | {STATE} if self._template.key in names else names)

    def _whole(self) -> Iterator[Deviation]:
        """Each group is written whole somewhere; one field may stand for itself, without a dict."""
        for group in self._template.groups:
            written = [
                put
                for function in self._outline.functions.values()
                for put in function.puts
                if put.prefix == group.state
            ]
            if group.tier is Tier.NONPUBLIC:
                if not written:
                    yield Deviation(0, "not_described", group.name)
                continue
            wanted = self._members(group)
            first = group.fields[0]
            is_shaped = first.record is not None or first.many is not None
            is_single = len(group.fields) == 1 and (len(wanted) == 1 or is_shaped) and bool(written)
            if not is_single and not any(put.members == wanted for put in written):
                yield Deviation(0, "not_whole", f"{group.name}: {', '.join(sorted(wanted))}")

    # --- Parameters ---------------------------------------------------------------------------

    def _parameters(self) -> Iterator[Deviation]:
        for each in self._template.parameters:
            node = self._outline.constants.get(each.name)
            if node is None or node[0] != "int":
                yield Deviation(0, "parameter_missing", each.name)
            elif not each.least <= int(node[2]) <= each.greatest:
                yield Deviation(node[1], "parameter_bounds", f"{each.name}: {node[2]}")


def _is_many(group: Group) -> bool:
    """Whether the group is kept as a list, or as a map whose names are anybody's."""
    return len(group.fields) == 1 and group.fields[0].many is not None
