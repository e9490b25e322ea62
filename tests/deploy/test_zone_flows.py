"""The compiled policies equal the declared zone table; no rule can go or be added unseen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.check_manifests import overlays_of
from deploy.checker.loader import Manifest, Renderer
from deploy.checker.network import Flow, Port, Workload, truth_table
from deploy.checker.zones import ZoneTable, members_of, read_zone_table, zone_violations
from tests.deploy.deploy_tree import DEPLOY, DeployTree

OVERLAYS = [path.relative_to(DEPLOY / "k8s/overlays").as_posix() for path in overlays_of(DEPLOY)]
SPOILT_OVERLAYS = [overlay for overlay in OVERLAYS if overlay != "dev"]
"""Staging has the same policies as dev, rule by rule (see below): one of them is spoilt."""
DIRECTIONS = ("ingress", "egress")
OPEN_TO_ALL: dict[str, Any] = {}


@cache
def rendered(overlay: str) -> list[Manifest]:
    return Renderer().render(DEPLOY / "k8s/overlays" / overlay)


@cache
def zone_table() -> ZoneTable:
    return read_zone_table(DEPLOY / "zones.yaml")


@cache
def possible(overlay: str) -> frozenset[Flow]:
    manifests = rendered(overlay)
    policies = [each for each in manifests if each.kind == "NetworkPolicy"]
    return frozenset(truth_table(members_of(manifests, zone_table()), policies))


def names(overlay: str) -> set[str]:
    return {each.name for each in members_of(rendered(overlay), zone_table())}


def complaints(manifests: list[Manifest]) -> list[str]:
    return [str(each) for each in zone_violations(manifests, zone_table(), Path("overlay"))]


def is_seen(manifests: list[Manifest]) -> bool:
    """Is there any complaint?"""
    found = zone_violations(manifests, zone_table(), Path("overlay"))
    return next(found, None) is not None


def with_copy_of(overlay: str, index: int) -> list[Manifest]:
    """The rendered objects, the one at `index` free to be spoilt."""
    manifests = list(rendered(overlay))
    manifests[index] = copy.deepcopy(manifests[index])
    return manifests


def policy_rules(overlay: str) -> Iterator[tuple[int, str, int]]:
    """(object, direction, rule) of every rule of every policy."""
    for index, manifest in enumerate(rendered(overlay)):
        if manifest.kind == "NetworkPolicy":
            for direction in DIRECTIONS:
                for number in range(len(manifest.spec.get(direction) or [])):
                    yield index, direction, number


@pytest.mark.req("G2-18-1", "G2-03-1")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policies_allow_what_is_declared_and_nothing_else(overlay: str) -> None:
    assert complaints(rendered(overlay)) == []
    here = names(overlay)
    declared = {f for f in zone_table().allowed if {f.source, f.destination} <= here}
    zones = {name for name in here if "/" in name and not name.startswith("kube-system/")}
    away = {name for name in zone_table().away if name not in ours(overlay)}
    judged = {f for f in possible(overlay) if {f.source, f.destination} & (zones - away)}
    assert judged == {f for f in declared if {f.source, f.destination} & (zones - away)}


def test_dev_and_staging_have_the_same_policies() -> None:
    dev, staging = (
        [each.body for each in rendered(overlay) if each.kind == "NetworkPolicy"]
        for overlay in ("dev", "staging")
    )
    assert dev == staging
    assert dev


def ours(overlay: str) -> set[str]:
    return {f"{each.namespace}/{each.name}" for each in rendered(overlay)}


@pytest.mark.req("G2-18-1")
@pytest.mark.parametrize("overlay", SPOILT_OVERLAYS)
def test_no_rule_can_be_deleted_unseen(overlay: str) -> None:
    count = 0
    for index, direction, number in policy_rules(overlay):
        manifests = with_copy_of(overlay, index)
        del manifests[index].spec[direction][number]
        assert is_seen(manifests), (manifests[index].title, direction, number)
        count += 1
    assert count > 50


@pytest.mark.req("G2-18-1")
@pytest.mark.parametrize("overlay", SPOILT_OVERLAYS)
def test_no_peer_or_port_can_be_opened_to_all_unseen(overlay: str) -> None:
    for index, direction, number in policy_rules(overlay):
        for part in ("ports", "to" if direction == "egress" else "from"):
            manifests = with_copy_of(overlay, index)
            del manifests[index].spec[direction][number][part]
            assert is_seen(manifests), (manifests[index].title, direction, number, part)


@pytest.mark.req("G2-18-1")
@pytest.mark.parametrize("overlay", SPOILT_OVERLAYS)
def test_no_rule_can_be_added_unseen(overlay: str) -> None:
    """An open rule, and a rule that lets the workload speak with another zone on one more port."""
    stranger = {
        "namespaceSelector": {"matchLabels": {"guqiao.dev/zone": "consensus"}},
        "podSelector": {},
    }
    one_sided = {"ports": [{"port": 61_613, "protocol": "TCP"}]}
    for index, manifest in enumerate(rendered(overlay)):
        if manifest.kind != "NetworkPolicy":
            continue
        for direction, peers in zip(DIRECTIONS, ("from", "to"), strict=True):
            if direction.capitalize() not in manifest.spec["policyTypes"]:
                continue
            for added in (OPEN_TO_ALL, {**one_sided, peers: [stranger]}):
                manifests = with_copy_of(overlay, index)
                manifests[index].spec[direction] = [*(manifest.spec.get(direction) or []), added]
                assert is_seen(manifests), (manifest.title, direction, added)


def test_no_declared_row_can_go_and_none_be_added_unseen(tree: DeployTree) -> None:
    row = "  - {from: [gov-adapter/gov-adapter], to: [lc-apps/registry], ports: [gm-tunnel]}\n"
    tree.replace("zones.yaml", row, "")
    assert all(": zone-table: let " in line for line in tree.lines())
    assert any("gov-adapter/gov-adapter -> lc-apps/registry" in line for line in tree.lines())
    tree.replace("zones.yaml", "allowed:\n", "allowed:\n" + row + row.replace("gm-tunnel", "admin"))
    assert all("registry admin: zone-table: declared, and not let" in line for line in tree.lines())
    assert tree.lines()


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("{from: [lc-apps/registri], to: [lc-data/kafka], ports: [kafka]}", "zone-unknown"),
        ("{from: [lc-gateway/gateway], to: [lc-data/postgresql], ports: [any]}", "zone-forbidden"),
        ("{from: [lc-apps/registry], to: [lc-data/postgresql], ports: [postgresql]}", "loader"),
        ("{from: [lc-apps/registry], to: [lc-data/postgresql]}", "loader"),
    ],
)
def test_a_senseless_row_of_the_table_is_named(tree: DeployTree, row: str, rule: str) -> None:
    tree.replace("zones.yaml", "allowed:\n", f"allowed:\n  - {row}\n")
    assert any(f": {rule}: " in line for line in tree.lines())


FORBIDDEN = [
    ("lc-apps/registry", "rc-consensus/consensus"),
    ("lc-apps/reporting", "rc-consensus/consensus"),
    ("rc-apps/reporting", "lc-consensus/consensus"),
    ("rc-apps/enablement", "lc-consensus/consensus"),
    ("lc-consensus/consensus", "rc-consensus/consensus"),
    ("rc-consensus/consensus", "lc-consensus/consensus"),
    ("lc-gateway/gateway", "rc-consensus/consensus"),
    ("rc-gateway/gateway", "lc-consensus/consensus"),
    ("rc-gateway/gateway", "lc-gateway/gateway"),
    ("internet", "lc-consensus/consensus"),
    ("internet", "rc-consensus/consensus"),
    ("internet", "lc-gateway/gateway"),
    ("lc-gateway/gateway", "internet"),
    ("vendor-bastion/bastion", "lc-data/postgresql"),
    ("vendor-bastion/bastion", "lc-data/kafka"),
    ("vendor-bastion/bastion", "lc-consensus/consensus"),
    ("lc-gateway/gateway", "lc-data/postgresql"),
    ("rc-gateway/gateway", "rc-data/postgresql"),
    ("lc-access/operator-systems", "lc-consensus/consensus"),
    ("lc-access/operator-systems", "lc-data/postgresql"),
    ("lc-consensus/consensus", "lc-data/postgresql"),
]


@pytest.mark.req("G2-18-1", "G2-03-1")
@pytest.mark.parametrize(("source", "destination"), FORBIDDEN)
def test_a_forbidden_flow_is_refused_on_every_port(source: str, destination: str) -> None:
    assert {source, destination} <= names("dev")
    for overlay in OVERLAYS:
        assert not {
            flow
            for flow in possible(overlay)
            if (flow.source, flow.destination) == (source, destination)
            and {source, destination} & ours(overlay)
        }, overlay


def test_the_declared_flows_beside_the_forbidden_ones_are_possible() -> None:
    """The table is not empty: the neighbours of what is refused do work."""
    assert {
        Flow("lc-apps/registry", "lc-consensus/consensus", "gm-tunnel"),
        Flow("lc-gateway/gateway", "rc-gateway/gateway", "peer"),
        Flow("lc-apps/registry", "lc-data/postgresql", "postgresql"),
        Flow("vendor-bastion/bastion", "lc-mgmt/prometheus", "https"),
    } <= possible("staging")


@pytest.mark.req("G2-16-2", "G2-03-1")
def test_in_production_a_gateway_meets_nothing_but_the_other_gateways_address() -> None:
    """Only the declared 证联网 address, on one port: all else outside the cluster is refused."""
    market = {f for f in possible("production/market") if f.source in ours("production/market")}
    outside = {name for name in names("production/market") if name.startswith("rc-")}
    outside.add("internet")
    assert {flow for flow in market if flow.destination in outside} == {
        Flow("lc-gateway/gateway", "rc-gateway/gateway", "peer")
    }
    regulator = possible("production/regulator")
    assert {flow for flow in regulator if flow.source in ("lc-gateway/gateway", "internet")} - {
        flow for flow in regulator if flow.destination not in ours("production/regulator")
    } == {Flow("lc-gateway/gateway", "rc-gateway/gateway", "peer")}


@pytest.mark.req("G2-16-2")
def test_an_egress_policy_to_another_address_is_named(tree: DeployTree) -> None:
    tree.replace("k8s/overlays/production/market/link.yaml", "198.51.100.10/32", "203.0.113.200/32")
    lines = tree.lines()
    assert any("lc-gateway/gateway -> internet 7400/TCP: zone-table: let out" in x for x in lines)
    assert any("lc-gateway/gateway -> rc-gateway/gateway peer: zone-table" in x for x in lines)


def workload(name: str, **labels: str) -> Workload:
    namespace = name.partition("/")[0]
    ports = (Port("http", 80, "TCP"), Port("dns", 53, "UDP"))
    return Workload(name, namespace, labels, {"zone": namespace}, ports)


def policy(namespace: str, **spec: Any) -> Manifest:
    body = {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": namespace}}
    return Manifest(Path("p.yaml"), {**body, "spec": spec})


def reached(*policies: Manifest) -> set[str]:
    """The ports of b/server that a/client reaches."""
    ends = [workload("a/client", app="client"), workload("b/server", app="server")]
    flows = truth_table(ends, list(policies))
    return {f.port for f in flows if (f.source, f.destination) == ("a/client", "b/server")}


ALL = {"http", "dns", "61613/TCP", "61613/UDP"}
SELECTOR_CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("no rule", {"ingress": []}, set()),
    ("an empty rule", {"ingress": [{}]}, ALL),
    ("pods of the own namespace only", {"ingress": [{"from": [{"podSelector": {}}]}]}, set()),
    ("any namespace", {"ingress": [{"from": [{"namespaceSelector": {}}]}]}, ALL),
    (
        "both selectors must match",
        {
            "ingress": [
                {
                    "from": [
                        {
                            "namespaceSelector": {"matchLabels": {"zone": "a"}},
                            "podSelector": {"matchLabels": {"app": "other"}},
                        }
                    ]
                }
            ]
        },
        set(),
    ),
    (
        "two peers, one matches",
        {
            "ingress": [
                {
                    "from": [
                        {"namespaceSelector": {"matchLabels": {"zone": "x"}}},
                        {"namespaceSelector": {"matchLabels": {"zone": "a"}}},
                    ]
                }
            ]
        },
        ALL,
    ),
    ("a named port", {"ingress": [{"ports": [{"port": "http"}]}]}, {"http"}),
    ("a number", {"ingress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}, {"dns"}),
    ("the wrong protocol", {"ingress": [{"ports": [{"port": 53}]}]}, set()),
    ("a range", {"ingress": [{"ports": [{"port": 1, "endPort": 90}]}]}, {"http"}),
    ("a protocol", {"ingress": [{"ports": [{"protocol": "UDP"}]}]}, {"dns", "61613/UDP"}),
    (
        "an expression",
        {
            "ingress": [
                {
                    "from": [
                        {
                            "namespaceSelector": {},
                            "podSelector": {
                                "matchExpressions": [
                                    {"key": "app", "operator": "NotIn", "values": ["client"]}
                                ]
                            },
                        }
                    ]
                }
            ]
        },
        set(),
    ),
    ("an address is no pod", {"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}, set()),
    ("for other pods", {"podSelector": {"matchLabels": {"app": "x"}}, "ingress": []}, ALL),
    ("for the other direction", {"policyTypes": ["Egress"], "egress": []}, ALL),
]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [case[1:] for case in SELECTOR_CASES],
    ids=[case[0] for case in SELECTOR_CASES],
)
def test_a_policy_means_what_kubernetes_says(spec: dict[str, Any], expected: set[str]) -> None:
    assert reached(policy("b", **{"podSelector": {}, **spec})) == expected


def test_policies_add_up_and_both_sides_must_agree() -> None:
    http = policy("b", podSelector={}, ingress=[{"ports": [{"port": "http"}]}])
    dns = policy("b", podSelector={}, ingress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])
    silent = policy("a", podSelector={}, policyTypes=["Egress"])
    assert reached() == ALL
    assert reached(http, dns) == {"http", "dns"}
    assert reached(http, dns, silent) == set()
