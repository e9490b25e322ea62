"""Compiles NetworkPolicies to a truth table: for every ordered pair of workloads and every port,
does a connection get out of the one and into the other?

The meaning is that of networking.k8s.io/v1: a pod that no policy selects for a direction is open in
that direction; policies add up; within one peer, namespace and pod selectors must both match.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deploy.checker.loader import Body, Manifest, pod_labels, pod_spec

EGRESS: Final = "Egress"
INGRESS: Final = "Ingress"
# Ports that no workload has.
UNUSED: Final = frozenset({("TCP", 61_613), ("UDP", 61_613)})
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Port:
    """A port as policies may name it: by number, or by the name in the pod's spec."""

    name: str
    number: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One end of a connection: pods of ours, pods that others run, or an address."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    ports: tuple[Port, ...]
    address: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One entry of the table: a connection that is possible."""

    source: str
    destination: str
    port: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.port}"


def workload_of(manifest: Manifest, namespace_labels: Mapping[str, str]) -> Workload:
    """The workload that an object of ours runs."""
    return Workload(
        name=f"{manifest.namespace}/{manifest.name}",
        namespace=manifest.namespace,
        labels=pod_labels(manifest.body),
        namespace_labels=namespace_labels,
        ports=tuple(
            Port(
                str(port.get("name")), int(port["containerPort"]), str(port.get("protocol", "TCP"))
            )
            for container in pod_spec(manifest.body).get("containers") or []
            for port in container.get("ports") or []
        ),
    )


def truth_table(workloads: list[Workload], policies: list[Manifest]) -> set[Flow]:
    """Every connection that gets out and in, a workload's to itself included."""
    return one_side(workloads, policies, EGRESS) & one_side(workloads, policies, INGRESS)


def one_side(workloads: list[Workload], policies: list[Manifest], direction: str) -> set[Flow]:
    """What the policies let out of the sources (EGRESS) or into the destinations (INGRESS)."""
    compiled = [_Policy.of(policy) for policy in policies]
    numbers = {(each.protocol, each.number) for end in workloads for each in end.ports}
    probes = {end.name: _probes(end, numbers) for end in workloads}
    found = set()
    for guarded in workloads:
        isolating = [p for p in compiled if direction in p.rules and p.selects(guarded)]
        for other in workloads:
            rules = [rule for p in isolating for rule in p.rules_for(other, direction)]
            if isolating and not rules:
                continue
            ends = (guarded, other) if direction == EGRESS else (other, guarded)
            for port in probes[ends[1].name]:
                if not isolating or any(_port_matches(rule, port) for rule in rules):
                    found.add(Flow(ends[0].name, ends[1].name, port.name))
    return found


def selecting(workload: Workload, policies: list[Manifest]) -> list[Manifest]:
    """The policies that select the workload and are not for its whole namespace."""
    return [
        policy
        for policy in policies
        if policy.spec.get("podSelector") and _Policy.of(policy).selects(workload)
    ]


def _probes(destination: Workload, numbers: set[tuple[str, int]]) -> tuple[Port, ...]:
    """The destination's own ports, and every other number that somebody has or nobody has: a rule
    that is open too wide shows itself there.
    """
    own = {(port.protocol, port.number) for port in destination.ports}
    others = sorted((numbers | UNUSED) - own)
    return destination.ports + tuple(Port(f"{n}/{protocol}", n, protocol) for protocol, n in others)


@dataclass(frozen=True, slots=True)
class _Policy:
    namespace: str
    selector: Body
    rules: Mapping[str, list[Body]]

    @classmethod
    def of(cls, manifest: Manifest) -> _Policy:
        spec = manifest.spec
        default = [INGRESS, EGRESS] if "egress" in spec else [INGRESS]
        directions = spec.get("policyTypes") or default
        rules = {each: list(spec.get(each.lower()) or []) for each in directions}
        return cls(manifest.namespace, spec.get("podSelector") or {}, rules)

    def selects(self, workload: Workload) -> bool:
        return (
            workload.address is None
            and workload.namespace == self.namespace
            and _matches(self.selector, workload.labels)
        )

    def rules_for(self, other: Workload, direction: str) -> list[Body]:
        """The rules whose peers include the other end."""
        peers = "to" if direction == EGRESS else "from"
        return [
            rule
            for rule in self.rules[direction]
            if _peer_matches(rule.get(peers), other, self.namespace)
        ]


def _peer_matches(peers: list[Body] | None, other: Workload, own_namespace: str) -> bool:
    if not peers:
        return True  # A rule that names no peers is for everybody.
    return any(_one_peer_matches(peer, other, own_namespace) for peer in peers)


def _one_peer_matches(peer: Body, other: Workload, own_namespace: str) -> bool:
    if "ipBlock" in peer:
        # Pods have addresses too, which nobody knows beforehand: only outside ones are judged.
        return other.address is not None and _in_block(peer["ipBlock"], other.address)
    if other.address is not None:
        return False
    if "namespaceSelector" in peer:
        in_namespace = _matches(peer["namespaceSelector"] or {}, other.namespace_labels)
    else:
        in_namespace = other.namespace == own_namespace
    return in_namespace and _matches(peer.get("podSelector") or {}, other.labels)


def _in_block(block: Body, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block["cidr"]) and not any(
        found in ipaddress.ip_network(each) for each in block.get("except") or []
    )


def _port_matches(rule: Body, port: Port) -> bool:
    ports = rule.get("ports")
    return not ports or any(_one_port_matches(each, port) for each in ports)


def _one_port_matches(wanted: Body, port: Port) -> bool:
    if wanted.get("protocol", "TCP") != port.protocol:
        return False
    number: Any = wanted.get("port")
    match number:
        case None:
            return True
        case str():
            return number == port.name
        case _:
            return bool(number <= port.number <= wanted.get("endPort", number))


def _matches(selector: Body, labels: Mapping[str, str]) -> bool:
    exact = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        _expression_matches(each, labels) for each in selector.get("matchExpressions") or []
    )


def _expression_matches(expression: Body, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case unknown:
            raise ValueError(f"a selector has the operator {unknown}")
