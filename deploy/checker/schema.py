"""Each object against the Kubernetes API's own schemas, strictly and offline.

`kubernetes-validate` only warns about a kind or version it does not know; here that is a violation,
because a removed API version would otherwise pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Final

from kubernetes_validate import utils as kubernetes_validate

from deploy.checker.loader import Manifest
from deploy.checker.report import Violation, violation

KUBERNETES_VERSION: Final = "1.37"


def schema_violations(manifests: list[Manifest]) -> Iterator[Violation]:
    """Unknown kinds, misspelt fields, wrong types."""
    for manifest in manifests:
        problem = _problem(json.dumps(manifest.body, sort_keys=True))
        if problem is not None:
            yield violation(manifest, *problem)


@cache
def _problem(text: str) -> tuple[str, str] | None:
    try:
        kubernetes_validate.validate(json.loads(text), KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(str(part) for part in error.path)
        return "schema", f"{where}: {error.message}"
    except (kubernetes_validate.SchemaNotFoundError, KeyError):
        return "unknown-kind", f"Kubernetes {KUBERNETES_VERSION} knows no such kind and apiVersion"
    return None
