"""The settings in the manifests are ones that the services accept, and their ends meet: ports,
routes and names agree between a pod's two containers and between the pods.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from deploy.check_manifests import overlays_of
from deploy.checker.hardening import workloads
from deploy.checker.loader import Manifest, Renderer, containers_of, pod_spec
from deploy.checker.zones import read_zone_table
from services.chassis.gm_tunnel.__main__ import TunnelConfig
from services.chassis.settings import SettingsError, load_settings
from services.consensus import app as consensus_app
from services.consensus.domain.contracts.catalogue import standard_catalogue
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.settings import Settings as ConsensusSettings
from tests.deploy.deploy_tree import DEPLOY
from tests.plugins.chain_network import ChainNetwork

CHAINS = {"lc": "shandong", "rc": "csrc"}
REPLICAS = 4


@dataclass(frozen=True, slots=True)
class Deployed:
    """One workload of one overlay, with its two files."""

    overlay: str
    manifest: Manifest
    settings: str
    tunnel: str

    @property
    def chain(self) -> str:
        return CHAINS[self.manifest.namespace.partition("-")[0]]

    def environment(self) -> dict[str, str]:
        """What the service's container gets, secrets and pod facts filled in."""
        container = next(
            each for each in containers_of(self.manifest.body) if each["name"] == self.manifest.name
        )
        filled = {"secretKeyRef": "postgresql://guqiao@127.0.0.1/x", "fieldRef": "3"}
        return {
            env["name"]: env["value"] if "value" in env else filled[next(iter(env["valueFrom"]))]
            for env in container["env"]
        }


@cache
def deployed() -> tuple[Deployed, ...]:
    return tuple(_deployed())


def _deployed() -> Iterator[Deployed]:
    for overlay in overlays_of(DEPLOY):
        manifests = Renderer().render(overlay)
        data = {
            (each.namespace, each.name): each.body["data"]
            for each in manifests
            if each.kind == "ConfigMap"
        }
        for manifest in workloads(manifests):
            files = data[manifest.namespace, f"{manifest.name}-settings"]
            name = overlay.relative_to(DEPLOY / "k8s/overlays").as_posix()
            yield Deployed(name, manifest, files["settings.toml"], files["tunnel.toml"])


def title(each: Deployed) -> str:
    return f"{each.overlay}:{each.manifest.namespace}/{each.manifest.name}"


def loaded(each: Deployed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in each.environment().items():
        monkeypatch.setenv(name, value)
    config = folder / "settings.toml"
    config.write_text(each.settings, encoding="utf-8")
    module = import_module(f"services.{each.manifest.name}.settings")
    return load_settings(module.Settings, config)


@pytest.mark.parametrize("each", deployed(), ids=title)
def test_the_service_accepts_its_settings(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    assert settings.domain == each.chain
    assert settings.development == (each.overlay == "dev")
    assert settings.grpc.address == "127.0.0.1:7000", "plain gRPC is for this pod alone"


@pytest.mark.parametrize("each", deployed(), ids=title)
def test_the_ports_of_a_pod_are_those_that_its_settings_name(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    tunnel = TunnelConfig.model_validate(tomllib.loads(each.tunnel))
    assert tunnel.server is not None
    assert tunnel.server.target_port == settings.grpc.port
    expected = {"gm-tunnel": tunnel.server.port, "admin": settings.admin.port}
    if each.manifest.name == "consensus":
        expected["peer"] = settings.peers.port
    elif each.manifest.name == "gateway":
        expected["peer"] = settings.tunnel.port
    assert expected == {
        port["name"]: port["containerPort"]
        for container in containers_of(each.manifest.body)
        for port in container.get("ports") or []
    }


@pytest.mark.parametrize(
    "each", [each for each in deployed() if each.manifest.name != "consensus"], ids=title
)
def test_a_service_reaches_the_replicas_of_its_own_chain_through_its_tunnel(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    tunnel = TunnelConfig.model_validate(tomllib.loads(each.tunnel))
    prefix = each.manifest.namespace.partition("-")[0]
    assert settings.chain.endpoints == tuple(f"127.0.0.1:{r.listen_port}" for r in tunnel.routes)
    assert [(route.host, route.port, route.expected_peer) for route in tunnel.routes] == [
        (
            f"consensus-{number}.consensus.{prefix}-consensus.svc",
            7443,
            f"guqiao:replica:{each.chain}/{number}",
        )
        for number in range(REPLICAS)
    ]


@pytest.mark.req("G2-09-4", "G2-16-1")
@pytest.mark.parametrize("each", deployed(), ids=title)
def test_each_authority_speaks_for_its_own_domain_and_only_gateways_know_anothers(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    tunnel = TunnelConfig.model_validate(tomllib.loads(each.tunnel))
    met = {each.chain}
    if each.manifest.name == "gateway":
        met |= {remote.domain for remote in settings.remotes}
        assert len(met) == 1 + len(settings.remotes)
    for authorities, domains in (
        (settings.gm.authorities, met),
        (tunnel.identity.authorities, {each.chain}),
    ):
        assert {(a.domains, a.certificate.name, a.crl.name) for a in authorities} == {
            (frozenset({domain}), f"{domain}-ca.pem", f"{domain}-crl.pem") for domain in domains
        }


@pytest.mark.req("G2-03-1", "G2-18-1")
@pytest.mark.parametrize(
    "each", [each for each in deployed() if each.manifest.name == "gateway"], ids=title
)
def test_a_gateway_calls_those_that_the_zone_table_lets_it_call_and_the_link_is_whole(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A market's calls the regulator's, which knows it and calls nobody: so packets of both
    directions have a way, in every overlay.
    """
    settings = loaded(each, tmp_path, monkeypatch)
    table = read_zone_table(DEPLOY / "zones.yaml")
    own = each.manifest.namespace.partition("-")[0]
    [other] = set(CHAINS) - {own}
    may_call = any(
        flow.source == f"{own}-gateway/gateway" and flow.destination == f"{other}-gateway/gateway"
        for flow in table.allowed
    )
    [remote] = settings.remotes
    assert remote.chain_id == CHAINS[other]
    assert remote.has_route == may_call == (settings.role == "market")
    assert remote.expected_peer == f"guqiao:service:{CHAINS[other]}/gateway"
    ends = [one for one in deployed() if one.manifest.namespace == f"{other}-gateway"]
    facing = [loaded(one, tmp_path, monkeypatch) for one in ends]
    assert {one.identity.organisation for one in facing} == {remote.organisation}


@pytest.mark.parametrize("role", ["market", "regulator"])
def test_settings_that_would_turn_the_direction_of_calls_are_refused(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (each for each in deployed() if each.manifest.name == "gateway"):
        turned = each.settings.replace('role = "market"', 'role = "regulator"')
        if role == "market":
            turned = each.settings.replace('role = "regulator"', 'role = "market"')
        if turned != each.settings:
            with pytest.raises(SettingsError, match="route_port"):
                loaded(replace(each, settings=turned), tmp_path, monkeypatch)


@pytest.mark.req("G2-16-1", "G2-17-3")
@pytest.mark.parametrize("each", deployed(), ids=title)
def test_the_server_asks_its_sidecar_for_whom_a_connection_speaks(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    tunnel = TunnelConfig.model_validate(tomllib.loads(each.tunnel))
    assert tunnel.server is not None
    assert settings.grpc.lookup_socket == tunnel.server.lookup_socket
    assert set(settings.grpc.organisations) == tunnel.server.accept
    for certificate, organisation in settings.grpc.organisations.items():
        assert certificate.startswith(f"guqiao:service:{each.chain}/")
        assert organisation.startswith(f"did:rem:{each.chain}:")


@pytest.mark.req("G2-16-1")
def test_a_service_signs_for_the_organisation_that_the_replicas_know_its_certificate_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the replicas would refuse their own domain's services."""
    known = {
        (each.overlay, each.chain): tomllib.loads(each.settings)["grpc"]["organisations"]
        for each in deployed()
        if each.manifest.name == "consensus"
    }
    callers = [each for each in deployed() if each.manifest.name != "consensus"]
    assert len(callers) == sum(len(organisations) for organisations in known.values())
    for each in callers:
        organisation = loaded(each, tmp_path, monkeypatch).identity.organisation
        certificate = f"guqiao:service:{each.chain}/{each.manifest.name}"
        assert known[each.overlay, each.chain][certificate] == organisation


@pytest.mark.req("G2-03-1")
@pytest.mark.parametrize(
    "each", [each for each in deployed() if each.manifest.name == "consensus"], ids=title
)
def test_replicas_answer_the_services_of_their_own_domain_only(
    each: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(each, tmp_path, monkeypatch)
    assert settings.replica == 3, "the ordinal of the pod"
    assert settings.chain_id == each.chain
    assert len(settings.peers.addresses) == REPLICAS
    tunnel = TunnelConfig.model_validate(tomllib.loads(each.tunnel))
    assert tunnel.server is not None
    beside = {
        other.manifest.name
        for other in deployed()
        if (other.overlay, other.chain) == (each.overlay, each.chain)
    }
    assert tunnel.server.accept == {
        f"guqiao:service:{each.chain}/{name}" for name in beside - {"consensus"}
    }


@pytest.mark.req("G2-03-1")
def test_no_key_is_shared_between_replicas_or_services() -> None:
    """Each replica's own Secret goes to its own folder, of which a pod is given only its own."""
    for each in deployed():
        [volume] = [v for v in pod_spec(each.manifest.body)["volumes"] if v["name"] == "secrets"]
        mounted_by = [
            container["name"]
            for container in containers_of(each.manifest.body)
            if any(mount["name"] == "secrets" for mount in container["volumeMounts"])
        ]
        assert mounted_by == ["keys"], "the running containers see the copied keys only"
        if each.manifest.name != "consensus":
            assert volume["secret"]["secretName"] == f"{each.manifest.name}-keys"
            continue
        sources = [source["secret"] for source in volume["projected"]["sources"]]
        assert len(sources) == each.manifest.spec["replicas"]
        for number, source in enumerate(sources):
            assert source["name"] == f"consensus-{number}-keys"
            assert all(i["path"] == f"consensus-{number}/{i['key']}" for i in source["items"])


@pytest.mark.parametrize("historic_import", [True, False])
@pytest.mark.parametrize("refused", [True, False])
def test_a_replica_that_refuses_historic_import_starts_from_no_genesis_that_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, historic_import: bool, refused: bool
) -> None:
    network = ChainNetwork.create(tmp_path / "chain", historic_import=historic_import)
    monkeypatch.setenv("GUQIAO_CONSENSUS_REFUSE_HISTORIC_IMPORT", str(refused).lower())
    settings = load_settings(ConsensusSettings, network.replicas[0].config)
    genesis = parse_genesis(network.genesis)
    if historic_import and refused:
        with pytest.raises(SettingsError, match="historic_import"):
            consensus_app._check(settings, genesis, standard_catalogue())
    else:
        consensus_app._check(settings, genesis, standard_catalogue())
