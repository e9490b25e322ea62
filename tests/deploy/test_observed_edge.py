"""The zone edge of an observed chain, as documented: both halves of it, or a complaint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.deploy_tree import ROOT, DeployTree

pytestmark = pytest.mark.req("T2-14", "G2-18-1")

POLICIES: Final = "k8s/components/network-policies/regulator"
TABLE: Final = "zones.yaml"


def blocks() -> list[str]:
    """The pieces of YAML that a site adds: whom there is, what is allowed, and the policy."""
    text = (ROOT / "docs/foreign-chains.md").read_text(encoding="utf-8")
    edge = text.partition("### The zone edge")[2].partition("\n## ")[0]
    found: list[str] = re.findall(r"```yaml\n(.*?)```", edge, re.DOTALL)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> DeployTree:
    return DeployTree.copy(tmp_path)


def declare(tree: DeployTree) -> None:
    outside, allowed, _ = blocks()
    tree.replace(TABLE, "outside:\n", f"outside:\n{outside}")
    tree.replace(TABLE, "allowed:\n", f"allowed:\n{allowed}")


def let_out(tree: DeployTree) -> None:
    tree.write(f"{POLICIES}/rc-gateway-observed.yaml", blocks()[2])
    tree.append(f"{POLICIES}/kustomization.yaml", "  - rc-gateway-observed.yaml\n")


def test_the_documented_edge_is_taken(tree: DeployTree) -> None:
    declare(tree)
    let_out(tree)
    assert tree.lines() == []


def test_an_edge_that_no_policy_opens_is_named(tree: DeployTree) -> None:
    declare(tree)
    assert any("declared, and not let out" in line for line in tree.lines())


def test_a_policy_that_is_not_declared_is_named(tree: DeployTree) -> None:
    let_out(tree)
    assert any("198.51.100.31" in line for line in tree.lines())


def test_an_edge_into_a_market_s_replicas_stays_forbidden(tree: DeployTree) -> None:
    declare(tree)
    let_out(tree)
    row = "  - {from: [rc-gateway/gateway], to: [lc-consensus/consensus], ports: [gm-tunnel]}\n"
    tree.replace(TABLE, "allowed:\n", f"allowed:\n{row}")
    assert any("zone-forbidden" in line for line in tree.lines())
