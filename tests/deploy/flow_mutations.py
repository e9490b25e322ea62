"""Services, addresses and policies that lead elsewhere, and settings that hold a secret."""

from __future__ import annotations

from tests.deploy.closed_world_mutations import LINK, SERVICE
from tests.deploy.manifest_mutations import HEADLESS, POLICIES, SETTINGS

GATEWAY_SERVICE = "k8s/base/gateway/service.yaml"
CLUSTER_LINK = "k8s/components/link-in-cluster/market.yaml"
REGISTRY_POLICY = POLICIES + "lc-apps-registry.yaml"
CONSENSUS_POLICY = POLICIES + "lc-consensus-consensus.yaml"

# The same six parts as in `manifest_mutations`, the last one what the report's line holds besides.
FLOW_MUTATIONS = [
    (
        "a Service of other pods",
        SERVICE,
        "selector: {app.kubernetes.io/name: registry}",
        "selector: {app.kubernetes.io/name: reporting}",
        "service-target",
        "registry",
    ),
    (
        "a Service without a workload",
        SERVICE,
        "name: registry\n",
        "name: register\n",
        "service-target",
        "register",
    ),
    (
        "the admin port by another name",
        GATEWAY_SERVICE,
        "targetPort: peer",
        "targetPort: admin",
        "service-target",
        "the port peer leads to admin",
    ),
    (
        "a target by number",
        HEADLESS,
        "targetPort: peer",
        "targetPort: 9090",
        "service-target",
        "the port peer leads to 9090",
    ),
    (
        "a Service that is another host",
        SERVICE,
        "spec:\n",
        "spec:\n  type: ExternalName\n  externalName: example.invalid\n",
        "service-target",
        "it names a host",
    ),
    (
        "a name for a host outside",
        CLUSTER_LINK,
        "gateway.rc-gateway.svc.cluster.local",
        "gateway.example.invalid",
        "service-alias",
        "regulator-gateway",
    ),
    (
        "an address that nobody declared",
        LINK,
        "addresses: [198.51.100.10]",
        "addresses: [203.0.113.7]",
        "service-alias",
        "203.0.113.7",
    ),
    (
        "an address beside a workload's pods",
        LINK,
        "kubernetes.io/service-name: regulator-gateway",
        "kubernetes.io/service-name: gateway",
        "service-alias",
        "EndpointSlice",
    ),
    (
        "a private key in settings",
        SETTINGS,
        '    domain = "shandong"\n',
        '    domain = "shandong"\n    pem = "-----BEGIN PRIVATE KEY-----"\n',
        "no-secrets",
        "registry-settings",
    ),
    (
        "a password in settings",
        SETTINGS,
        '    domain = "shandong"\n',
        '    domain = "shandong"\n    db_password = "hunter2"\n',
        "no-secrets",
        "registry-settings",
    ),
    (
        "a password in an inline table",
        SETTINGS,
        '    domain = "shandong"\n',
        '    domain = "shandong"\n    sasl = {user = "a", "client-secret" = "b"}\n',
        "no-secrets",
        "registry-settings",
    ),
    (
        "a URL with a password",
        SETTINGS,
        '    domain = "shandong"\n',
        '    domain = "shandong"\n'
        '    url = "postgres://user:hunter2@postgresql.lc-data.svc/registry"\n',
        "no-secrets",
        "registry-settings",
    ),
    (
        "callers from an unknown namespace",
        REGISTRY_POLICY,
        "  ingress:\n",
        "  ingress:\n    - from: [{namespaceSelector: {matchLabels: {team: blue}}}]\n",
        "zone-peer",
        "lc-apps/registry",
    ),
    (
        "callers from an unknown address",
        REGISTRY_POLICY,
        "  ingress:\n",
        "  ingress:\n"
        "    - from: [{ipBlock: {cidr: 203.0.113.7/32}}]\n"
        "      ports: [{port: gm-tunnel, protocol: TCP}]\n",
        "zone-peer",
        "203.0.113.7/32",
    ),
    (
        "calls to an unknown address",
        REGISTRY_POLICY,
        "  egress:\n",
        "  egress:\n"
        "    - to: [{ipBlock: {cidr: 8.8.8.8/32}}]\n"
        "      ports: [{port: 53, protocol: UDP}]\n",
        "zone-peer",
        "egress rule 0: the zone table knows no 8.8.8.8/32",
    ),
    (
        "callers from a whole zone",
        REGISTRY_POLICY,
        "          podSelector: {matchLabels: {app.kubernetes.io/name: operator-systems}}\n",
        "",
        "zone-peer",
        "ingress rule 0",
    ),
    (
        "callers from every namespace",
        REGISTRY_POLICY,
        "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lc-access}}",
        "namespaceSelector: {}",
        "zone-peer",
        "ingress rule 0",
    ),
    (
        "an unknown caller beside a known one",
        CONSENSUS_POLICY,
        "values: [registry, reporting]",
        "values: [registry, reporting, report]",
        "zone-peer",
        "lc-apps/app.kubernetes.io/name=report",
    ),
    (
        "all callers but one",
        CONSENSUS_POLICY,
        "operator: In, values: [registry, reporting]",
        "operator: NotIn, values: [kafka]",
        "zone-peer",
        "ingress rule 2",
    ),
    (
        "a policy for an unknown workload",
        LINK,
        "podSelector: {matchLabels: {app.kubernetes.io/name: gateway}}",
        "podSelector: {matchLabels: {app.kubernetes.io/name: scraper}}",
        "zone-peer",
        "gateway-link",
    ),
    (
        "the pod security of years ago",
        "k8s/zones/market/namespaces.yaml",
        "enforce-version: latest",
        "enforce-version: v1.19",
        "pod-security",
        "lc-consensus",
    ),
    (
        "a Service on another port",
        SERVICE,
        "port: 7443",
        "port: 443",
        "service-target",
        "its ports are not those of the pods",
    ),
    (
        "a Service without one of the ports",
        GATEWAY_SERVICE,
        "    - {name: peer, port: 7400, targetPort: peer, protocol: TCP}\n",
        "",
        "service-target",
        "lc-gateway/gateway",
    ),
    (
        "another port of a declared address",
        LINK,
        "ports:\n  - {name: peer, port: 7400, protocol: TCP}\nendpoints",
        "ports:\n  - {name: peer, port: 22, protocol: TCP}\nendpoints",
        "service-alias",
        "no 198.51.100.10 with peer 22/TCP",
    ),
]
