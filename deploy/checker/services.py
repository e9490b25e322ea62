"""Where the names of a zone lead: each Service to the workload of its name and to the port of its
name, or, where it stands for the other chain's gateway, to a workload or address that is declared.

Policies judge who may connect; these rules judge with whom a caller then speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.checker.hardening import workloads
from deploy.checker.loader import Body, Manifest, containers_of, pod_labels
from deploy.checker.report import Violation, violation
from deploy.checker.zones import ZoneTable

SERVICE_NAME: Final = "kubernetes.io/service-name"


def service_violations(manifests: list[Manifest], table: ZoneTable) -> Iterator[Violation]:
    """Of one overlay."""
    pods = {(each.namespace, each.name): each for each in workloads(manifests)}
    hosts = {f"{name}.{namespace}.svc.cluster.local" for namespace, name in pods}
    aliases = set()
    for service in (each for each in manifests if each.kind == "Service"):
        key = (service.namespace, service.name)
        if key in pods or service.spec.get("selector"):
            yield from _target_faults(service, pods.get(key))
        elif service.spec.get("type") != "ExternalName":
            aliases.add(key)
        elif service.spec.get("externalName") not in hosts:
            yield violation(service, "service-alias", "its externalName is no workload's here")
    yield from _endpoint_faults(manifests, aliases, table)


def _target_faults(service: Manifest, workload: Manifest | None) -> Iterator[Violation]:
    """A Service has the pods of the workload of its name and their ports for others, each by its
    own name and number.
    """
    if workload is None or service.spec.get("selector") != pod_labels(workload.body):
        text = "its selector is not the labels of the workload of its name"
        yield violation(service, "service-target", text)
        return
    wanted = {_port(each, "containerPort") for each in _ports(workload)}
    if {_port(each, "port") for each in service.spec.get("ports") or []} != wanted:
        text = f"its ports are not those of the pods, {', '.join(sorted(wanted))}"
        yield violation(service, "service-target", text)
    if "externalName" in service.spec:
        yield violation(service, "service-target", "it names a host beside its pods")
    for port in service.spec.get("ports") or []:
        if port.get("targetPort") != port.get("name"):
            text = f"the port {port.get('name')} leads to {port.get('targetPort')}"
            yield violation(service, "service-target", text)


def _endpoint_faults(
    manifests: list[Manifest], aliases: set[tuple[str, str]], table: ZoneTable
) -> Iterator[Violation]:
    """An address stands behind a Service without pods only, and is declared with its ports."""
    declared = {
        str(body.get("address")): {
            f"{name} {port}" for name, port in (body.get("ports") or {}).items()
        }
        for body in table.away.values()
    }
    for endpoints in (each for each in manifests if each.kind == "EndpointSlice"):
        labels = endpoints.body["metadata"].get("labels") or {}
        if (endpoints.namespace, labels.get(SERVICE_NAME)) not in aliases:
            yield violation(endpoints, "service-alias", "it is behind no Service without pods")
        ports = {_port(each, "port") for each in endpoints.body.get("ports") or []}
        for endpoint in endpoints.body.get("endpoints") or []:
            for address in endpoint["addresses"]:
                if declared.get(address) != ports:
                    text = f"the zone table knows no {address} with {', '.join(sorted(ports))}"
                    yield violation(endpoints, "service-alias", text)


def _ports(workload: Manifest) -> Iterator[Body]:
    """What a workload offers to others: all but the admin port."""
    for container in containers_of(workload.body):
        yield from (each for each in container.get("ports") or [] if each.get("name") != "admin")


def _port(port: Body, number: str) -> str:
    """A port as a text, its number under this name."""
    return f"{port.get('name')} {port.get(number)}/{port.get('protocol', 'TCP')}"
