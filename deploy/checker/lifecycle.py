"""How workloads are stopped and replaced, and what of a replica stays when its pod has gone.

A replica that lost its data, came back as another, or went away together with a second one would
cost the chain more than the f failures that it bears.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from deploy.checker.hardening import Rule, workloads
from deploy.checker.loader import Manifest, containers_of, pod_spec
from deploy.checker.pods import DATA, REPLICA_NUMBER
from deploy.checker.report import Violation, violation

GRACE_SECONDS_MIN: Final = 30
RETAIN: Final = {"whenDeleted": "Retain", "whenScaled": "Retain"}


def replica_data(manifests: list[Manifest]) -> Iterator[Violation]:
    """A replica's data lies on a volume of its own, which one pod at a time can write and which
    outlives the pod and the StatefulSet: a replica without its data may vote twice.
    """
    for manifest in _chains(manifests):
        if manifest.spec.get("persistentVolumeClaimRetentionPolicy") != RETAIN:
            yield violation(manifest, "replica-data", "its volumes are not retained")
        claims = manifest.spec.get("volumeClaimTemplates") or []
        if [(each.get("metadata") or {}).get("name") for each in claims] != [DATA["name"]]:
            text = f"its one volumeClaimTemplate is not {DATA['name']}"
            yield violation(manifest, "replica-data", text)
        for claim in claims:
            if (claim.get("spec") or {}).get("accessModes") != ["ReadWriteOncePod"]:
                yield violation(manifest, "replica-data", "two pods may have one replica's volume")
        if not _keeps_data_on_its_volume(manifest, manifests):
            text = f"its settings name no data_folder under {DATA['mountPath']}"
            yield violation(manifest, "replica-data", text)


def _keeps_data_on_its_volume(manifest: Manifest, manifests: list[Manifest]) -> bool:
    """Do its settings name a folder on the claim's volume?"""
    for each in manifests:
        if (each.kind, each.namespace) != ("ConfigMap", manifest.namespace):
            continue
        if each.name == f"{manifest.name}-settings":
            text = str((each.body.get("data") or {}).get("settings.toml", ""))
            try:
                folder = PurePosixPath(str(tomllib.loads(text).get("data_folder", "")))
            except tomllib.TOMLDecodeError:
                return False
            return folder.is_relative_to(DATA["mountPath"]) and ".." not in folder.parts
    return False


def replica_numbers(manifests: list[Manifest]) -> Iterator[Violation]:
    """A replica is told its number by the index of its pod, so that no two have the same."""
    for manifest in _chains(manifests):
        for container in containers_of(manifest.body):
            numbered = REPLICA_NUMBER in (container.get("env") or [])
            if container.get("name") == manifest.name and not numbered:
                text = f"{REPLICA_NUMBER['name']} is not the index of the pod"
                yield violation(manifest, "replica-number", text)


def rolling_updates(manifests: list[Manifest]) -> Iterator[Violation]:
    """Replicas are replaced one by one, and a service's instance after its successor is ready."""
    for manifest in workloads(manifests):
        if manifest.kind == "StatefulSet":
            good = manifest.spec.get("updateStrategy") == {"type": "RollingUpdate"}
        else:
            update = (manifest.spec.get("strategy") or {}).get("rollingUpdate") or {}
            good = update.get("maxUnavailable") == 0
        if not good:
            yield violation(manifest, "rolling-update", "an update may stop too many at once")


def grace_periods(manifests: list[Manifest]) -> Iterator[Violation]:
    """Whoever is stopped has the time to finish its calls and to write what it has promised."""
    for manifest in workloads(manifests):
        if pod_spec(manifest.body).get("terminationGracePeriodSeconds", 0) < GRACE_SECONDS_MIN:
            text = f"terminationGracePeriodSeconds is not at least {GRACE_SECONDS_MIN}"
            yield violation(manifest, "grace-period", text)


def _chains(manifests: list[Manifest]) -> Iterator[Manifest]:
    yield from (each for each in workloads(manifests) if each.kind == "StatefulSet")


RULES: Final[tuple[Rule, ...]] = (replica_data, replica_numbers, rolling_updates, grace_periods)
