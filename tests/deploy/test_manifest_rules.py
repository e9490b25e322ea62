"""The manifests keep every rule, and each rule is broken by a manifest that is spoilt on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.check_manifests import check, overlays_of
from deploy.checker.hardening import workloads
from deploy.checker.loader import Renderer
from tests.deploy.deploy_tree import DEPLOY, ROOT, DeployTree

DEPLOYMENT = "k8s/base/registry/deployment.yaml"
STATEFUL_SET = "k8s/base/consensus/statefulset.yaml"
POLICIES = "k8s/components/network-policies/market/"
PRODUCTION = "k8s/overlays/production/market/kustomization.yaml"

# (what is spoilt, file, old text, new text, the rule that says so, the object it names)
MUTATIONS = [
    ("root user", DEPLOYMENT, "runAsUser: 65532", "runAsUser: 0", "non-root", "registry"),
    ("root allowed", DEPLOYMENT, "runAsNonRoot: true", "runAsNonRoot: false", "non-root", "registry"),
    ("no user", DEPLOYMENT, "        runAsUser: 65532\n", "", "non-root", "registry"),
    (
        "a container as root",
        DEPLOYMENT,
        "            allowPrivilegeEscalation: false\n",
        "            allowPrivilegeEscalation: false\n            runAsUser: 0\n",
        "non-root",
        "registry",
    ),
    (
        "no seccomp",
        DEPLOYMENT,
        "{type: RuntimeDefault}",
        "{type: Unconfined}",
        "seccomp",
        "registry",
    ),
    (
        "writable root",
        DEPLOYMENT,
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "read-only-root",
        "registry",
    ),
    (
        "escalation",
        DEPLOYMENT,
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
        "no-escalation",
        "registry",
    ),
    (
        "privileged",
        DEPLOYMENT,
        "allowPrivilegeEscalation: false",
        "privileged: true",
        "no-escalation",
        "registry",
    ),
    (
        "an added capability",
        DEPLOYMENT,
        "{drop: [ALL]}",
        "{drop: [ALL], add: [NET_ADMIN]}",
        "capabilities",
        "registry",
    ),
    ("capabilities kept", DEPLOYMENT, "{drop: [ALL]}", "{}", "capabilities", "registry"),
    (
        "host network",
        DEPLOYMENT,
        "enableServiceLinks: false",
        "enableServiceLinks: false\n      hostNetwork: true",
        "host-isolation",
        "registry",
    ),
    (
        "host processes",
        STATEFUL_SET,
        "enableServiceLinks: false",
        "enableServiceLinks: false\n      hostPID: true",
        "host-isolation",
        "consensus",
    ),
    (
        "host path",
        DEPLOYMENT,
        "emptyDir: {sizeLimit: 64Mi}",
        "hostPath: {path: /var/log}",
        "host-isolation",
        "registry",
    ),
    (
        "host port",
        DEPLOYMENT,
        "containerPort: 9090, protocol",
        "containerPort: 9090, hostPort: 9090, protocol",
        "host-isolation",
        "registry",
    ),
    (
        "token in the pod",
        DEPLOYMENT,
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "no-token",
        "registry",
    ),
    (
        "token in the account",
        "k8s/base/registry/serviceaccount.yaml",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "no-token",
        "registry",
    ),
    (
        "another's account",
        DEPLOYMENT,
        "serviceAccountName: registry",
        "serviceAccountName: default",
        "own-account",
        "registry",
    ),
    (
        "no limits",
        DEPLOYMENT,
        '            limits: {cpu: "1", memory: 512Mi}\n',
        "",
        "limits",
        "registry",
    ),
    ("no memory limit", STATEFUL_SET, ", memory: 1Gi", "", "limits", "consensus"),
    (
        "no liveness probe",
        DEPLOYMENT,
        "          livenessProbe:\n            httpGet: {path: /livez, port: admin}\n"
        "            periodSeconds: 10\n            timeoutSeconds: 5\n            failureThreshold: 6\n",
        "",
        "probes",
        "registry",
    ),
    ("probe elsewhere", DEPLOYMENT, "path: /readyz", "path: /livez", "probes", "registry"),
    (
        "sidecar without readiness",
        DEPLOYMENT,
        "          readinessProbe:\n            tcpSocket: {port: gm-tunnel}\n"
        "            periodSeconds: 30\n",
        "",
        "probes",
        "registry",
    ),
    (
        "plain gRPC on a port",
        DEPLOYMENT,
        "            - {name: admin,",
        "            - {name: grpc, containerPort: 7000, protocol: TCP}\n            - {name: admin,",
        "ports",
        "registry",
    ),
    (
        "node port",
        "k8s/base/gateway/service.yaml",
        "spec:\n",
        "spec:\n  type: NodePort\n",
        "exposure",
        "gateway",
    ),
    (
        "admin port in a Service",
        "k8s/base/registry/service.yaml",
        "{name: gm-tunnel, port: 7443, targetPort: gm-tunnel",
        "{name: admin, port: 9090, targetPort: admin",
        "exposure",
        "registry",
    ),
    ("moving tag", DEPLOYMENT, "registry:0.1.0", "registry:latest", "image-pinned", "registry"),
    ("no tag", DEPLOYMENT, "registry:0.1.0", "registry", "image-pinned", "registry"),
    (
        "no budget",
        "k8s/base/registry/kustomization.yaml",
        "  - pdb.yaml\n",
        "",
        "budget",
        "registry",
    ),
    (
        "a budget above f",
        "k8s/base/consensus/pdb.yaml",
        "maxUnavailable: 1",
        "maxUnavailable: 2",
        "budget",
        "consensus",
    ),
    ("three replicas", STATEFUL_SET, "replicas: 4", "replicas: 3", "replicas", "consensus"),
    ("one instance", DEPLOYMENT, "replicas: 2", "replicas: 1", "replicas", "registry"),
    (
        "replicas on one machine",
        STATEFUL_SET,
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "anti-affinity",
        "consensus",
    ),
    (
        "pod security off",
        "k8s/zones/market/namespaces.yaml",
        "enforce: restricted",
        "enforce: privileged",
        "pod-security",
        "lc-consensus",
    ),
    (
        "outside the zones",
        "k8s/zones/market/apps/kustomization.yaml",
        "namespace: lc-apps",
        "namespace: default",
        "namespace",
        "registry",
    ),
    (
        "no settings",
        "k8s/zones/market/apps/kustomization.yaml",
        "  - registry-settings.yaml\n",
        "",
        "references",
        "registry",
    ),
    (
        "no NetworkPolicy",
        POLICIES + "kustomization.yaml",
        "  - lc-apps-registry.yaml\n",
        "",
        "network-policy",
        "registry",
    ),
    (
        "no default deny",
        POLICIES + "deny-all.yaml",
        "namespace: lc-data",
        "namespace: lc-mgmt-2",
        "default-deny",
        "lc-data",
    ),
    (
        "default deny for one direction",
        POLICIES + "deny-all.yaml",
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Ingress]",
        "default-deny",
        "lc-consensus",
    ),
    (
        "a block of addresses",
        "k8s/overlays/production/market/link.yaml",
        "198.51.100.10/32",
        "198.51.100.0/24",
        "single-address",
        "gateway-link",
    ),
    (
        "unknown kind",
        "k8s/base/registry/pdb.yaml",
        "apiVersion: policy/v1",
        "apiVersion: policy/v1beta1",
        "unknown-kind",
        "PodDisruptionBudget/lc-apps/registry",
    ),
    (
        "misspelt field",
        DEPLOYMENT,
        "terminationGracePeriodSeconds",
        "terminationGracePeriodSecond",
        "schema",
        "registry",
    ),
    ("wrong type", DEPLOYMENT, "replicas: 2", "replicas: two", "schema", "registry"),
    ("unknown field in a patch", PRODUCTION, "{name: GUQIAO", "{nam: GUQIAO", "schema", "consensus"),
    (
        "production without digest",
        PRODUCTION,
        "digest: sha256:0000000000000000000000000000000000000000000000000000000000000000",
        'newTag: "0.1.0"',
        "production",
        "consensus",
    ),
    (
        "production imports history",
        PRODUCTION,
        'HISTORIC_IMPORT, value: "true"',
        'HISTORIC_IMPORT, value: "false"',
        "production",
        "consensus",
    ),
    (
        "production in development mode",
        "k8s/zones/market/apps/registry-settings.yaml",
        '    domain = "shandong"\n',
        '    domain = "shandong"\n    development = true\n',
        "production",
        "registry",
    ),
    (
        "production on the embedded bus",
        "k8s/zones/market/apps/registry-settings.yaml",
        'kind = "kafka"',
        'kind = "postgres"',
        "production",
        "registry",
    ),
    (
        "settings that are no TOML",
        "k8s/zones/market/apps/registry-settings.yaml",
        'kind = "kafka"',
        "kind = kafka",
        "settings",
        "registry",
    ),
    (
        "key twice",
        DEPLOYMENT,
        "  replicas: 2\n",
        "  replicas: 2\n  replicas: 2\n",
        "loader",
        "deployment.yaml",
    ),
    (
        "unknown part of a kustomization",
        "k8s/overlays/staging/kustomization.yaml",
        "components:",
        "namePrefix: x-\ncomponents:",
        "loader",
        "staging",
    ),
    (
        "a patch for nobody",
        PRODUCTION,
        "kind: StatefulSet, name: consensus",
        "kind: StatefulSet, name: consensu",
        "loader",
        "production/market",
    ),
    (
        "a file that is not there",
        "k8s/base/registry/kustomization.yaml",
        "  - pdb.yaml",
        "  - pdbs.yaml",
        "loader",
        "base/registry",
    ),
]


@pytest.mark.req("G2-15-3", "G2-18-1")
def test_the_manifests_keep_every_rule() -> None:
    assert check(DEPLOY.resolve()) == []


def test_every_overlay_runs_the_workloads_of_its_domains() -> None:
    """The rules say nothing of an overlay that renders to nothing."""
    found = {
        overlay.relative_to(DEPLOY / "k8s" / "overlays").as_posix(): sorted(
            f"{each.namespace}/{each.name}" for each in workloads(Renderer().render(overlay))
        )
        for overlay in overlays_of(DEPLOY)
    }
    market = ["lc-apps/registry", "lc-apps/reporting", "lc-consensus/consensus", "lc-gateway/gateway"]
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
    [mutation[1:] for mutation in MUTATIONS],
    ids=[mutation[0] for mutation in MUTATIONS],
)
def test_a_spoilt_manifest_breaks_its_rule(
    tmp_path: Path, file: str, old: str, new: str, rule: str, subject: str
) -> None:
    tree = DeployTree.copy(tmp_path)
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
    tmp_path: Path, rule: str, kind: str, body: str
) -> None:
    tree = DeployTree.copy(tmp_path)
    tree.append("k8s/base/registry/pdb.yaml", f"---\n{body}metadata: {{name: intruder}}\n")
    assert any(f"{kind}/lc-apps/intruder: {rule}: " in line for line in tree.lines())


def test_a_file_that_no_overlay_reads_is_named(tmp_path: Path) -> None:
    tree = DeployTree.copy(tmp_path)
    (tree.root / "k8s/base/registry/left-over.yaml").write_text("kind: Secret\n")
    assert ["base/registry/left-over.yaml" in line for line in tree.lines()] == [True]


def test_an_object_that_is_there_twice_is_named(tmp_path: Path) -> None:
    tree = DeployTree.copy(tmp_path)
    tree.append(
        "k8s/zones/market/apps/kustomization.yaml", "  - ../../../base/registry/service.yaml\n"
    )
    assert ["Service/lc-apps/registry is there twice" in line for line in tree.lines()] == [True]


def test_a_release_needs_the_digests_of_real_images(tmp_path: Path) -> None:
    """Until the release writes them, production names images that cannot exist, never a wrong one."""
    tree = DeployTree.copy(tmp_path)
    unreleased = tree.lines(release=True)
    assert unreleased
    assert all(": release: " in line for line in unreleased)
    for domain in ("market", "regulator"):
        file = tree.root / f"k8s/overlays/production/{domain}/kustomization.yaml"
        file.write_text(file.read_text().replace("0" * 64, "5a" * 32))
    assert tree.lines(release=True) == []


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
