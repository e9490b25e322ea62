"""Behind a tunnel's sidecar, the server asks it whose certificate each connection has.

Both containers name one socket in a volume that is theirs alone, and the settings say for which
organisation each accepted certificate speaks; otherwise whoever gets in could speak for anybody
(requirements G2-16-1 and G2-17-2).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from deploy.checker.hardening import workloads
from deploy.checker.loader import Body, Manifest, containers_of, pod_spec
from deploy.checker.report import Violation, violation

RULE: Final = "tunnel-lookup"
TUNNEL_PORT: Final = "gm-tunnel"


def tunnel_lookups(manifests: list[Manifest]) -> Iterator[Violation]:
    """Every service with a sidecar asks it who is calling."""
    files = {
        (each.namespace, each.name): each.body.get("data") or {}
        for each in manifests
        if each.kind == "ConfigMap"
    }
    for manifest in workloads(manifests):
        for container in containers_of(manifest.body):
            ports = {port.get("name") for port in container.get("ports") or []}
            if TUNNEL_PORT in ports:
                here = files.get((manifest.namespace, _config(manifest)), {})
                for text in _faults(manifest, str(container.get("name")), here):
                    yield violation(manifest, RULE, text)


def _faults(manifest: Manifest, sidecar: str, files: Body) -> Iterator[str]:
    try:
        grpc = _section(files, "settings.toml", "grpc")
        server = _section(files, "tunnel.toml", "server")
    except (KeyError, tomllib.TOMLDecodeError) as error:
        yield f"its settings cannot be read: {error}"
        return
    socket = server.get("lookup_socket")
    if not socket or grpc.get("lookup_socket") != socket:
        yield "[grpc] of settings.toml and [server] of tunnel.toml name no common lookup_socket"
        return
    if set(grpc.get("organisations") or {}) != set(server.get("accept") or []):
        yield "[grpc.organisations] does not name exactly the certificates that the tunnel accepts"
    yield from _volume_faults(manifest, sidecar, str(PurePosixPath(str(socket)).parent))


def _volume_faults(manifest: Manifest, sidecar: str, folder: str) -> Iterator[str]:
    """The sidecar writes into the socket's folder, the server reads it, and nobody else has it."""
    mounts = [
        (str(container.get("name")), mount)
        for container in containers_of(manifest.body)
        for mount in container.get("volumeMounts") or []
    ]
    here = {str(mount.get("name")) for _, mount in mounts if mount.get("mountPath") == folder}
    if len(here) != 1:
        yield f"{folder} is mounted from {len(here)} volumes, not from one"
        return
    found = sorted(
        (name, str(mount.get("mountPath")), mount.get("readOnly", False))
        for name, mount in mounts
        if mount.get("name") in here
    )
    if found != sorted([(manifest.name, folder, True), (sidecar, folder, False)]):
        yield f"{folder} is not of {manifest.name}, which reads, and {sidecar}, which writes, alone"
    for volume in pod_spec(manifest.body).get("volumes") or []:
        if volume.get("name") in here and "emptyDir" not in volume:
            yield f"{folder} is not an emptyDir: it outlives the pod or others have it"


def _config(manifest: Manifest) -> str:
    """The name of the ConfigMap with the workload's two files."""
    for volume in pod_spec(manifest.body).get("volumes") or []:
        if volume.get("name") == "settings":
            return str((volume.get("configMap") or {}).get("name"))
    return ""


def _section(files: Body, file: str, name: str) -> dict[str, Any]:
    section = tomllib.loads(str(files[file])).get(name)
    return section if isinstance(section, dict) else {}
