"""The fields that our objects may have at all: what no rule covers is not allowed.

The API has hundreds of fields that weaken a pod or open a way around the zones, and gains more with
every version. So the rules name none of those: a field that is not listed here is a violation, and
whoever needs it writes down here, and in a rule where its value matters, that it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from deploy.checker.loader import Manifest
from deploy.checker.report import Violation, violation

Shape: TypeAlias = Mapping[str, "Shape"]
"""The fields of a mapping, or of every mapping of a list, each with its own shape."""

VALUE: Final[Shape] = {}
"""Something without fields: a text, a number, or a list of them."""

LABELS: Final[Shape] = {"app.kubernetes.io/name": VALUE}
SELECTOR: Final[Shape] = {"matchLabels": LABELS}
NAMED: Final[Shape] = {"name": VALUE, "namespace": VALUE}
RESOURCES: Final[Shape] = {
    "requests": {"cpu": VALUE, "memory": VALUE},
    "limits": {"cpu": VALUE, "memory": VALUE},
}
PROBE: Final[Shape] = {
    "httpGet": {"path": VALUE, "port": VALUE},
    "tcpSocket": {"port": VALUE},
    "periodSeconds": VALUE,
    "timeoutSeconds": VALUE,
    "failureThreshold": VALUE,
}
CONTAINER: Final[Shape] = {
    "name": VALUE,
    "image": VALUE,
    "command": VALUE,
    "args": VALUE,
    "env": {
        "name": VALUE,
        "value": VALUE,
        "valueFrom": {
            "fieldRef": {"fieldPath": VALUE},
            "secretKeyRef": {"name": VALUE, "key": VALUE},
        },
    },
    "ports": {"name": VALUE, "containerPort": VALUE, "protocol": VALUE},
    "startupProbe": PROBE,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "resources": RESOURCES,
    "securityContext": {
        "allowPrivilegeEscalation": VALUE,
        "readOnlyRootFilesystem": VALUE,
        "capabilities": {"drop": VALUE},
    },
    "volumeMounts": {
        "name": VALUE,
        "mountPath": VALUE,
        "readOnly": VALUE,
        "subPathExpr": VALUE,
    },
}
AFFINITY_TERM: Final[Shape] = {"labelSelector": SELECTOR, "topologyKey": VALUE}
VOLUME: Final[Shape] = {
    "name": VALUE,
    "configMap": {"name": VALUE},
    "secret": {"secretName": VALUE, "defaultMode": VALUE},
    "projected": {
        "defaultMode": VALUE,
        "sources": {"secret": {"name": VALUE, "items": {"key": VALUE, "path": VALUE}}},
    },
    "emptyDir": {"medium": VALUE, "sizeLimit": VALUE},
}
POD_TEMPLATE: Final[Shape] = {
    "metadata": {"labels": LABELS},
    "spec": {
        "serviceAccountName": VALUE,
        "automountServiceAccountToken": VALUE,
        "enableServiceLinks": VALUE,
        "terminationGracePeriodSeconds": VALUE,
        "securityContext": {
            "runAsNonRoot": VALUE,
            "runAsUser": VALUE,
            "runAsGroup": VALUE,
            "fsGroup": VALUE,
            "fsGroupChangePolicy": VALUE,
            "seccompProfile": {"type": VALUE},
        },
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": AFFINITY_TERM,
                "preferredDuringSchedulingIgnoredDuringExecution": {
                    "weight": VALUE,
                    "podAffinityTerm": AFFINITY_TERM,
                },
            }
        },
        "initContainers": CONTAINER,
        "containers": CONTAINER,
        "volumes": VOLUME,
    },
}
POLICY_PEER: Final[Shape] = {
    "ipBlock": {"cidr": VALUE},
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": VALUE}},
    "podSelector": {
        "matchLabels": {**LABELS, "k8s-app": VALUE},
        "matchExpressions": {"key": VALUE, "operator": VALUE, "values": VALUE},
    },
}
POLICY_PORT: Final[Shape] = {"port": VALUE, "protocol": VALUE}

BODIES: Final[Mapping[str, Shape]] = {
    "ConfigMap": {
        "metadata": NAMED,
        "data": {"settings.toml": VALUE, "tunnel.toml": VALUE},
    },
    "Deployment": {
        "metadata": {**NAMED, "labels": LABELS},
        "spec": {
            "replicas": VALUE,
            "strategy": {"rollingUpdate": {"maxUnavailable": VALUE, "maxSurge": VALUE}},
            "selector": SELECTOR,
            "template": POD_TEMPLATE,
        },
    },
    "EndpointSlice": {
        "metadata": {**NAMED, "labels": {"kubernetes.io/service-name": VALUE}},
        "addressType": VALUE,
        "endpoints": {"addresses": VALUE},
        "ports": {"name": VALUE, "port": VALUE, "protocol": VALUE},
    },
    "Namespace": {
        "metadata": {
            "name": VALUE,
            "labels": {
                "guqiao.dev/domain": VALUE,
                "guqiao.dev/zone": VALUE,
                "pod-security.kubernetes.io/enforce": VALUE,
                "pod-security.kubernetes.io/enforce-version": VALUE,
            },
        },
    },
    "NetworkPolicy": {
        "metadata": NAMED,
        "spec": {
            "podSelector": SELECTOR,
            "policyTypes": VALUE,
            "ingress": {"from": POLICY_PEER, "ports": POLICY_PORT},
            "egress": {"to": POLICY_PEER, "ports": POLICY_PORT},
        },
    },
    "PodDisruptionBudget": {
        "metadata": NAMED,
        "spec": {"maxUnavailable": VALUE, "selector": SELECTOR},
    },
    "Service": {
        "metadata": NAMED,
        "spec": {
            "type": VALUE,
            "externalName": VALUE,
            "clusterIP": VALUE,
            "publishNotReadyAddresses": VALUE,
            "selector": LABELS,
            "ports": {"name": VALUE, "port": VALUE, "targetPort": VALUE, "protocol": VALUE},
        },
    },
    "ServiceAccount": {"metadata": NAMED, "automountServiceAccountToken": VALUE},
    "StatefulSet": {
        "metadata": {**NAMED, "labels": LABELS},
        "spec": {
            "serviceName": VALUE,
            "replicas": VALUE,
            "podManagementPolicy": VALUE,
            "updateStrategy": {"type": VALUE},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": VALUE, "whenScaled": VALUE},
            "selector": SELECTOR,
            "template": POD_TEMPLATE,
            "volumeClaimTemplates": {
                "metadata": {"name": VALUE},
                "spec": {"accessModes": VALUE, "resources": {"requests": {"storage": VALUE}}},
            },
        },
    },
}


def unknown_fields(manifests: list[Manifest]) -> Iterator[Violation]:
    """Nothing is set that no rule has thought of: no field, label or annotation beside these."""
    for manifest in manifests:
        body = BODIES.get(manifest.kind)
        if body is None:
            continue  # The kind itself is not allowed, and its own rule says so.
        shape = {"apiVersion": VALUE, "kind": VALUE, **body}
        for field in sorted(set(_unknown(manifest.body, shape, ""))):
            yield violation(manifest, "unknown-field", f"no rule covers {field}: write it first")


def _unknown(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """The paths of the fields that the shape does not have."""
    if isinstance(value, list):
        for each in value:
            yield from _unknown(each, shape, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in shape:
                yield from _unknown(inner, shape[name], f"{path}{name}.")
            else:
                yield path + name
