"""The declared zone table, and its comparison with what the policies of an overlay really allow.

Each side is judged alone: what policies let out of a workload, and what they let into one, must be
the declared rows and nothing else. A forbidden flow, declared or possible, is a violation; so are
a name in the table that means nothing and a policy's peer that the table does not know: who is in
no table is in no comparison either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Final

from deploy.checker.hardening import workloads
from deploy.checker.loader import Body, LoadError, Manifest, read_documents
from deploy.checker.network import (
    EGRESS,
    INGRESS,
    NAMESPACE_NAME,
    Flow,
    Port,
    Workload,
    one_side,
    selecting,
    workload_of,
)
from deploy.checker.report import Violation, violation

SYSTEM_NAMESPACE: Final = "kube-system"
FIELDS: Final = {"outside", "away", "allowed", "forbidden"}


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A flow that must never be, as patterns, and why."""

    why: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]

    def covers(self, flow: Flow) -> bool:
        """Is the flow one of these?"""
        return any(fnmatchcase(flow.source, each) for each in self.sources) and any(
            fnmatchcase(flow.destination, each) for each in self.destinations
        )


@dataclass(frozen=True, slots=True)
class ZoneTable:
    """The table as declared."""

    file: Path
    outside: dict[str, Body]
    away: dict[str, Body]
    allowed: frozenset[Flow]
    forbidden: tuple[Forbidden, ...]


def read_zone_table(file: Path) -> ZoneTable:
    """The table of a file, or raise `LoadError`."""
    try:
        [body] = read_documents(file)
        if set(body) != FIELDS:
            raise LoadError(file, f"the table has the parts {sorted(FIELDS)}")
        allowed = [
            Flow(*triple)
            for row in body["allowed"]
            for triple in product(row["from"], row["to"], row["ports"])
        ]
        forbidden = tuple(
            Forbidden(row["why"], tuple(row["from"]), tuple(row["to"])) for row in body["forbidden"]
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LoadError(file, f"the zone table cannot be read: {error!r}") from None
    twice = [str(flow) for flow in set(allowed) if allowed.count(flow) > 1]
    if twice:
        raise LoadError(file, f"declared twice: {', '.join(sorted(twice))}")
    return ZoneTable(file, body["outside"], body["away"], frozenset(allowed), forbidden)


def table_violations(table: ZoneTable, known: set[str]) -> Iterator[Violation]:
    """Of the table itself: rows that name nobody, and rows that allow what is forbidden."""
    names = known | set(table.outside)
    for flow in sorted(table.allowed):
        for name in sorted({flow.source, flow.destination} - names):
            yield Violation(table.file, str(flow), "zone-unknown", f"nothing is called {name}")
        yield from _forbidden(flow, table)
    for rule in table.forbidden:
        for pattern in (*rule.sources, *rule.destinations):
            if not any(fnmatchcase(name, pattern) for name in names):
                text = f"nothing matches {pattern}"
                yield Violation(table.file, rule.why, "zone-unknown", text)


def _forbidden(flow: Flow, table: ZoneTable, file: Path | None = None) -> Iterator[Violation]:
    for rule in table.forbidden:
        if rule.covers(flow):
            yield Violation(file or table.file, str(flow), "zone-forbidden", rule.why)


def members_of(manifests: list[Manifest], table: ZoneTable) -> list[Workload]:
    """Who takes part in an overlay: what it runs, what its zones hold besides, and what is away."""
    labels = {
        each.name: {**(each.body["metadata"].get("labels") or {}), NAMESPACE_NAME: each.name}
        for each in manifests
        if each.kind == "Namespace"
    }
    labels[SYSTEM_NAMESPACE] = {NAMESPACE_NAME: SYSTEM_NAMESPACE}
    members = [workload_of(each, labels.get(each.namespace, {})) for each in workloads(manifests)]
    for name, body in table.outside.items():
        namespace = name.partition("/")[0]
        if "address" in body or namespace in labels:
            members.append(_outside(name, body, labels.get(namespace, {})))
    there = {each.name for each in members}
    return members + [
        _outside(name, body, {}) for name, body in table.away.items() if name not in there
    ]


def zone_violations(manifests: list[Manifest], table: ZoneTable, file: Path) -> Iterator[Violation]:
    """Of one overlay, whose kustomization is `file`."""
    policies = [each for each in manifests if each.kind == "NetworkPolicy"]
    members = members_of(manifests, table)
    yield from _missing_policies(manifests, members, policies)
    yield from _unknown_peers(members, policies)
    ours = {each.name for each in members if _is_in_a_zone(each)}
    names = {each.name for each in members}
    here = {flow for flow in table.allowed if {flow.source, flow.destination} <= names}
    sides = {each: one_side(members, policies, each) for each in (EGRESS, INGRESS)}
    for direction, verb in ((EGRESS, "let out"), (INGRESS, "let in")):
        declared = {flow for flow in here if _guarded(flow, direction) in ours}
        possible = {flow for flow in sides[direction] if _guarded(flow, direction) in ours}
        for flow in sorted(possible - declared):
            yield Violation(file, str(flow), "zone-table", f"{verb}, and not declared")
        for flow in sorted(declared - possible):
            yield Violation(file, str(flow), "zone-table", f"declared, and not {verb}")
    for flow in sorted(sides[EGRESS] & sides[INGRESS]):
        if {flow.source, flow.destination} & ours:
            yield from _forbidden(flow, table, file)


def _guarded(flow: Flow, direction: str) -> str:
    """Whose policies decide."""
    return flow.source if direction == EGRESS else flow.destination


def _is_in_a_zone(member: Workload) -> bool:
    return member.address is None and member.namespace != SYSTEM_NAMESPACE


def _missing_policies(
    manifests: list[Manifest], members: list[Workload], policies: list[Manifest]
) -> Iterator[Violation]:
    for namespace in (each for each in manifests if each.kind == "Namespace"):
        denied = any(
            policy.namespace == namespace.name
            and policy.spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
            for policy in policies
        )
        if not denied:
            yield violation(namespace, "default-deny", "no policy denies everything in and out")
    by_name = {each.name: each for each in members}
    for manifest in workloads(manifests):
        mine = selecting(by_name[f"{manifest.namespace}/{manifest.name}"], policies)
        if manifest.name not in {policy.name for policy in mine}:
            yield violation(manifest, "network-policy", "no NetworkPolicy of its name selects it")


def _unknown_peers(members: list[Workload], policies: list[Manifest]) -> Iterator[Violation]:
    """A policy selects, and its rules name, only whom the table knows: each peer by its namespace's
    name and its own label, or by its one address.
    """
    known = {
        f"{each.namespace}/{key}={value}" for each in members for key, value in each.labels.items()
    } | {str(ip_network(each.address)) for each in members if each.address}
    for policy in policies:
        own = {"namespaceSelector": _named(policy.namespace), **policy.spec}
        if {"ingress", "egress"} & set(policy.spec) and not _ends(own) <= known:
            yield violation(policy, "zone-peer", "the zone table does not know whom it selects")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for number, rule in enumerate(policy.spec.get(direction) or []):
                for end in sorted(set().union(*map(_ends, rule.get(peers) or [])) - known):
                    text = f"{direction} rule {number}: the zone table knows no {end}"
                    yield violation(policy, "zone-peer", text)


def _ends(peer: Body) -> set[str]:
    """Whom a peer means; one that is written otherwise than by name means anybody."""
    if "ipBlock" in peer:
        return {str(peer["ipBlock"]["cidr"])}
    namespace = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
    pods = peer.get("podSelector") or {}
    named = [(key, [value]) for key, value in (pods.get("matchLabels") or {}).items()]
    for each in pods.get("matchExpressions") or []:
        named.append((each["key"], each["values"] if each["operator"] == "In" else ["*"]))
    if peer.get("namespaceSelector") != _named(str(namespace.get(NAMESPACE_NAME))) or not named:
        return {f"peer {json.dumps(peer, sort_keys=True)}"}
    return {
        f"{namespace[NAMESPACE_NAME]}/{key}={value}" for key, values in named for value in values
    }


def _named(namespace: str) -> Body:
    """The selector of one namespace by its name."""
    return {"matchLabels": {NAMESPACE_NAME: namespace}}


def _outside(name: str, body: Body, namespace_labels: dict[str, str]) -> Workload:
    ports = []
    for port, text in (body.get("ports") or {}).items():
        number, _, protocol = str(text).partition("/")
        ports.append(Port(port, int(number), protocol))
    address = body.get("address")
    namespace = "" if address else name.partition("/")[0]
    labels = body.get("labels") or {}
    return Workload(name, namespace, labels, namespace_labels, tuple(ports), address)
