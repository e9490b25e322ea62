"""What others rely on in a contract, and what an upgrade changes of it.

Public methods with their parameters, events with the members of their bodies, and the declared
access. It is read from the canonical form, so no author declares whether an upgrade is compatible.
A method's body is no part of it: what a method does with its arguments, the reviewers judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.ir import Access, Module, Node
from services.consensus.domain.contracts.star.outline import Outline

UNKNOWN_TOPIC: Final = "?"
"""Stands for the topics that the form does not spell out."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`default` is the literal's kind and value, None where an argument must be given."""

    name: str
    default: Json


@dataclass(frozen=True, slots=True)
class Interface:
    """`events`: of each topic the members that every body of it has, None where they are not
    spelled out.
    """

    methods: dict[str, tuple[Parameter, ...]]
    events: dict[str, frozenset[str] | None]
    access: Access


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `what` is the method, `method.parameter`, topic or declaration."""

    rule: str
    what: str
    is_breaking: bool

    def to_json(self) -> dict[str, Json]:
        """For receipts and for tools."""
        return {"rule": self.rule, "what": self.what, "breaking": self.is_breaking}


def interface_of(module: Module) -> Interface:
    """The interface of a checked form."""
    methods = {
        node[2]: tuple(Parameter(each[2], _default(each[3])) for each in node[3])
        for node in module.functions
        if not node[2].startswith("_")
    }
    events: dict[str, frozenset[str] | None] = {}
    for function in Outline(module).functions.values():
        for emit in function.emits:
            topic = UNKNOWN_TOPIC if emit.topic is None else emit.topic
            known = events.get(topic, emit.members)
            both = None if known is None or emit.members is None else known & emit.members
            events[topic] = both
    return Interface(methods, events, module.access)


def compare(before: Interface, after: Interface) -> list[Change]:
    """All differences, those that break who relies on `before` first."""
    changes = [
        *_methods(before, after),
        *_events(before, after),
        *_access(before.access, after.access),
    ]
    return sorted(changes, key=lambda each: (not each.is_breaking, each.rule, each.what))


def _methods(before: Interface, after: Interface) -> Iterator[Change]:
    for name in before.methods.keys() - after.methods.keys():
        yield Change("METHOD_REMOVED", name, True)
    for name in after.methods.keys() - before.methods.keys():
        yield Change("METHOD_ADDED", name, False)
    for name in before.methods.keys() & after.methods.keys():
        old = {each.name: each for each in before.methods[name]}
        new = {each.name: each for each in after.methods[name]}
        for gone in old.keys() - new.keys():
            yield Change("PARAMETER_REMOVED", f"{name}.{gone}", True)
        for added in new.keys() - old.keys():
            required = new[added].default is None
            yield Change("PARAMETER_ADDED", f"{name}.{added}", required)
        for kept in old.keys() & new.keys():
            was, now = old[kept].default, new[kept].default
            if was != now:
                # An argument that may now be left out changes nothing for who gives it.
                yield Change("PARAMETER_DEFAULT_CHANGED", f"{name}.{kept}", was is not None)


def _events(before: Interface, after: Interface) -> Iterator[Change]:
    for topic in before.events.keys() - after.events.keys():
        yield Change("EVENT_REMOVED", topic, True)
    for topic in after.events.keys() - before.events.keys():
        yield Change("EVENT_ADDED", topic, False)
    for topic in before.events.keys() & after.events.keys():
        was, now = before.events[topic], after.events[topic]
        if was == now:
            continue
        if was is None or now is None:
            yield Change("EVENT_BODY_CHANGED", topic, was is not None)
            continue
        for gone in was - now:
            yield Change("EVENT_MEMBER_REMOVED", f"{topic}.{gone}", True)
        for added in now - was:
            yield Change("EVENT_MEMBER_ADDED", f"{topic}.{added}", False)


def _access(before: Access, after: Access) -> Iterator[Change]:
    """State that a contract no longer keeps is missed by its readers; reading or calling less is
    nobody's loss.
    """
    for kind in ("read", "write", "call"):
        was, now = set(getattr(before, kind)), set(getattr(after, kind))
        for gone in was - now:
            yield Change("ACCESS_REMOVED", f"{kind} {gone}", kind == "write")
        for added in now - was:
            yield Change("ACCESS_ADDED", f"{kind} {added}", False)


def _default(part: list[Any]) -> Json:
    """Lines are no part of what a default is."""
    if not part:
        return None
    node: Node = part[0]
    return [node[0], *node[2:]]
