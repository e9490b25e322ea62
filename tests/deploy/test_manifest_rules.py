"""The manifests keep every rule, and each rule is broken by a manifest spoilt on purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.check_manifests import overlays_of
from deploy.checker.hardening import workloads
from deploy.checker.loader import Renderer
from tests.deploy.deploy_tree import DEPLOY, ROOT, DeployTree
from tests.deploy.mutations import ALL_MUTATIONS


def test_every_overlay_runs_the_workloads_of_its_domains() -> None:
    """The rules say nothing of an overlay that renders to nothing."""
    found = {
        overlay.relative_to(DEPLOY / "k8s" / "overlays").as_posix(): sorted(
            f"{each.namespace}/{each.name}" for each in workloads(Renderer().render(overlay))
        )
        for overlay in overlays_of(DEPLOY)
    }
    market = [
        "lc-apps/registry",
        "lc-apps/reporting",
        "lc-consensus/consensus",
        "lc-gateway/gateway",
    ]
    regulator = [
        "rc-apps/enablement",
        "rc-apps/reporting",
        "rc-consensus/consensus",
        "rc-gateway/gateway",
    ]
    assert found == {
        "dev": market + regulator,
        "staging": market + regulator,
        "production/market": market,
        "production/regulator": regulator,
    }


@pytest.mark.req("G2-15-3")
@pytest.mark.parametrize(
    ("file", "old", "new", "rule", "subject"),
    [mutation[1:] for mutation in ALL_MUTATIONS],
    ids=[mutation[0] for mutation in ALL_MUTATIONS],
)
def test_a_spoilt_manifest_breaks_its_rule(
    tree: DeployTree, file: str, old: str, new: str, rule: str, subject: str
) -> None:
    tree.replace(file, old, new)
    lines = tree.lines()
    assert [line for line in lines if f": {rule}: " in line and subject in line], lines


@pytest.mark.parametrize(
    ("rule", "kind", "body"),
    [
        ("no-secrets", "Secret", "apiVersion: v1\nkind: Secret\nstringData: {key: value}\n"),
        ("kind-allowed", "Pod", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: x}]}\n"),
        ("unknown-kind", "Gizmo", "apiVersion: example.invalid/v1\nkind: Gizmo\n"),
    ],
)
def test_an_object_that_does_not_belong_is_named(
    tree: DeployTree, rule: str, kind: str, body: str
) -> None:
    tree.append("k8s/base/registry/pdb.yaml", f"---\n{body}metadata: {{name: intruder}}\n")
    assert any(f"{kind}/lc-apps/intruder: {rule}: " in line for line in tree.lines())


def test_a_file_that_no_overlay_reads_is_named(tree: DeployTree) -> None:
    tree.write("k8s/base/registry/left-over.yaml", "kind: Secret\n")
    assert ["base/registry/left-over.yaml" in line for line in tree.lines()] == [True]


def test_an_object_that_is_there_twice_is_named(tree: DeployTree) -> None:
    tree.append(
        "k8s/zones/market/apps/kustomization.yaml", "  - ../../../base/registry/service.yaml\n"
    )
    assert ["Service/lc-apps/registry is there twice" in line for line in tree.lines()] == [True]


def test_a_release_needs_the_digests_of_real_images(tree: DeployTree) -> None:
    """Until the release writes them, production names images that cannot exist."""
    unreleased = tree.lines(release=True)
    assert unreleased
    assert all(": release: " in line for line in unreleased)
    for domain in ("market", "regulator"):
        file = f"k8s/overlays/production/{domain}/kustomization.yaml"
        tree.write(file, tree.read(file).replace("0" * 64, "5a" * 32))
    assert tree.lines(release=True) == []


@pytest.mark.req("G2-15-3", "G2-18-1")
def test_the_command_ends_with_zero_and_says_how_many_overlays_it_checked() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "deploy.check_manifests"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("4 overlays keep every rule")


def test_the_command_ends_with_one_and_one_line_a_violation() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "deploy.check_manifests", "--release"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert len(run.stdout.splitlines()) == 8
    assert run.stdout.startswith("deploy/k8s/base/consensus/statefulset.yaml: StatefulSet/")
