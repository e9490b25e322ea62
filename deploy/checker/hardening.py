"""The hardening rules: what every workload and everything around it must say of itself.

Each rule is a function from the rendered objects to its violations; `RULES` is the list. They state
GB/T 22239 level 3 as far as manifests can show it (requirement G2-15-3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from deploy.checker.loader import Body, Manifest, containers_of, pod_labels, pod_spec, split_image
from deploy.checker.report import Violation, violation

Rule = Callable[[list[Manifest]], Iterator[Violation]]

WORKLOADS: Final = frozenset({"Deployment", "StatefulSet"})
PORTS: Final = frozenset({"gm-tunnel", "peer", "admin"})
PROBES: Final = {
    "startupProbe": "/startupz",
    "livenessProbe": "/livez",
    "readinessProbe": "/readyz",
}
REPLICAS_MIN: Final = 4
VERSION_TAG: Final = re.compile(r"\d+\.\d+\.\d+")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
SECRET_TEXT: Final = re.compile(
    r"PRIVATE KEY|(password|passwd|secret|token)[\w-]*[\"']? *[=:]|://[^/\s\"']*@", re.IGNORECASE
)
POD_SECURITY: Final = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
# What the site creates beside these manifests; see docs/adr/0015-kubernetes-zones.md.
SITE_CONFIG_MAPS: Final = frozenset({"trust"})
VOLUMES: Final = frozenset({"name", "configMap", "secret", "projected", "emptyDir"})


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """The objects that run pods of ours."""
    return [manifest for manifest in manifests if manifest.kind in WORKLOADS]


def allowed_kinds(manifests: list[Manifest]) -> Iterator[Violation]:
    """No bare pods, jobs, roles, ingresses or anything else whose hardening nobody has written."""
    known = WORKLOADS | {
        "ConfigMap",
        "EndpointSlice",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    for manifest in manifests:
        if manifest.kind == "Secret":
            yield violation(manifest, "no-secrets", "secrets are made by the site, never kept here")
        elif manifest.kind not in known:
            yield violation(manifest, "kind-allowed", "no rule covers this kind: write it first")


def secret_texts(manifests: list[Manifest]) -> Iterator[Violation]:
    """No ConfigMap holds what only a Secret may: a private key, a password, or a URL with one."""
    for manifest in manifests:
        if manifest.kind == "ConfigMap":
            for name, text in (manifest.body.get("data") or {}).items():
                if SECRET_TEXT.search(str(text)):
                    # What was found is not repeated: a report is read by many.
                    yield violation(manifest, "no-secrets", f"{name} holds a key or password")


def non_root(manifests: list[Manifest]) -> Iterator[Violation]:
    """Every pod runs as a user and a group that are not root's, and no container says otherwise."""
    for manifest in workloads(manifests):
        pod = _context(pod_spec(manifest.body))
        if pod.get("runAsNonRoot") is not True:
            yield violation(manifest, "non-root", "the pod's runAsNonRoot is not true")
        for scope in (pod, *(_context(each) for each in containers_of(manifest.body))):
            if scope.get("runAsUser") == 0 or scope.get("runAsNonRoot") is False:
                yield violation(manifest, "non-root", "it may run as root")
        if not isinstance(pod.get("runAsUser"), int):
            yield violation(manifest, "non-root", "the pod names no runAsUser")
        for group in ("runAsGroup", "fsGroup"):
            if not pod.get(group):
                yield violation(manifest, "non-root", f"the pod's {group} is root's or not named")


def seccomp(manifests: list[Manifest]) -> Iterator[Violation]:
    """RuntimeDefault for the pod, and not undone by a container."""
    for manifest in workloads(manifests):
        if _context(pod_spec(manifest.body)).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield violation(manifest, "seccomp", "the pod's seccompProfile is not RuntimeDefault")
        for container in containers_of(manifest.body):
            if "seccompProfile" in _context(container):
                yield _of(
                    manifest, container, "seccomp", "a container's own profile is not allowed"
                )


def container_context(manifests: list[Manifest]) -> Iterator[Violation]:
    """Read-only root, no escalation, no capability, not privileged: every container says so."""
    for manifest in workloads(manifests):
        for container in containers_of(manifest.body):
            context = _context(container)
            if context.get("readOnlyRootFilesystem") is not True:
                yield _of(manifest, container, "read-only-root", "the root file system is writable")
            if context.get("allowPrivilegeEscalation") is not False:
                yield _of(manifest, container, "no-escalation", "privileges may escalate")
            if context.get("privileged", False) is not False:
                yield _of(manifest, container, "no-escalation", "it is privileged")
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield _of(manifest, container, "capabilities", "all are dropped and none is added")


def host_isolation(manifests: list[Manifest]) -> Iterator[Violation]:
    """Nothing of the host's network, processes or file system."""
    for manifest in workloads(manifests):
        spec = pod_spec(manifest.body)
        for name in ("hostNetwork", "hostPID", "hostIPC", "hostAliases"):
            if spec.get(name):
                yield violation(manifest, "host-isolation", f"{name} is set")
        for volume in spec.get("volumes") or []:
            for source in sorted(set(volume) - VOLUMES):
                yield violation(manifest, "host-isolation", f"a volume is a {source}")


def host_ports(manifests: list[Manifest]) -> Iterator[Violation]:
    """No container takes a port of the machine it runs on."""
    for manifest in workloads(manifests):
        for container in containers_of(manifest.body):
            for port in container.get("ports") or []:
                if "hostPort" in port or "hostIP" in port:
                    yield _of(manifest, container, "host-isolation", "it takes a port of the host")


def tokens(manifests: list[Manifest]) -> Iterator[Violation]:
    """No pod holds a token of the cluster's API; each has an account of its own, without rights."""
    accounts = {
        (each.namespace, each.name): each for each in manifests if each.kind == "ServiceAccount"
    }
    for account in accounts.values():
        if account.body.get("automountServiceAccountToken") is not False:
            yield violation(account, "no-token", "automountServiceAccountToken is not false")
    for manifest in workloads(manifests):
        spec = pod_spec(manifest.body)
        if spec.get("automountServiceAccountToken") is not False:
            yield violation(manifest, "no-token", "automountServiceAccountToken is not false")
        if spec.get("serviceAccountName") != manifest.name:
            yield violation(manifest, "own-account", f"its ServiceAccount is not {manifest.name}")
        elif (manifest.namespace, manifest.name) not in accounts:
            yield violation(manifest, "own-account", "its ServiceAccount is not here")


def limits(manifests: list[Manifest]) -> Iterator[Violation]:
    """Requests and limits of CPU and memory for every container."""
    for manifest in workloads(manifests):
        for container in containers_of(manifest.body):
            resources = container.get("resources") or {}
            for group in ("requests", "limits"):
                for what in ("cpu", "memory"):
                    if what not in (resources.get(group) or {}):
                        yield _of(manifest, container, "limits", f"no {group}.{what}")


def probes(manifests: list[Manifest]) -> Iterator[Violation]:
    """Startup, liveness and readiness for every running container: on the admin port where it has
    one, else on its own.
    """
    for manifest in workloads(manifests):
        for container in pod_spec(manifest.body).get("containers") or []:
            ports = {str(port.get("name")) for port in container.get("ports") or []}
            for name, path in PROBES.items():
                probe = container.get(name) or {}
                if "admin" in ports:
                    good = probe.get("httpGet") == {"path": path, "port": "admin"}
                else:
                    good = (probe.get("tcpSocket") or {}).get("port") in ports
                if not good:
                    yield _of(manifest, container, "probes", f"{name} is missing or asks elsewhere")


def ports(manifests: list[Manifest]) -> Iterator[Violation]:
    """Only GM-TLS (gm-tunnel, peer) and the admin port leave a pod; plain gRPC has no port."""
    for manifest in workloads(manifests):
        names = [
            str(port.get("name"))
            for container in containers_of(manifest.body)
            for port in container.get("ports") or []
        ]
        for name in names:
            if name not in PORTS:
                yield violation(manifest, "ports", f"the port {name} is none of {sorted(PORTS)}")
        if "gm-tunnel" not in names or "admin" not in names:
            yield violation(manifest, "ports", "a workload has the ports gm-tunnel and admin")


def exposure(manifests: list[Manifest]) -> Iterator[Violation]:
    """Services stay inside the cluster and never carry the admin port."""
    for manifest in manifests:
        if manifest.kind != "Service":
            continue
        kind = manifest.spec.get("type", "ClusterIP")
        if kind not in ("ClusterIP", "ExternalName") or manifest.spec.get("externalIPs"):
            yield violation(manifest, "exposure", f"{kind} opens a way in beside the zones")
        for port in manifest.spec.get("ports") or []:
            if port.get("name") not in ("gm-tunnel", "peer"):
                yield violation(
                    manifest, "exposure", f"the port {port.get('name')} is not for others"
                )


def images(manifests: list[Manifest]) -> Iterator[Violation]:
    """A release's version or a digest; never a moving tag."""
    for manifest in workloads(manifests):
        for container in containers_of(manifest.body):
            pin = split_image(str(container.get("image", "")))[1]
            if not (VERSION_TAG.fullmatch(pin) or DIGEST.fullmatch(pin)):
                text = f"{container.get('image')} has neither a version nor a digest"
                yield _of(manifest, container, "image-pinned", text)


def budgets(manifests: list[Manifest]) -> Iterator[Violation]:
    """One PodDisruptionBudget a workload, of maxUnavailable 1."""
    found = [each for each in manifests if each.kind == "PodDisruptionBudget"]
    for manifest in workloads(manifests):
        mine = [
            budget
            for budget in found
            if budget.namespace == manifest.namespace
            and budget.spec.get("selector") == manifest.spec.get("selector")
        ]
        if len(mine) != 1:
            yield violation(manifest, "budget", f"{len(mine)} PodDisruptionBudgets, not one")
        for budget in mine:
            if budget.spec.get("maxUnavailable") != 1:
                yield violation(budget, "budget", "maxUnavailable is not 1")


def replicas(manifests: list[Manifest]) -> Iterator[Violation]:
    """A chain has at least four replicas, each on its own machine with its own volume; a service
    has at least two instances.
    """
    for manifest in workloads(manifests):
        is_chain = manifest.kind == "StatefulSet"
        least = REPLICAS_MIN if is_chain else 2
        if manifest.spec.get("replicas", 1) < least:
            yield violation(manifest, "replicas", f"fewer than {least}")
        if not is_chain:
            continue
        if not manifest.spec.get("volumeClaimTemplates"):
            yield violation(manifest, "replicas", "a replica has no volume of its own")
        terms = ((pod_spec(manifest.body).get("affinity") or {}).get("podAntiAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        )
        wanted = {
            "labelSelector": manifest.spec.get("selector"),
            "topologyKey": "kubernetes.io/hostname",
        }
        if wanted not in (terms or []):
            yield violation(manifest, "anti-affinity", "two replicas may share a machine")


def chains(manifests: list[Manifest]) -> Iterator[Violation]:
    """The replicas of a chain start all at once, since none is ready without a quorum, and find
    each other by name; no container of one is given another's keys.
    """
    services = {(each.namespace, each.name): each for each in manifests if each.kind == "Service"}
    for manifest in workloads(manifests):
        if manifest.kind != "StatefulSet":
            continue
        if manifest.spec.get("podManagementPolicy") != "Parallel":
            yield violation(manifest, "parallel", "podManagementPolicy is not Parallel")
        service = services.get((manifest.namespace, str(manifest.spec.get("serviceName"))))
        if service is None:
            yield violation(manifest, "headless", "its serviceName is no Service here")
        elif (
            service.spec.get("clusterIP") != "None"
            or service.spec.get("publishNotReadyAddresses") is not True
            or service.spec.get("selector") != manifest.spec["selector"].get("matchLabels")
        ):
            text = "not headless, not of these pods, or of ready ones only"
            yield violation(service, "headless", text)
        yield from _own_keys(manifest)


def _own_keys(manifest: Manifest) -> Iterator[Violation]:
    secret = {
        volume["name"]
        for volume in pod_spec(manifest.body).get("volumes") or []
        if "secret" in volume or "projected" in volume
    }
    for container in containers_of(manifest.body):
        names = {
            str(variable.get("name"))
            for variable in container.get("env") or []
            if (variable.get("valueFrom") or {}).get("fieldRef") == {"fieldPath": "metadata.name"}
        }
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in secret:
                continue
            if mount.get("subPathExpr") not in {f"$({name})" for name in names}:
                yield _of(manifest, container, "own-keys", "it is given every replica's keys")


def namespaces(manifests: list[Manifest]) -> Iterator[Violation]:
    """Every namespace enforces the restricted standard, and every object is in one of them."""
    names = {each.name for each in manifests if each.kind == "Namespace"}
    for manifest in manifests:
        if manifest.kind == "Namespace":
            labels = manifest.body["metadata"].get("labels") or {}
            for label, value in POD_SECURITY.items():
                if labels.get(label) != value:
                    yield violation(manifest, "pod-security", f"{label} is not {value}")
        elif manifest.namespace not in names:
            yield violation(manifest, "namespace", "it is in no zone of this overlay")


def references(manifests: list[Manifest]) -> Iterator[Violation]:
    """What a workload names is there: its pods, its ConfigMaps, its Service."""
    there = {(each.kind, each.namespace, each.name) for each in manifests}
    for manifest in workloads(manifests):
        labels = (manifest.spec.get("selector") or {}).get("matchLabels")
        if labels != pod_labels(manifest.body):
            yield violation(manifest, "references", "selector and pod labels differ")
        for volume in pod_spec(manifest.body).get("volumes") or []:
            name = (volume.get("configMap") or {}).get("name")
            if name is None or name in SITE_CONFIG_MAPS:
                continue
            if ("ConfigMap", manifest.namespace, name) not in there:
                yield violation(manifest, "references", f"the ConfigMap {name} is not here")
        if ("Service", manifest.namespace, manifest.name) not in there:
            yield violation(manifest, "references", "it has no Service of its name")


def addresses(manifests: list[Manifest]) -> Iterator[Violation]:
    """A policy names single addresses: a block could hold anybody, on some networks even pods."""
    for manifest in manifests:
        if manifest.kind != "NetworkPolicy":
            continue
        for rule in (manifest.spec.get("ingress") or []) + (manifest.spec.get("egress") or []):
            for peer in (rule.get("from") or []) + (rule.get("to") or []):
                cidr = str((peer.get("ipBlock") or {}).get("cidr", "/32"))
                if not cidr.endswith(("/32", "/128")):
                    yield violation(manifest, "single-address", f"{cidr} is more than one address")


RULES: Final[tuple[Rule, ...]] = (
    allowed_kinds,
    secret_texts,
    non_root,
    seccomp,
    container_context,
    host_isolation,
    host_ports,
    tokens,
    limits,
    probes,
    ports,
    exposure,
    images,
    budgets,
    replicas,
    chains,
    namespaces,
    references,
    addresses,
)


def _context(body: Body) -> Body:
    context = body.get("securityContext")
    return context if isinstance(context, dict) else {}


def _of(manifest: Manifest, container: Body, rule: str, text: str) -> Violation:
    return violation(manifest, rule, f"container {container.get('name')}: {text}")
