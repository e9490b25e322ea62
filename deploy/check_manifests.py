"""`python -m deploy.check_manifests [--release]`: renders every overlay and checks it, offline.

Exit 0 when all rules hold; exit 1 with one line a violation, naming file, object and rule. Where a
kubectl with Kustomize 5 is at hand, its rendering must equal ours.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.checker import hardening, lifecycle, pods
from deploy.checker.closed_world import unknown_fields
from deploy.checker.hardening import workloads
from deploy.checker.loader import KUSTOMIZATION, LoadError, Manifest, Renderer
from deploy.checker.production import production_violations
from deploy.checker.report import Violation
from deploy.checker.schema import schema_violations
from deploy.checker.services import service_violations
from deploy.checker.tunnel import tunnel_lookups
from deploy.checker.zones import ZoneTable, read_zone_table, table_violations, zone_violations

RULES: Final = (unknown_fields, *hardening.RULES, *pods.RULES, *lifecycle.RULES)
DEPLOY: Final = Path(__file__).resolve().parent
KUSTOMIZE_MAJOR_MIN: Final = 5
KUBECTL_SECONDS_MAX: Final = 60


def check(deploy: Path, *, release: bool = False) -> list[Violation]:
    """Every violation in a deploy folder."""
    overlays = overlays_of(deploy)
    if not overlays:
        return [Violation(deploy / "k8s", "overlays", "loader", "there is no overlay")]
    found: set[Violation] = set()
    renderer = Renderer()
    known: set[str] = set()
    try:
        table = read_zone_table(deploy / "zones.yaml")
        for overlay in overlays:
            manifests = renderer.render(overlay)
            known |= {f"{each.namespace}/{each.name}" for each in workloads(manifests)}
            found |= set(_of_overlay(manifests, table, overlay, release=release))
    except LoadError as error:
        return [Violation(error.file, "rendering", "loader", error.text)]
    found |= set(table_violations(table, known))
    for file in sorted((deploy / "k8s").resolve().rglob("*.yaml")):
        if file not in renderer.files:
            found.add(Violation(file, "file", "unused-file", "no overlay reads it"))
    return sorted(found)


def overlays_of(deploy: Path) -> list[Path]:
    """The folders that are applied to a cluster."""
    return sorted(file.parent for file in (deploy / "k8s" / "overlays").rglob(KUSTOMIZATION))


def _of_overlay(
    manifests: list[Manifest], table: ZoneTable, overlay: Path, *, release: bool
) -> list[Violation]:
    malformed = list(schema_violations(manifests))
    if malformed:
        return malformed  # The other rules read objects of a known shape.
    found = [each for rule in RULES for each in rule(manifests)]
    found += tunnel_lookups(manifests)
    found += service_violations(manifests, table)
    found += zone_violations(manifests, table, overlay / KUSTOMIZATION)
    if "production" in overlay.parts:
        found += production_violations(manifests, release=release)
    return found


def kubectl_differences(deploy: Path, kubectl: str) -> list[Violation]:
    """Objects that kubectl renders differently than we do."""
    found = []
    for overlay in overlays_of(deploy):
        run = subprocess.run(  # noqa: S603 - the program was looked up, the argument is our folder
            [kubectl, "kustomize", str(overlay)],
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS_MAX,
            check=False,
        )
        file = overlay / KUSTOMIZATION
        if run.returncode != 0:
            found.append(Violation(file, "rendering", "kubectl", run.stderr.strip()))
            continue
        theirs = [each for each in yaml.safe_load_all(run.stdout) if each]
        ours = [manifest.body for manifest in Renderer().render(overlay)]
        for title in sorted(_canonical(theirs) ^ _canonical(ours)):
            found.append(
                Violation(file, title[:120], "kubectl", "kubectl renders this differently")
            )
    return found


def find_kubectl() -> str | None:
    """A kubectl with a Kustomize that knows our folders, if there is one."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return None
    run = subprocess.run(  # noqa: S603 - the program was looked up
        [kubectl, "version", "--client"],
        capture_output=True,
        text=True,
        timeout=KUBECTL_SECONDS_MAX,
        check=False,
    )
    version = re.search(r"Kustomize Version: v(\d+)", run.stdout)
    return kubectl if version and int(version[1]) >= KUSTOMIZE_MAJOR_MIN else None


def _canonical(bodies: list[dict[str, Any]]) -> set[str]:
    return {
        f"{body['kind']} {body['metadata']['name']} {json.dumps(body, sort_keys=True)}"
        for body in bodies
    }


def main() -> int:
    """Check this repository's folder."""
    parser = argparse.ArgumentParser(description="Check the Kubernetes manifests, offline")
    parser.add_argument("--release", action="store_true", help="refuse digests not yet written")
    release = parser.parse_args().release
    found = check(DEPLOY, release=release)
    kubectl = find_kubectl()
    if kubectl is not None and not found:
        found = kubectl_differences(DEPLOY, kubectl)
    for each in found:
        sys.stdout.write(each.line(DEPLOY.parent) + "\n")
    if found:
        return 1
    compared = "equal to kubectl's" if kubectl else "not compared: no kubectl with Kustomize 5 here"
    sys.stdout.write(
        f"{len(overlays_of(DEPLOY))} overlays keep every rule; renderings {compared}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
