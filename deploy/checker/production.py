"""What production refuses beyond the rules for all: images without a digest, development mode, the
embedded bus, a genesis that lets history be imported, and a volume that a chain soon fills.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from deploy.checker.hardening import DIGEST, workloads
from deploy.checker.loader import Manifest, containers_of, split_image
from deploy.checker.report import Violation, violation

STORAGE_GIB_MIN: Final = 10
STORAGE: Final = re.compile(r"(\d+)Gi")
UNRELEASED: Final = "sha256:" + "0" * 64
REFUSE_HISTORIC_IMPORT: Final = {"name": "GUQIAO_CONSENSUS_REFUSE_HISTORIC_IMPORT", "value": "true"}


def production_violations(manifests: list[Manifest], *, release: bool) -> Iterator[Violation]:
    """For a production overlay. With `release`, digests must be those of images that exist."""
    yield from _images(manifests, release)
    yield from _storage(manifests)
    for manifest in workloads(manifests):
        environment = [
            env for each in containers_of(manifest.body) for env in each.get("env") or []
        ]
        if any(str(env["name"]).endswith("_DEVELOPMENT") for env in environment):
            yield violation(manifest, "production", "the environment sets development mode")
        if manifest.kind == "StatefulSet" and REFUSE_HISTORIC_IMPORT not in environment:
            text = (
                "a genesis with historic_import would be served: set "
                + REFUSE_HISTORIC_IMPORT["name"]
            )
            yield violation(manifest, "production", text)
    for manifest in manifests:
        if manifest.kind == "ConfigMap":
            yield from _settings(manifest)


def _images(manifests: list[Manifest], release: bool) -> Iterator[Violation]:
    for manifest in workloads(manifests):
        for image in sorted({str(each.get("image", "")) for each in containers_of(manifest.body)}):
            pin = split_image(image)[1]
            if not DIGEST.fullmatch(pin):
                yield violation(manifest, "production", f"{image} is named without a digest")
            elif release and pin == UNRELEASED:
                yield violation(manifest, "release", f"{image}: the release has written no digest")


def _storage(manifests: list[Manifest]) -> Iterator[Violation]:
    """A chain only grows, and a replica whose volume is full stops."""
    for manifest in workloads(manifests):
        for claim in manifest.spec.get("volumeClaimTemplates") or []:
            resources = (claim.get("spec") or {}).get("resources") or {}
            size = STORAGE.fullmatch(str((resources.get("requests") or {}).get("storage")))
            if size is None or int(size[1]) < STORAGE_GIB_MIN:
                text = f"a replica's volume is not of {STORAGE_GIB_MIN}Gi or more"
                yield violation(manifest, "replica-storage", text)


def _settings(manifest: Manifest) -> Iterator[Violation]:
    text = (manifest.body.get("data") or {}).get("settings.toml")
    if text is None:
        return
    try:
        settings: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        yield violation(manifest, "settings", f"settings.toml: {error}")
        return
    if settings.get("development", False) is not False:
        yield violation(manifest, "production", "settings.toml sets development mode")
    if settings.get("bus", {}).get("kind", "kafka") != "kafka":
        yield violation(manifest, "production", "the embedded bus is for one machine")
