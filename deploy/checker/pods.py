"""What a pod of ours is made of: its containers, what they run, their variables, and its volumes.

All workloads are built alike: an init container copies the keys, the service serves, the sidecar
carries its gRPC. The plan is written here once, and each difference from it is a violation, because
every container of a pod holds that pod's keys (requirement G2-15-3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.checker.hardening import Rule, workloads
from deploy.checker.loader import Body, Manifest, containers_of, pod_spec, split_image
from deploy.checker.production import REFUSE_HISTORIC_IMPORT
from deploy.checker.report import Violation, violation

KEY_COPIER: Final = "keys"
SIDECAR: Final = "gm-tunnel"
COPY_KEYS: Final = [
    *("sh", "-eu", "-c"),
    "install -m 0600 -t /run/guqiao/keys /run/guqiao/secrets/*",
]
REPLICA_KEY_FILES: Final = ("tls.pem", "tls.key", "vote.key")
GROUP_READS: Final = 0o440

# Each volume without a source outside the pod, and where its bytes lie: None is the machine's disk.
SCRATCH: Final = {"keys": "Memory", "lookup": "Memory", "tmp": None}
CONFIG_MAPS: Final = {"settings": "{service}-settings", "trust": "trust"}
READ_ONLY: Final = {"readOnly": True}
SECRETS: Final = {"name": "secrets", "mountPath": "/run/guqiao/secrets", **READ_ONLY}
SETTINGS: Final = {"name": "settings", "mountPath": "/etc/guqiao", **READ_ONLY}
TRUST: Final = {"name": "trust", "mountPath": "/etc/guqiao-trust", **READ_ONLY}
KEYS: Final = {"name": "keys", "mountPath": "/run/guqiao/keys"}
TMP: Final = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a mount of the pod's own
LOOKUP: Final = {"name": "lookup", "mountPath": "/run/guqiao/lookup"}
DATA: Final = {"name": "data", "mountPath": "/var/lib/guqiao"}

POD_NAME: Final = {
    "name": "POD_NAME",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
}
REPLICA_NUMBER: Final = {
    "name": "GUQIAO_CONSENSUS_REPLICA",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
}
COLLECTOR_AUTHORITY: Final = {
    "name": "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "value": "/etc/guqiao-trust/otel-ca.pem",
}


def commands(manifests: list[Manifest]) -> Iterator[Violation]:
    """The three containers and no other, each with its one command: keys are copied with mode 0600,
    and neither the service nor its sidecar is replaced by something that only looks alive.
    """
    for manifest in workloads(manifests):
        spec = pod_spec(manifest.body)
        names = [
            [each.get("name") for each in spec.get(group) or []]
            for group in ("initContainers", "containers")
        ]
        if names != [[KEY_COPIER], [manifest.name, SIDECAR]]:
            text = f"its containers are not {KEY_COPIER}, and then {manifest.name} and {SIDECAR}"
            yield violation(manifest, "command", text)
        known: dict[str, tuple[list[str], list[str]]] = {
            KEY_COPIER: (COPY_KEYS, []),
            manifest.name: (
                ["python", "-m", f"services.{manifest.name}"],
                ["serve", "--config", "/etc/guqiao/settings.toml"],
            ),
            SIDECAR: (
                ["python", "-m", "services.chassis.gm_tunnel"],
                ["--config", "/etc/guqiao/tunnel.toml"],
            ),
        }
        for container in containers_of(manifest.body):
            name = str(container.get("name"))
            if (container.get("command"), container.get("args") or []) != known.get(name):
                yield violation(manifest, "command", f"container {name}: it runs something else")


def own_images(manifests: list[Manifest]) -> Iterator[Violation]:
    """All containers of a pod run the one image of its service, since all of them hold its keys."""
    for manifest in workloads(manifests):
        images = {str(each.get("image", "")) for each in containers_of(manifest.body)}
        if len(images) > 1:
            yield violation(manifest, "own-image", "its containers run different images")
        for image in sorted(images):
            if split_image(image)[0].rpartition("/")[2] != manifest.name:
                yield violation(manifest, "own-image", f"{image} is not its own")


def environments(manifests: list[Manifest]) -> Iterator[Violation]:
    """Only variables that are known, each with its one value or from its one source: a variable
    overrides any setting, and a literal one may be a password.
    """
    for manifest in workloads(manifests):
        known = _variables_of(manifest)
        for container in containers_of(manifest.body):
            name = str(container.get("name"))
            for variable in container.get("env") or []:
                if variable not in known.get(name, []):
                    text = f"container {name}: {variable.get('name')} is not known, or not so"
                    yield violation(manifest, "environment", text)


def _variables_of(manifest: Manifest) -> dict[str, list[Body]]:
    """The variables that each container may have."""
    prefix = f"GUQIAO_{manifest.name.upper()}_"
    common = [COLLECTOR_AUTHORITY, {"name": f"{prefix}DEVELOPMENT", "value": "true"}]
    if manifest.kind == "StatefulSet":
        own: list[Body] = [REPLICA_NUMBER, REFUSE_HISTORIC_IMPORT]
        return {KEY_COPIER: [POD_NAME], manifest.name: common + own}
    source = {"secretKeyRef": {"name": f"{manifest.name}-database", "key": "url"}}
    return {manifest.name: [*common, {"name": f"{prefix}POSTGRES__URL", "valueFrom": source}]}


def mounts(manifests: list[Manifest]) -> Iterator[Violation]:
    """Each volume is mounted at its one place: the Secrets into the init container alone, keys and
    settings read-only, and a replica's data from its claim, not from what ends with the pod.
    """
    for manifest in workloads(manifests):
        known = _mounts_of(manifest)
        for container in containers_of(manifest.body):
            name = str(container.get("name"))
            found = container.get("volumeMounts") or []
            wanted = known.get(name, [])
            for mount in (each for each in found if each not in wanted):
                text = f"{mount['name']} at {mount['mountPath']} is not known, or not so"
                yield violation(manifest, "mounts", f"container {name}: {text}")
            for mount in (each for each in wanted if each not in found):
                text = f"{mount['name']} is not at {mount['mountPath']}"
                yield violation(manifest, "mounts", f"container {name}: {text}")


def _mounts_of(manifest: Manifest) -> dict[str, list[Body]]:
    """The mounts that each container has."""
    is_chain = manifest.kind == "StatefulSet"
    own_folder = {"subPathExpr": f"$({POD_NAME['name']})"} if is_chain else {}
    common: list[Body] = [SETTINGS, TRUST, {**KEYS, **READ_ONLY}, TMP]
    return {
        KEY_COPIER: [{**SECRETS, **own_folder}, KEYS],
        manifest.name: [*common, {**LOOKUP, **READ_ONLY}, *([DATA] if is_chain else [])],
        SIDECAR: [*common, LOOKUP],
    }


def volumes(manifests: list[Manifest]) -> Iterator[Violation]:
    """Each volume has its one source; what a pod writes is bounded in size, and its copy of the
    keys and the lookup socket lie in memory, so that they are on no disk when the pod has gone.
    """
    for manifest in workloads(manifests):
        found = pod_spec(manifest.body).get("volumes") or []
        there = {each["name"] for each in found}
        for name in sorted({"secrets", *CONFIG_MAPS, *SCRATCH} - there):
            yield violation(manifest, "volumes", f"{name}: it is not there")
        for volume in found:
            for text in _volume_faults(manifest.name, volume):
                yield violation(manifest, "volumes", f"{volume['name']}: {text}")


def _volume_faults(service: str, volume: Body) -> Iterator[str]:
    name = volume["name"]
    if name in SCRATCH:
        scratch = volume.get("emptyDir")
        if scratch is None:
            yield "it is no emptyDir"
            return
        if "sizeLimit" not in scratch:
            yield "it has no sizeLimit: it may fill the machine"
        if scratch.get("medium") != SCRATCH[name]:
            yield f"its medium is not {SCRATCH[name] or 'the default'}"
    elif name in CONFIG_MAPS:
        wanted = CONFIG_MAPS[name].format(service=service)
        if volume.get("configMap") != {"name": wanted}:
            yield f"it is not the ConfigMap {wanted}"
    elif name != SECRETS["name"]:
        yield "no rule knows this volume"


def own_secrets(manifests: list[Manifest]) -> Iterator[Violation]:
    """A pod is given the keys of its own service and no other's: two that shared a key could not be
    told apart. A chain's volume holds one folder a replica, each from that replica's Secret.
    """
    for manifest in workloads(manifests):
        own = _secrets_of(manifest)
        for volume in pod_spec(manifest.body).get("volumes") or []:
            holds_secrets = {"secret", "projected"} & set(volume)
            if volume != own and (holds_secrets or volume["name"] == own["name"]):
                text = f"{volume['name']}: it does not hold the service's own keys, or not only"
                yield violation(manifest, "own-secret", text)


def _secrets_of(manifest: Manifest) -> Body:
    """The volume of the service's own keys."""
    name = manifest.name
    if manifest.kind != "StatefulSet":
        source: Body = {"secret": {"secretName": f"{name}-keys", "defaultMode": GROUP_READS}}
        return {"name": SECRETS["name"], **source}
    sources = [
        {
            "secret": {
                "name": f"{replica}-keys",
                "items": [{"key": file, "path": f"{replica}/{file}"} for file in REPLICA_KEY_FILES],
            }
        }
        for replica in (f"{name}-{n}" for n in range(manifest.spec.get("replicas", 1)))
    ]
    return {
        "name": SECRETS["name"],
        "projected": {"defaultMode": GROUP_READS, "sources": sources},
    }


RULES: Final[tuple[Rule, ...]] = (
    commands,
    own_images,
    environments,
    mounts,
    volumes,
    own_secrets,
)
