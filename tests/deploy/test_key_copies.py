"""The init container's command, run on a folder laid out as Kubernetes lays out a Secret volume."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.check_manifests import overlays_of
from deploy.checker.hardening import workloads
from deploy.checker.loader import Renderer, pod_spec
from guqiao_sdk.gm.keyfile import read_guarded
from tests.deploy.deploy_tree import DEPLOY

SECRETS = "/run/guqiao/secrets"
KEYS = "/run/guqiao/keys"


def key_containers() -> dict[str, dict[str, Any]]:
    """Each workload's container `keys`."""
    return {
        each.name: next(c for c in pod_spec(each.body)["initContainers"] if c["name"] == "keys")
        for overlay in overlays_of(DEPLOY)
        for each in workloads(Renderer().render(overlay))
    }


def secret_volume(folder: Path, names: list[str]) -> None:
    """Files readable by the group, behind two links each, as the kubelet makes them."""
    data = folder / "..2026_01_01"
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(f"key of {name}")
        (data / name).chmod(0o440)
    (folder / "..data").symlink_to(data.name)
    for top in sorted({name.partition("/")[0] for name in names}):
        (folder / top).symlink_to(f"..data/{top}")


@pytest.mark.parametrize("service", sorted(key_containers()))
def test_each_pod_gets_its_own_keys_readable_by_their_owner_only(
    service: str, tmp_path: Path
) -> None:
    secrets, keys = tmp_path / "secrets", tmp_path / "keys"
    secrets.mkdir()
    keys.mkdir()
    if service == "consensus":
        files = [f"consensus-{n}/{name}" for n in range(4) for name in ("tls.key", "vote.key")]
        expected = {name: f"key of consensus-2/{name}" for name in ("tls.key", "vote.key")}
    else:
        files = ["tls.key", "signing.key"]
        expected = {name: f"key of {name}" for name in files}
    secret_volume(secrets, files)
    container = key_containers()[service]
    [mount] = [each for each in container["volumeMounts"] if each["mountPath"] == SECRETS]
    given = secrets / mount.get("subPathExpr", ".").replace("$(POD_NAME)", "consensus-2")
    command = [
        word.replace(SECRETS, str(given)).replace(KEYS, str(keys)) for word in container["command"]
    ]
    for _ in range(2):  # A pod whose start is repeated finds its own files.
        subprocess.run(command, check=True)
    assert {each.name: each.read_text() for each in keys.iterdir()} == expected
    assert {stat.S_IMODE(each.stat().st_mode) for each in keys.iterdir()} == {0o600}
    for name, text in expected.items():
        assert read_guarded(keys / name).decode() == text


def test_a_secret_volume_without_keys_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "keys").mkdir()
    command = [
        word.replace(SECRETS, str(tmp_path / "secrets")).replace(KEYS, str(tmp_path / "keys"))
        for word in key_containers()["registry"]["command"]
    ]
    assert subprocess.run(command, capture_output=True).returncode != 0
